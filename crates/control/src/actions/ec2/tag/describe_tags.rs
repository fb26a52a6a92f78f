//! DescribeTags.

use awan_model::tag::Tags;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

pub fn describe_tags(tx: &mut Tx<Tenant>, req: ec2::DescribeTagsRequest) -> Result<ec2::DescribeTagsResult> {
    let ec2::DescribeTagsRequest { dry_run: _, filters, max_results, next_token } = req;
    let filters = Filters::new(&filters, &["key", "resource-id", "resource-type", "tag:*", "value"])?;
    let page = Page::new(tx, "DescribeTags", (max_results, next_token.as_deref()), (5, 1000), false)?;
    let mut kept = Vec::new();
    for Tags { id, tags, .. } in tx.list::<Tags>().iter().map(|t| (**t).clone()) {
        for (key, value) in &tags {
            let kind = tagging::kind_of(&id).unwrap_or_default();
            let values = |name: &str| match name {
                "key" => vec![key.clone()],
                "resource-id" => vec![id.clone()],
                "resource-type" => vec![kind.to_owned()],
                "value" => vec![value.clone()],
                tag => tagging::filter_values(&[(key.clone(), value.clone())].into(), tag),
            };
            if filters.match_all(values) {
                kept.push((id.clone(), kind, key.clone(), value.clone()));
            }
        }
    }
    let (kept, next_token) = page.cut(kept, |(id, _, key, _)| format!("{id} {key}"));
    let shown = |(id, kind, key, value): (String, &str, String, String)| ec2::TagDescription {
        key: Some(key),
        resource_id: Some(id),
        resource_type: Some(kind.to_owned()),
        value: Some(value),
    };
    Ok(ec2::DescribeTagsResult { next_token, tags: kept.into_iter().map(shown).collect() })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn tags_of_others_are_not_shown() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        cloud
            .tenant("acme")
            .call("CreateTags", &[("ResourceId.1", &id), ("Tag.1.Key", "a"), ("Tag.1.Value", "b")])
            .expect("tags");
        let own = cloud
            .tenant("acme")
            .call("DescribeTags", &[("Filter.1.Name", "resource-type"), ("Filter.1.Value.1", "instance")])
            .expect("answers");
        assert_eq!(Cloud::ids(&own, "resourceId"), [id]);
        let other = cloud.tenant("other").call("DescribeTags", &[]).expect("answers");
        assert!(Cloud::ids(&other, "resourceId").is_empty());
    }
}
