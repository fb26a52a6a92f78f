//! Style and structure as a test, where clippy does not look: sizes, first lines, directions of dependencies, forbidden words.

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

/// Where decisions are made: no clock, no chance, no file, no socket.
const PURE: [&str; 8] = [
    "crates/wire/src",
    "crates/model/src",
    "crates/control/src/schedule",
    "crates/control/src/plan",
    "crates/control/src/reconcile",
    "crates/control/src/journal",
    "crates/control/src/actions",
    "crates/host/src/effect",
];
/// A key is made outside transactions, from the system's randomness, on a thread of its own.
const KEYS: &str = "crates/control/src/actions/ec2/key/";
const EFFECTS: [&str; 7] =
    ["std::fs", "std::net::Tcp", "std::net::Udp", "tokio::", "rand::", "Instant::now", "SystemTime"];

pub fn check(root: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    for (name, allowed) in MAY_USE {
        let manifest = std::fs::read_to_string(root.join(format!("crates/{name}/Cargo.toml")))?;
        directions(name, allowed, &manifest, &mut wrong);
    }
    let mut files = Vec::new();
    for folder in ["crates", "xtask"] {
        sources(&root.join(folder), &mut files)?;
    }
    for file in &files {
        let text = std::fs::read_to_string(file)?;
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        source(&name, &text, &mut wrong);
    }
    match crate::codegen::actions(root) {
        Ok(actions) => {
            for action in actions {
                let path = action.path();
                if !std::fs::read_to_string(root.join(&path))?.contains("#[cfg(test)]") {
                    wrong.push(format!("{path}: an action without a test"));
                }
            }
            wrong.extend(crate::codegen::write(root, true).err().map(|e| format!("{e:#}")));
        }
        Err(e) => wrong.push(format!("{e:#}")),
    }
    if wrong.is_empty() { Ok(()) } else { bail!("not tidy:\n{}", wrong.join("\n")) }
}

fn directions(name: &str, allowed: &[&str], manifest: &str, wrong: &mut Vec<String>) {
    let used = manifest.lines().filter_map(|line| line.strip_prefix("awan-")?.split(['.', ' ', '=']).next());
    for used in used.filter(|used| !allowed.contains(used)) {
        wrong.push(format!("crates/{name} must not use {used}"));
    }
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
    for word in [concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("#[ig", "nore")] {
        if text.contains(word) {
            wrong.push(format!("{name}: {word}"));
        }
    }
    let later = concat!("TO", "DO");
    if text.lines().any(|line| line.contains(later) && !line.contains(concat!("TO", "DO(#"))) {
        wrong.push(format!("{name}: a {later} without the number of an issue"));
    }
    if name.contains("/actions/") {
        action(name, text, wrong);
    }
    if PURE.iter().any(|pure| name.starts_with(pure)) && !name.starts_with(KEYS) {
        let code = text.split("#[cfg(test)]").next().unwrap_or(text);
        for word in EFFECTS.iter().filter(|word| code.contains(*word)) {
            wrong.push(format!("{name}: {word} where nothing may have an effect"));
        }
    }
}

fn action(name: &str, text: &str, wrong: &mut Vec<String>) {
    let before_tests = text.split("#[cfg(test)]").next().unwrap_or(text);
    let mut words = before_tests.split(|c: char| !c.is_alphanumeric() && c != '_');
    if words.any(|word| word == "System" || word == "as_system") {
        wrong.push(format!("{name}: names System; ask schedule.rs"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrongs(name: &str, text: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        source(name, text, &mut wrong);
        wrong
    }

    #[test]
    fn what_the_style_forbids_is_found() {
        assert_eq!(wrongs("a.rs", "fn short() {}\n"), ["a.rs: begins without //!"]);
        assert_eq!(wrongs("a.rs", &format!("//! X.{}", "\n".repeat(801))), ["a.rs: more than 800 lines"]);
        assert_eq!(
            wrongs("a/actions/b.rs", "//! X.\ntype T = Tx<System>;\n"),
            ["a/actions/b.rs: names System; ask schedule.rs"]
        );
        let noted = concat!("//! X.\n// TO", "DO later\n// TO", "DO(#7) later\n");
        assert_eq!(wrongs("a.rs", noted).len(), 1);
        let effect = "//! X.\nfn x() { std::fs::read(y) }\n";
        assert_eq!(
            wrongs("crates/model/src/a.rs", effect),
            ["crates/model/src/a.rs: std::fs where nothing may have an effect"]
        );
        assert_eq!(wrongs("crates/host/src/a.rs", effect), [""; 0]);
        assert_eq!(wrongs("a.rs", "// @generated\nfn x() {}\n"), [""; 0]);
    }

    #[test]
    fn a_host_that_uses_the_store_is_found() {
        let mut wrong = Vec::new();
        directions(
            "host",
            &["model"],
            "[dependencies]\nawan-model.workspace = true\nawan-state.workspace = true\n",
            &mut wrong,
        );
        assert_eq!(wrong, ["crates/host must not use state"]);
    }

    #[test]
    fn this_tree_is_tidy() {
        check(&crate::root()).expect("tidy");
    }
}
