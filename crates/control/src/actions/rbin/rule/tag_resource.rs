//! TagResource: of retention rules.

use awan_model::recycle_bin::RetentionRule;
use awan_state::{Tenant, Tx};
use awan_wire::rbin;

use crate::error::Result;
use crate::rbin::{by_arn, tag};

pub fn tag_resource(tx: &mut Tx<Tenant>, req: rbin::TagResourceRequest) -> Result<rbin::TagResourceResponse> {
    let rbin::TagResourceRequest { resource_arn, tags } = req;
    let mut rule = RetentionRule::clone(&*by_arn(tx, resource_arn.as_deref())?);
    tag(&mut rule.tags, tags)?;
    tx.put(rule);
    Ok(rbin::TagResourceResponse {})
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn tags_are_added_replaced_and_counted() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").keep("EC2_IMAGE", 7, r#","Tags":[{"Key":"a","Value":"1"}]"#);
        let arn = format!("arn:aws:rbin:us-east-1:{}:rule/{id}", cloud.tenant("acme").account());
        let mut ask = |action: &str, query: &[(&str, &str)], body: &str| {
            cloud.tenant("acme").rbin(action, &[("resourceArn", &arn)], query, body)
        };
        ask("TagResource", &[], r#"{"Tags":[{"Key":"a","Value":"2"},{"Key":"b","Value":""}]}"#).expect("tags");
        let both = serde_json::json!({"Tags": [{"Key": "a", "Value": "2"}, {"Key": "b", "Value": ""}]});
        assert_eq!(ask("ListTagsForResource", &[], "").expect("lists"), both);
        let many: Vec<_> = (0..49).map(|n| format!(r#"{{"Key":"k{n}","Value":""}}"#)).collect();
        let refusal = ask("TagResource", &[], &format!(r#"{{"Tags":[{}]}}"#, many.join(","))).expect_err("51");
        assert!(refusal.starts_with("SERVICE_QUOTA_EXCEEDED"), "{refusal}");
        let refusal = ask("TagResource", &[], r#"{"Tags":[{"Key":"aws:a","Value":""}]}"#).expect_err("reserved");
        assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
        ask("UntagResource", &[("tagKeys", "a"), ("tagKeys", "none")], "").expect("takes one away");
        assert_eq!(ask("ListTagsForResource", &[], "").expect("lists")["Tags"][0]["Key"], "b");
    }
}
