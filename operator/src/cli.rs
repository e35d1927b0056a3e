//! Arguments, help and exit codes. One binary has several names: argument 1, or the name it is called by.

mod apiext;
pub mod args;
mod check;
mod convert;
mod crds;
mod diff;
mod dump;
mod live;
mod migrate_storage;
mod why;

use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Exit status when something could not run at all, wrong usage included.
pub const COULD_NOT_RUN: u8 = 2;

/// Runs what the arguments ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(by_name(arguments)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output with status 0, wrong usage to standard error with status 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(COULD_NOT_RUN));
        }
    };
    let result = match cli.command {
        Command::Serve(args) => crate::supervisor::serve(&args),
        Command::Entrypoint(args) => crate::supervisor::entrypoint(&args),
        Command::ControlPlane(args) => crate::control::run(&args),
        Command::GuardedExec(args) => crate::supervisor::guarded_exec(&args),
        Command::Check(args) => check::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Dump(args) => dump::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Crds(args) => crds::run(&args),
        Command::Apiext(args) => apiext::run(&args),
        Command::MigrateStorage(args) => migrate_storage::run(&args),
        Command::Version => print(&format!("Version {}\n", env!("CARGO_PKG_VERSION"))),
    };
    result.unwrap_or_else(|error| {
        eprintln!("nuncio: {error:#}");
        ExitCode::from(COULD_NOT_RUN)
    })
}

/// Puts the name of the program in front of the arguments when it is called by the name of one of its commands. Without
/// arguments it is `entrypoint` inside a cluster, as images have it; elsewhere it shows its help.
fn by_name(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let name = arguments.first().and_then(|first| Path::new(first).file_name()?.to_str()).map(str::to_string);
    if let Some(name) = name
        && Cli::command().get_subcommands().any(|command| command.get_name() == name)
    {
        arguments.insert(1, name.into());
    }
    if arguments.len() == 1 && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty()) {
        arguments.push("entrypoint".into());
    }
    arguments
}

/// Writes to standard output. A reader that went away (`nuncio crds | head`) is no failure.
pub(crate) fn print(text: &str) -> anyhow::Result<ExitCode> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_link_named_after_a_command_is_that_command() {
        let words = |arguments: &[&str]| {
            let out = by_name(arguments.iter().map(OsString::from));
            out.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(words(&["/usr/bin/check", "dir"]), ["/usr/bin/check", "check", "dir"]);
        assert_eq!(words(&["/usr/bin/nuncio", "check", "dir"]), ["/usr/bin/nuncio", "check", "dir"]);
        assert!(words(&[]).is_empty());
    }

    #[test]
    fn help_names_what_exists_and_nothing_else() {
        let help = Cli::command().render_long_help().to_string();
        for name in [
            "serve",
            "entrypoint",
            "check",
            "why",
            "diff",
            "dump",
            "convert",
            "crds",
            "apiext",
            "migrate-storage",
            "version",
        ] {
            assert!(help.contains(&format!("\n  {name}")), "{name}");
        }
        for name in ["control-plane", "guarded-exec"] {
            assert!(!help.contains(name), "{name}");
        }
    }
}
