//! UntagResource: of retention rules. A tag that is not there is fine.

use awan_model::recycle_bin::RetentionRule;
use awan_state::{Tenant, Tx};
use awan_wire::rbin;

use crate::error::Result;
use crate::rbin::by_arn;

pub fn untag_resource(tx: &mut Tx<Tenant>, req: rbin::UntagResourceRequest) -> Result<rbin::UntagResourceResponse> {
    let rbin::UntagResourceRequest { resource_arn, tag_keys } = req;
    let mut rule = RetentionRule::clone(&*by_arn(tx, resource_arn.as_deref())?);
    rule.tags.retain(|key, _| !tag_keys.contains(key));
    tx.put(rule);
    Ok(rbin::UntagResourceResponse {})
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn nobody_takes_anothers_tags_away_and_somebody_must_say_which() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").keep("EC2_IMAGE", 7, r#","Tags":[{"Key":"a","Value":"1"}]"#);
        let arn = format!("arn:aws:rbin:us-east-1:{}:rule/{id}", cloud.tenant("acme").account());
        let mut untag = |who: &str, query: &[(&str, &str)]| {
            cloud.tenant(who).rbin("UntagResource", &[("resourceArn", &arn)], query, "")
        };
        assert!(untag("other", &[("tagKeys", "a")]).expect_err("another's").starts_with("RULE_NOT_FOUND"));
        assert!(untag("acme", &[]).expect_err("none").starts_with("MissingParameter"));
        untag("acme", &[("tagKeys", "a")]).expect("takes it away");
        let list = cloud.tenant("acme").rbin("ListTagsForResource", &[("resourceArn", &arn)], &[], "");
        assert_eq!(list.expect("lists"), serde_json::json!({"Tags": []}));
    }
}
