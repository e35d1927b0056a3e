//! `nuncio migrate-storage`.

use super::apiext::connect;
use super::args::MigrateStorageArgs;
use std::process::ExitCode;
use webhook::migrate::{self, Error, Options, Outcome, Progress};

/// Migrates kind after kind, and tells what happens line by line.
pub fn run(args: &MigrateStorageArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(migrate_all(args))
}

async fn migrate_all(args: &MigrateStorageArgs) -> anyhow::Result<ExitCode> {
    let client = connect(args.kubeconfig.as_deref()).await?;
    let options = Options { page: args.page_size, ..Options::default() };
    let mut complete = true;
    for name in migrate::definitions(&client, &args.kinds).await? {
        let kind = name.split('.').next().unwrap_or(&name).to_owned();
        let outcome = migrate::migrate(&client, &name, options, |progress| {
            if let Some(line) = lines(&progress) {
                // Whoever closed the output does not want to know.
                let _ = super::print(&format!("{kind}: {line}\n"));
            }
        });
        let line = match outcome.await? {
            Outcome::Already(storage) => format!("nothing to do, all stored in {storage}"),
            Outcome::Migrated { storage, objects } => format!("{objects} objects written, all stored in {storage} now"),
            Outcome::Incomplete { failed } => {
                complete = false;
                format!("{failed} objects could not be written; the old versions stay in status.storedVersions")
            }
        };
        super::print(&format!("{kind}: {line}\n"))?;
        if args.remove.is_empty() {
            continue;
        }
        match migrate::remove_versions(&client, &name, &args.remove).await {
            Ok(true) => drop(super::print(&format!("{kind}: without {} now\n", args.remove.join(", ")))?),
            Ok(false) => {}
            Err(Error::Definition(why)) => {
                complete = false;
                super::print(&format!("{why}\n"))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn lines(progress: &Progress) -> Option<String> {
    Some(match progress {
        Progress::Begins { stored, storage, resumed } => {
            let how = if *resumed { ", going on where an earlier run ended" } else { "" };
            format!("stored in {}, to be stored in {storage}{how}", stored.join(", "))
        }
        Progress::Page { done, left: Some(left) } => format!("{done} done, about {left} left"),
        // The last page is followed by the result.
        Progress::Page { left: None, .. } => return None,
        Progress::Failed { object, why } => format!("{object}: {}", why.replace('\n', " ")),
    })
}
