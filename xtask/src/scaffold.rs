//! `new-action`: the file of an action with every member of its request taken apart, and a test that fails.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, bail};

use crate::model::{Model, Shape, snake};

pub fn new_action(root: &Path, service: &str, noun: &str, action: &str) -> Result<()> {
    let model = Model::read(&root.join(format!("crates/wire/model/{service}.txt")))?;
    let Some(op) = model.ops.get(action) else { bail!("{service} has no action {action}") };
    let module = snake(action);
    let path = root.join(format!("crates/control/src/actions/{service}/{noun}/{module}.rs"));
    if path.exists() {
        bail!("{} exists", path.display());
    }
    let mut members = String::new();
    if let Some(Shape::Struct(list)) = op.input.as_ref().and_then(|i| model.shapes.get(i)) {
        for m in list {
            let _ = write!(members, " {},", snake(&m.name));
        }
    }
    let request = op.input.as_deref().unwrap_or("()");
    let answer = op.output.as_ref().map_or("()".to_owned(), |o| format!("{service}::{o}"));
    let text = format!(
        "//! {action}.\n\nuse awan_state::{{Tenant, Tx}};\nuse awan_wire::{service};\n\nuse crate::error::Result;\n\n\
         pub fn {module}(tx: &mut Tx<Tenant>, req: {service}::{request}) -> Result<{answer}> {{\n    \
         let {service}::{request} {{{members} }} = req;\n}}\n\n#[cfg(test)]\nmod tests {{\n    #[test]\n    \
         fn does_what_ec2_does() {{\n        panic!(\"write the story of {action}\");\n    }}\n}}\n"
    );
    std::fs::create_dir_all(path.parent().unwrap_or(root))?;
    std::fs::write(&path, text)?;
    crate::codegen::write(root, false)
}
