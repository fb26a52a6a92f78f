//! ListTagsForResource: of retention rules.

use awan_state::{Tenant, Tx};
use awan_wire::rbin;

use crate::error::Result;
use crate::rbin::{by_arn, tags};

pub fn list_tags_for_resource(
    tx: &mut Tx<Tenant>,
    req: rbin::ListTagsForResourceRequest,
) -> Result<rbin::ListTagsForResourceResponse> {
    let rbin::ListTagsForResourceRequest { resource_arn } = req;
    let rule = by_arn(tx, resource_arn.as_deref())?;
    Ok(rbin::ListTagsForResourceResponse { tags: tags(&rule) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_no_rule_of_ones_own_has_none() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").keep("EC2_IMAGE", 7, "");
        let arn = format!("arn:aws:rbin:us-east-1:{}:rule/{id}", cloud.tenant("acme").account());
        let mut list =
            |who: &str, arn: &str| cloud.tenant(who).rbin("ListTagsForResource", &[("resourceArn", arn)], &[], "");
        assert_eq!(list("acme", &arn).expect("lists"), serde_json::json!({"Tags": []}));
        assert!(list("other", &arn).expect_err("another's").starts_with("RULE_NOT_FOUND"));
        for (arn, code) in [
            (arn.replace("us-east-1", "eu-west-1"), "RULE_NOT_FOUND"),
            (arn.replace(&id, "00000000000"), "RULE_NOT_FOUND"),
            (arn.replace("rule/", "thing/"), "InvalidParameterValue"),
            (format!("{arn}/a"), "InvalidParameterValue"),
            ("a".into(), "InvalidParameterValue"),
        ] {
            let refusal = list("acme", &arn).expect_err(&arn);
            assert!(refusal.starts_with(code), "{arn}: {refusal}");
        }
    }
}
