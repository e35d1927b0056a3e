//! Ends a process with the one that started it, however that one ends.

use crate::cli::args::GuardedExecArgs;
use anyhow::Context;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Has the kernel kill this process when its parent ends. False when the parent is not that process any more, that is,
/// when it ended before the kernel was asked.
pub fn end_with(parent: i32) -> anyhow::Result<bool> {
    set_pdeathsig(Signal::SIGKILL).context("cannot tie this process to its parent")?;
    Ok(getppid() == Pid::from_raw(parent))
}

/// Becomes the program in the arguments, tied to the process that started this one. The kernel keeps that tie over the
/// change of program.
pub fn guarded_exec(args: &GuardedExecArgs) -> anyhow::Result<ExitCode> {
    if !end_with(args.parent)? {
        return Ok(ExitCode::SUCCESS);
    }
    let (program, rest) = args.command.split_first().context("no program")?;
    let error = Command::new(program).args(rest).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
