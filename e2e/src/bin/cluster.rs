//! `cluster`: a real Kubernetes on this machine, for tests and for trying things out.

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use e2e::cluster::state::State;
use e2e::cluster::{self, Cluster, FOREIGN, Scope, binaries, keeper};
use e2e::process;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// Starts and ends a Kubernetes cluster whose parts are processes of this user.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build the programs of the control plane if they are missing, and print their folders
    Build,
    /// Start a cluster, or find the running one
    Up {
        #[command(flatten)]
        cluster: Name,
    },
    /// Run a command inside, with KUBECONFIG and kubectl
    Exec {
        #[command(flatten)]
        cluster: Name,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Put an image into the image table: a program, or a folder with an `entrypoint`
    Load {
        #[command(flatten)]
        cluster: Name,
        /// Name of the image, and what it is
        #[arg(value_name = "NAME=PATH", required = true)]
        images: Vec<String>,
    },
    /// Print what a container has written
    Logs {
        #[command(flatten)]
        cluster: Name,
        /// The pod, or a component of the control plane
        pod: String,
        /// Its namespace
        #[arg(long, short, default_value = "default")]
        namespace: String,
        /// One container; all of them otherwise
        #[arg(long, short)]
        container: Option<String>,
        /// What it wrote before it was started again
        #[arg(long, short)]
        previous: bool,
    },
    /// End a cluster and everything in it
    Down {
        #[command(flatten)]
        cluster: Name,
    },
}

#[derive(clap::Args)]
struct Name {
    /// Several clusters can run side by side
    #[arg(long, default_value = "nuncio")]
    name: String,
}

fn main() -> Result<ExitCode> {
    process::become_guarded()?;
    if let Some(result) = keeper::play_role() {
        return result;
    }
    let foreign = std::env::var_os(FOREIGN).is_some();
    match Arguments::parse().command {
        Action::Build => {
            for folder in binaries::build(&mut progress)?.folders() {
                say(&folder.display().to_string());
            }
        }
        Action::Up { .. } if foreign => {
            say(&format!(
                "{FOREIGN} is set: that cluster is used. Pods do not run as processes of this machine, and `cluster exec` does \
                 not reach addresses that cannot be reached from here."
            ));
        }
        Action::Up { cluster: Name { name } } => up(&name)?,
        Action::Exec { command, .. } if foreign => return cluster::exec_foreign(&command),
        Action::Exec { cluster: Name { name }, command } => return cluster::exec(&name, &command),
        Action::Load { .. } | Action::Logs { .. } if foreign => {
            bail!("{FOREIGN} is set: that cluster has its own images and logs")
        }
        Action::Load { cluster: Name { name }, images } => {
            let cluster = Cluster::find(&name)?;
            for image in images {
                let (name, path) = image.split_once('=').with_context(|| format!("{image}: NAME=PATH is expected"))?;
                cluster.load(name, Path::new(path))?;
            }
        }
        Action::Logs { cluster: Name { name }, pod, namespace, container, previous } => {
            let mut logs = Cluster::find(&name)?.logs(&namespace, &pod, previous)?;
            logs.retain(|(name, _)| container.as_ref().is_none_or(|wanted| wanted == name));
            if logs.is_empty() {
                bail!("there is no log of {namespace}/{pod}");
            }
            for (name, log) in &logs {
                if logs.len() > 1 {
                    say(&format!("==> {name} <=="));
                }
                io::copy(&mut File::open(log)?, &mut io::stdout())?;
            }
        }
        Action::Down { cluster: Name { name } } => {
            if !cluster::down(&State::of(&name)?)? {
                say(&format!("no cluster of the name {name} runs"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn up(name: &str) -> Result<()> {
    let started = std::time::Instant::now();
    let cluster = Cluster::up_detached(name, &mut progress)?;
    match cluster.scope() {
        Scope::Whole => say(&format!("cluster {name} is ready ({:.1} s)", started.elapsed().as_secs_f32())),
        Scope::ApiOnly(reason) => say(&format!(
            "cluster {name} is ready, with etcd and the API server only: no controllers, pods, Services and DNS ({reason})"
        )),
        Scope::Foreign => bail!("a foreign cluster is not started"),
    }
    say(&format!("kubeconfig (inside): {}", cluster.kubeconfig().display()));
    Ok(())
}

fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn progress(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
