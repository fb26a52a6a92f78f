//! `new-action`: the file of an action with every member of its request taken apart, and a test that fails.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, bail};

use crate::codegen::{self, field_name, type_name};
use crate::model::{Model, Shape, snake};

pub fn new_action(root: &Path, service: &str, noun: &str, action: &str) -> Result<()> {
    let model = Model::read(&root.join(format!("crates/wire/model/{service}.txt")))?;
    if let Some(there) = codegen::actions(root)?.iter().find(|a| a.service == service && a.name == action) {
        bail!("{action} is there: {}", there.path());
    }
    let module = snake(action);
    let path = root.join(format!("crates/control/src/actions/{service}/{noun}/{module}.rs"));
    let text = file(&model, service, action)?;
    std::fs::create_dir_all(path.parent().unwrap_or(root))?;
    std::fs::write(&path, codegen::rustfmt(root, &text)?)?;
    codegen::write(root, false)
}

fn file(model: &Model, service: &str, action: &str) -> Result<String> {
    let Some(op) = model.ops.get(action) else { bail!("{service} has no action {action}") };
    let module = snake(action);
    let typed = |name: &String| format!("{service}::{}", type_name(name));
    let request = op.input.as_ref().map_or("()".to_owned(), typed);
    let answer = op.output.as_ref().map_or("()".to_owned(), typed);
    let mut members = String::new();
    if let Some(Shape::Struct(list)) = op.input.as_ref().and_then(|i| model.shapes.get(i)) {
        let maps = codegen::MAPS.contains(&service);
        for m in list.iter().filter(|m| maps || !matches!(model.shapes.get(&m.shape), Some(Shape::Map))) {
            let _ = write!(members, "{}, ", field_name(&m.name));
        }
    }
    let apart =
        if op.input.is_some() { format!("let {request} {{ {members} }} = req;") } else { "let () = req;".into() };
    Ok(format!(
        "//! {action}.\n\nuse awan_state::{{Tenant, Tx}};\nuse awan_wire::{service};\n\nuse crate::error::Result;\n\n\
         pub fn {module}(tx: &mut Tx<Tenant>, req: {request}) -> Result<{answer}> {{\n{apart}\n}}\n\n\
         #[cfg(test)]\nmod tests {{\n#[test]\nfn does_what_ec2_does() {{\n\
         panic!(\"write the story of {action}\");\n}}\n}}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_action_takes_its_whole_request_apart() {
        let root = crate::root();
        let model = Model::read(&root.join("crates/wire/model/ec2.txt")).expect("the model");
        let text = codegen::rustfmt(&root, &file(&model, "ec2", "DeleteKeyPair").expect("known")).expect("formats");
        assert!(text.contains("let ec2::DeleteKeyPairRequest { key_name, key_pair_id, dry_run } = req;"), "{text}");
        assert!(file(&model, "ec2", "DeleteKeyPairs").is_err());
    }
}
