//! The only automation: `cargo xtask codegen | new-action | tidy | bench`.

mod codegen;
mod model;
mod scaffold;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

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
        ["bench", what @ ..] => bench(what),
        _ => bail!("usage: cargo xtask codegen [--check] | new-action SERVICE NOUN Action | tidy | bench api|launch"),
    }
}

/// Benchmarks drive the built program from outside, as clients do; they are Python beside the clients' tests.
fn bench(what: &[&str]) -> Result<()> {
    let status = std::process::Command::new("python3").arg(root().join("tests/bench/bench.py")).args(what).status()?;
    if status.success() { Ok(()) } else { bail!("the benchmark failed") }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

#[expect(clippy::print_stderr, reason = "a program's words to who started it")]
fn say(text: &str) {
    eprintln!("{text}");
}
