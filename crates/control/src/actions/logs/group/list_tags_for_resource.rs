//! ListTagsForResource: of log groups.

use awan_state::{Tenant, Tx};
use awan_wire::logs;
use awan_wire::shape::Map;

use crate::error::Result;
use crate::logs::by_arn;

pub fn list_tags_for_resource(
    tx: &mut Tx<Tenant>,
    req: logs::ListTagsForResourceRequest,
) -> Result<logs::ListTagsForResourceResponse> {
    let logs::ListTagsForResourceRequest { resource_arn } = req;
    let group = by_arn(tx, resource_arn.as_deref().unwrap_or_default())?;
    Ok(logs::ListTagsForResourceResponse { tags: Some(Map(group.tags.clone())) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_no_group_of_ones_own_has_none() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").logs("CreateLogGroup", r#"{"logGroupName":"a"}"#).expect("makes");
        let own = cloud.tenant("acme").account();
        let ask = |arn: &str| format!(r#"{{"resourceArn":"{arn}"}}"#);
        let group = format!("arn:aws:logs:us-east-1:{own}:log-group:a");
        assert_eq!(cloud.tenant("acme").logs("ListTagsForResource", &ask(&group)).expect("lists"), r#"{"tags":{}}"#);
        let refusal = cloud.tenant("other").logs("ListTagsForResource", &ask(&group)).expect_err("foreign");
        assert!(refusal.starts_with("ResourceNotFoundException"), "{refusal}");
        for (arn, code) in [
            (group.replace("us-east-1", "eu-west-1"), "ResourceNotFoundException"),
            (format!("{group}b"), "ResourceNotFoundException"),
            (format!("{group}:*"), "InvalidParameterException"),
            ("a".into(), "InvalidParameterException"),
        ] {
            let refusal = cloud.tenant("acme").logs("ListTagsForResource", &ask(&arn)).expect_err(&arn);
            assert!(refusal.starts_with(code), "{arn}: {refusal}");
        }
    }
}
