//! The only automation: `cargo xtask codegen | new-action | tidy | ci | bench`.

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
        ["ci", which @ ..] => program(&root().join("test.sh"), which),
        ["bench", what @ ..] => bench(what),
        _ => bail!(
            "usage: cargo xtask codegen [--check] | new-action SERVICE NOUN Action | tidy | ci [--fast|--long] | bench api|launch"
        ),
    }
}

/// Benchmarks drive the built program from outside, as clients do; they are Python beside the clients' tests.
fn bench(what: &[&str]) -> Result<()> {
    let script = root().join("tests/bench/bench.py").display().to_string();
    program(Path::new("python3"), &[&[script.as_str()], what].concat())
}

fn program(path: &Path, words: &[&str]) -> Result<()> {
    let status = std::process::Command::new(path).args(words).status()?;
    if status.success() { Ok(()) } else { bail!("{} failed", path.display()) }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

#[expect(clippy::print_stderr, reason = "a program's words to who started it")]
fn say(text: &str) {
    eprintln!("{text}");
}
