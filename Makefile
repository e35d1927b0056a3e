# One line per target: the text after "##" is what `make help` prints.
# Cargo always gets --workspace: building a single package resolves other features and recompiles half of the dependencies.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
BENCH ?=
CORPUS ?=
KAT ?=
PROBE ?=
EDITS ?= 10000
SEED ?=
# A script of the compiler has 36 steps on average.
STEPS_CASES ?= 28000
# What runs often, and which way it goes there: releases are compiled for that. What the file does not know is compiled as ever.
PROFILE := operator/nuncio.profdata
PROFILED := RUSTFLAGS="$${RUSTFLAGS:-} -Cprofile-use=$(CURDIR)/$(PROFILE) -Cllvm-args=-no-pgo-warn-mismatch -Cllvm-args=-disable-vp"
# Test programs with a real cluster wait more than they work, so each runs beside the others.
CLUSTER_TESTS := install kubernetes webhook
TESTS := $(sort $(basename $(notdir $(wildcard */tests/*.rs */*/tests/*.rs))) \
	$(notdir $(patsubst %/main.rs,%,$(wildcard */tests/*/main.rs */*/tests/*/main.rs))))
CMD ?= kubectl get namespaces
NAME ?= nuncio

.PHONY: help build run test test-others $(CLUSTER_TESTS:%=test-%) check fmt clippy envoy bench corpus kat probe profile soak steps crds cluster cluster-exec cluster-stop

help: ## list the targets
	@echo "Nuncio: a Kubernetes gateway control plane for Envoy"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the shipping binary: target/release/nuncio
	@$(PROFILED) $(CARGO) build --release --locked --workspace --bin nuncio
	@echo "$(TARGET_DIR)/release/nuncio"

run: ## build, install Envoy, and serve manifests/quickstart with a sample application; Ctrl-C ends it
	@$(CARGO) build --locked --workspace --bins
	@envoy="$$(e2e/install-envoy)"; NUNCIO_ENVOY="$$envoy" exec "$(TARGET_DIR)/debug/quickstart" --end-with-parent

test: ## run all tests with a real Envoy and a real cluster; PROPTEST_CASES=N scales the property tests
	@envoy="$$(e2e/install-envoy)"; export NUNCIO_ENVOY="$$envoy"; \
		$(CARGO) test --locked --workspace --no-run; \
		$(MAKE) --jobs=4 --keep-going --output-sync=target $(CLUSTER_TESTS:%=test-%) test-others

$(CLUSTER_TESTS:%=test-%): test-%:
	@$(CARGO) test --locked --workspace --test $*

test-others:
	@status=0; $(CARGO) test --locked --workspace --no-fail-fast --lib --bins \
		$(addprefix --test ,$(filter-out $(CLUSTER_TESTS),$(TESTS))) || status=$$?; \
		$(CARGO) test --locked --workspace --no-fail-fast --doc; exit $$status

check: fmt clippy test ## what CI runs: format, clippy, crate boundaries, licences, and all tests

fmt: ## check the format; `cargo fmt --all` repairs it
	$(CARGO) fmt --all --check

clippy: ## lint everything; warnings are errors
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

envoy: ## install the pinned Envoy into the user's cache and print its path
	@e2e/install-envoy

bench: ## compile, render and conversion times in CPU time; BENCH="DIR" measures a directory of manifests
	$(CARGO) bench --locked --workspace --bench compile -- $(BENCH)
ifeq ($(BENCH),)
	$(CARGO) bench --locked --workspace --bench review
endif

corpus: ## compare with upstream's recorded cases in ../shared, if they are there; CORPUS="--only ip-allow" narrows
	@$(CARGO) build --locked --workspace --bins
	@envoy="$$(e2e/install-envoy)"; NUNCIO_ENVOY="$$envoy" "$(TARGET_DIR)/debug/corpus" \
		--output "$(TARGET_DIR)/corpus.txt" $(CORPUS)

kat: ## apply those cases to a cluster with Nuncio installed, and compare; KAT="--only tls" narrows
	@$(CARGO) build --locked --workspace --bins
	@envoy="$$(e2e/install-envoy)"; NUNCIO_ENVOY="$$envoy" "$(TARGET_DIR)/debug/kat" \
		--output "$(TARGET_DIR)/kat.txt" $(KAT)

probe: ## a cold start with 10,000 Mappings in a real cluster (PROBE="--services 1" is for that), then changes from files
	@$(PROFILED) $(CARGO) build --release --locked --workspace --bin nuncio --bin probe --bin cluster
	@envoy="$$(e2e/install-envoy)"; export NUNCIO_ENVOY="$$envoy"; \
		"$(TARGET_DIR)/release/probe" $(PROBE); "$(TARGET_DIR)/release/probe" --files --mappings 1,100,1000,10000

profile: ## learn anew what a release is to be fast at: operator/nuncio.profdata; needs `rustup component add llvm-tools`
	@profdata="$$(rustc --print sysroot)/lib/rustlib/$$(rustc --print host-tuple)/bin/llvm-profdata"; "$$profdata" --version; \
		counting="$(abspath $(TARGET_DIR))/profile"; counts="$$counting/counts"; rm -rf "$$counts"; \
		$(CARGO) build --locked --workspace --bins; \
		CARGO_TARGET_DIR="$$counting" RUSTFLAGS="-Cprofile-generate=$$counting/others -Cllvm-args=-disable-vp" \
			$(CARGO) build --release --locked --workspace --bin nuncio; \
		envoy="$$(e2e/install-envoy)"; export NUNCIO_ENVOY="$$envoy" LLVM_PROFILE_FILE="$$counts/%m.profraw"; \
		probe=("$(TARGET_DIR)/debug/probe" --nuncio "$$counting/release/nuncio" --mappings 100); \
		"$${probe[@]}" --files --in-order --rounds 50; "$${probe[@]}" --services 1,100 --edits 20; \
		"$$profdata" merge --text "$$counts"/*.profraw | awk -f e2e/often.awk >"$$counts/often"; \
		"$$profdata" merge -o $(PROFILE) "$$counts/often"

soak: ## random edits under load, plain and with trouble, then 1,000,000 steps of the compiler; EDITS=10000 SEED=…
	@$(CARGO) build --locked --workspace --bins
	@envoy="$$(e2e/install-envoy)"; export NUNCIO_ENVOY="$$envoy"; soak="$(TARGET_DIR)/debug/soak"; \
		seed="$(or $(SEED),$$RANDOM$$RANDOM)"; echo "SEED=$$seed"; \
		"$$soak" edits --edits "$(EDITS)" --seed "$$seed"; \
		"$$soak" edits --edits "$(EDITS)" --seed "$$seed" --late --stuck; \
		"$$soak" edits --edits "$(EDITS)" --seed "$$seed" --late --stuck --kill --argument=--paranoid; \
		$(MAKE) steps SEED="$$seed"

steps: ## 1,000,000 steps of the compiler against compilations from scratch, the last part of soak, on all cores; SEED=…
	@$(CARGO) test --locked --workspace --test incremental --no-run; \
		seed="$(or $(SEED),$$RANDOM$$RANDOM)"; cores="$$(nproc)"; walks=(); failed=0; \
		for ((core = 0; core < cores; core++)); do \
			echo "scripts of the compiler: $$(($(STEPS_CASES) / cores)) with PROPTEST_RNG_SEED=$$((seed + core))"; \
			PROPTEST_CASES="$$(($(STEPS_CASES) / cores))" PROPTEST_RNG_SEED="$$((seed + core))" \
				$(CARGO) test --quiet --locked --workspace --test incremental -- incremental_equals_from_scratch & \
			walks+=($$!); \
		done; \
		for walk in "$${walks[@]}"; do wait "$$walk" || failed=1; done; exit "$$failed"

crds: ## write manifests/crds and crds-all-versions from the types of crate api
	@$(CARGO) build --locked --workspace --bins
	"$(TARGET_DIR)/debug/crd-gen"

cluster: ## start a Kubernetes cluster of processes on this machine; NAME=… for several
	@$(CARGO) build --locked --workspace --bins
	@"$(TARGET_DIR)/debug/cluster" up --name "$(NAME)"

cluster-exec: ## run CMD="…" in it, with kubectl and KUBECONFIG
	@"$(TARGET_DIR)/debug/cluster" exec --name "$(NAME)" -- bash -c "$$CMD"
cluster-exec: override export CMD := $(value CMD)

cluster-stop: ## end it
	@"$(TARGET_DIR)/debug/cluster" down --name "$(NAME)"
