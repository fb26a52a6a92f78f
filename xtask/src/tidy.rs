//! Style and structure as a test: sizes, first lines, directions of dependencies, forbidden words.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

const LINES_MAX: usize = 800;

/// Which of our crates a crate may use.
const MAY_USE: [(&str, &[&str]); 7] = [
    ("wire", &[]),
    ("state", &[]),
    ("model", &["state"]),
    ("control", &["wire", "state", "model"]),
    ("host", &["model"]),
    ("sim", &["control", "host", "state", "model", "wire"]),
    ("awan", &["control", "host", "model", "state", "wire"]),
];

pub fn check(root: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    directions(root, &mut wrong)?;
    let mut files = Vec::new();
    for folder in ["crates", "xtask"] {
        sources(&root.join(folder), &mut files)?;
    }
    for file in &files {
        let text = std::fs::read_to_string(file)?;
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        source(&name, &text, &mut wrong);
    }
    if let Err(e) = crate::codegen::write(root, true) {
        wrong.push(format!("{e:#}"));
    }
    if wrong.is_empty() { Ok(()) } else { bail!("not tidy:\n{}", wrong.join("\n")) }
}

fn directions(root: &Path, wrong: &mut Vec<String>) -> Result<()> {
    for (crate_name, allowed) in MAY_USE {
        let manifest = std::fs::read_to_string(root.join(format!("crates/{crate_name}/Cargo.toml")))?;
        for line in manifest.lines().filter_map(|l| l.strip_prefix("awan-")) {
            let used = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if !allowed.contains(&used)
                && manifest.contains(&format!("name = \"awan-{crate_name}\""))
                && used != crate_name
            {
                wrong.push(format!("crates/{crate_name} must not use {used}"));
            }
        }
    }
    Ok(())
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn source(name: &str, text: &str, wrong: &mut Vec<String>) {
    if text.starts_with("// @generated") {
        return;
    }
    if !text.starts_with("//!") {
        wrong.push(format!("{name}: begins without //!"));
    }
    if text.lines().count() > LINES_MAX {
        wrong.push(format!("{name}: more than {LINES_MAX} lines"));
    }
    // Spelt in two pieces, so that this file does not find itself.
    let forbidden =
        [concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("#[ig", "nore"), concat!("TO", "DO")];
    for word in forbidden {
        if text.contains(word) {
            wrong.push(format!("{name}: {word}"));
        }
    }
    if name.contains("/actions/") {
        action(name, text, wrong);
    }
}

fn action(name: &str, text: &str, wrong: &mut Vec<String>) {
    let before_tests = text.split("#[cfg(test)]").next().unwrap_or(text);
    let names_system =
        before_tests.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "System" || w == "as_system");
    if names_system {
        wrong.push(format!("{name}: names System; ask schedule.rs"));
    }
}
