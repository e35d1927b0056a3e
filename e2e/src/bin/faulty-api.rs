//! `faulty-api`: a proxy in front of the API server that misbehaves when it is told to.

use anyhow::{Context, Result};
use clap::Parser;
use e2e::faulty_api::{Fault, FaultyApi};
use e2e::process;
use http::{HeaderName, HeaderValue};
use kube::{Client, Config};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

/// Reads one word a line: `none`, `down`, `silent`, `expired`, `busy`, or `cut`, which cuts streams under way; an empty line
/// changes nothing. After each, and once in the beginning, it writes a line of JSON: what was asked for since the last one.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to write a kubeconfig that leads to it
    kubeconfig: PathBuf,
    /// Ask the real API server in the name of this user, with the rights that user has
    #[arg(long)]
    user: Option<String>,
}

fn main() -> Result<()> {
    process::become_guarded()?;
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let api = runtime.block_on(async {
        let mut config = Config::infer().await.context("no API server")?;
        config.default_retry = false;
        if let Some(user) = &arguments.user {
            config.headers.push((HeaderName::from_static("impersonate-user"), HeaderValue::from_str(user)?));
        }
        FaultyApi::start(Client::try_from(config)?).await
    })?;
    std::fs::write(&arguments.kubeconfig, api.kubeconfig())?;
    tell(&api.asked())?;
    for line in std::io::stdin().lines() {
        match line?.trim() {
            "" => {}
            "cut" => api.cut(),
            fault => api.set(fault.parse::<Fault>()?),
        }
        tell(&api.asked())?;
    }
    Ok(())
}

fn tell(asked: &BTreeMap<String, u64>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(asked)?)?;
    Ok(out.flush()?)
}
