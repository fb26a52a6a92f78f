//! DeleteTags. A tag that is not there is fine; those of the cloud itself stay; a value that is given must be the tag's.

use awan_model::tag::Tags;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing};
use crate::tagging;

pub fn delete_tags(tx: &mut Tx<Tenant>, req: ec2::DeleteTagsRequest) -> Result<()> {
    let ec2::DeleteTagsRequest { dry_run: _, resources, tags } = req;
    if resources.is_empty() {
        return Err(missing("ResourceId"));
    }
    if tags.iter().any(|tag| tag.key.as_deref().is_some_and(tagging::is_reserved)) {
        return Err(tagging::reserved());
    }
    for id in &resources {
        tagging::must_exist(tx, id)?;
        let mut left = tagging::of(tx, id);
        let named = |key: &str, value: &str| {
            tags.iter().any(|t| t.key.as_deref() == Some(key) && t.value.as_deref().is_none_or(|v| v == value))
        };
        left.retain(|key, value| tagging::is_reserved(key) || (!tags.is_empty() && !named(key, value)));
        if left.is_empty() {
            tx.remove::<Tags>(id);
        } else {
            let home = tx.home().clone();
            tx.put(Tags { home, id: id.clone(), tags: left });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn only_what_is_named_goes() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let id = id.as_str();
        let two =
            [("ResourceId.1", id), ("Tag.1.Key", "a"), ("Tag.1.Value", "1"), ("Tag.2.Key", "b"), ("Tag.2.Value", "2")];
        cloud.tenant("acme").call("CreateTags", &two).expect("tags");
        cloud
            .tenant("acme")
            .call("DeleteTags", &[("ResourceId.1", id), ("Tag.1.Key", "a"), ("Tag.1.Value", "other")])
            .expect("no such value");
        cloud.tenant("acme").call("DeleteTags", &[("ResourceId.1", id), ("Tag.1.Key", "b")]).expect("deletes");
        let shown = cloud.tenant("acme").call("DescribeTags", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "key"), ["a"]);
    }
}
