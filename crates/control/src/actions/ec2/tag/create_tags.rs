//! CreateTags: on all of the resources, or on none.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing};
use crate::tagging;

pub fn create_tags(tx: &mut Tx<Tenant>, req: ec2::CreateTagsRequest) -> Result<()> {
    let ec2::CreateTagsRequest { dry_run: _, resources, tags } = req;
    if resources.is_empty() {
        return Err(missing("ResourceId"));
    }
    if tags.is_empty() {
        return Err(missing("Tag"));
    }
    for id in &resources {
        tagging::must_exist(tx, id)?;
        tagging::add(tx, id, &tags)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn one_wrong_id_tags_nothing_and_fifty_tags_are_enough() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let both = [
            ("ResourceId.1", id.as_str()),
            ("ResourceId.2", "i-00000000000000000"),
            ("Tag.1.Key", "a"),
            ("Tag.1.Value", "b"),
        ];
        assert!(cloud.tenant("acme").call("CreateTags", &both).is_err());
        let shown = cloud.tenant("acme").call("DescribeTags", &[]).expect("answers");
        assert!(Cloud::ids(&shown, "key").is_empty(), "{shown}");
        for n in 0..50 {
            let ask = [("ResourceId.1", id.as_str()), ("Tag.1.Key", &format!("k{n}")), ("Tag.1.Value", "v")];
            cloud.tenant("acme").call("CreateTags", &ask).expect("tags");
        }
        let refusal = cloud
            .tenant("acme")
            .call("CreateTags", &[("ResourceId.1", &id), ("Tag.1.Key", "one more")])
            .expect_err("51");
        assert!(refusal.starts_with("TagLimitExceeded"), "{refusal}");
        let refusal = cloud
            .tenant("acme")
            .call("CreateTags", &[("ResourceId.1", &id), ("Tag.1.Key", "AWS:x")])
            .expect_err("reserved");
        assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
        let twice = [("ResourceId.1", id.as_str()), ("Tag.1.Key", "k1"), ("Tag.2.Key", "k1")];
        let refusal = cloud.tenant("acme").call("CreateTags", &twice).expect_err("one key twice");
        assert_eq!(refusal, "InvalidParameterValue: Duplicate tag key 'k1' specified.");
    }
}
