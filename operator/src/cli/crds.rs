//! `nuncio crds`.

use super::args::{CrdConversion, CrdStorage, CrdsArgs};
use anyhow::bail;
use crd_gen::{Options, Storage, Versions, Webhook};
use std::fmt::Write;
use std::process::ExitCode;

/// Prints all definitions as one YAML stream.
pub fn run(args: &CrdsArgs) -> anyhow::Result<ExitCode> {
    let versions = match (args.conversion, args.storage) {
        (CrdConversion::None, None | Some(CrdStorage::V3alpha1)) => Versions::Newest,
        (CrdConversion::None, Some(CrdStorage::V2)) => {
            bail!("without --conversion webhook there is only v3alpha1, so nothing can be stored as v2")
        }
        (CrdConversion::Webhook, storage) => Versions::All {
            storage: if storage == Some(CrdStorage::V2) { Storage::V2 } else { Storage::V3Alpha1 },
            webhook: Webhook {
                name: args.service_name.clone(),
                namespace: args.service_namespace.clone(),
                port: args.service_port,
            },
        },
    };
    let mut text = String::new();
    for file in crd_gen::files(&Options { versions, part_of: args.part_of.clone() })? {
        // Writing into a string does not fail.
        let _ = write!(text, "---\n{}", file.text);
    }
    super::print(&text)
}
