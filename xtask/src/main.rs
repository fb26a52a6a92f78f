//! The only automation: `cargo xtask codegen | new-action | tidy | ci | bench`.

mod codegen;
mod coverage;
mod model;
mod scaffold;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(&format!("xtask: {e:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        ["codegen"] => codegen::write(&root(), false),
        ["codegen", "--check"] => codegen::write(&root(), true),
        ["new-action", service, noun, action] => scaffold::new_action(&root(), service, noun, action),
        ["tidy"] => tidy::check(&root()),
        ["ci", which @ ..] => program(&root().join("test.sh"), which),
        ["bench", "net", options @ ..] => bench_net(options),
        ["bench", what @ ..] => bench(what),
        _ => bail!(
            "usage: cargo xtask codegen [--check] | new-action SERVICE NOUN Action | tidy | ci [--fast|--long] | bench api|launch|disk|net"
        ),
    }
}

/// Benchmarks drive the built program from outside, as clients do; they are Python beside the clients' tests.
/// `AWAN_BINARY` names another program than the release build of this tree.
fn bench(what: &[&str]) -> Result<()> {
    let root = root();
    if std::env::var_os("AWAN_BINARY").is_none() {
        program(Path::new("cargo"), &["build", "--release", "--locked", "-p", "awan"])?;
    }
    let binary = std::env::var_os("AWAN_BINARY").map_or_else(|| root.join("target/release/awan"), PathBuf::from);
    let own = root.join(".venv/bin/python");
    let python = if own.exists() { own } else { PathBuf::from("python3") };
    let script = root.join("tests/bench/bench.py");
    let status = Command::new(&python).arg(script).args(what).env("AWAN_BINARY", binary).status()?;
    if status.success() { Ok(()) } else { bail!("the benchmark failed; scripts/setup-test.sh prepares what it needs") }
}

/// Of the host's own code: its network driver, without a server.
fn bench_net(options: &[&str]) -> Result<()> {
    let words = ["bench", "--locked", "--quiet", "-p", "awan-host", "--bench", "net", "--"];
    program(Path::new("cargo"), &[&words, options].concat())
}

fn program(path: &Path, words: &[&str]) -> Result<()> {
    let mut command = Command::new(path);
    // What cargo says of this program would have it build anew what was built without it.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"CARGO_")) {
        if name != "CARGO_HOME" && name != "CARGO_TARGET_DIR" {
            command.env_remove(name);
        }
    }
    let status = command.args(words).status()?;
    if status.success() { Ok(()) } else { bail!("{} failed", path.display()) }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

#[expect(clippy::print_stderr, reason = "a program's words to who started it")]
fn say(text: &str) {
    eprintln!("{text}");
}
