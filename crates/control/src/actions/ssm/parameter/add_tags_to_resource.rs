//! AddTagsToResource: of parameters.

use awan_state::{Tenant, Tx};
use awan_wire::ssm;

use crate::error::Result;
use crate::parameter::{tag, tagged};

pub fn add_tags_to_resource(
    tx: &mut Tx<Tenant>,
    req: ssm::AddTagsToResourceRequest,
) -> Result<ssm::AddTagsToResourceResult> {
    let ssm::AddTagsToResourceRequest { resource_type, resource_id, tags } = req;
    let mut parameter = tagged(tx, resource_type.as_deref(), resource_id.as_deref())?;
    tag(&mut parameter.tags, &tags)?;
    tx.put(parameter);
    Ok(ssm::AddTagsToResourceResult {})
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn tags_are_added_shown_and_taken_away() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").ssm("PutParameter", r#"{"Name":"/a","Type":"String","Value":"1"}"#).expect("puts");
        let about = r#""ResourceType":"Parameter","ResourceId":"/a""#;
        let add = format!(r#"{{{about},"Tags":[{{"Key":"k","Value":"v"}},{{"Key":"l","Value":""}}]}}"#);
        assert_eq!(cloud.tenant("acme").ssm("AddTagsToResource", &add).expect("adds"), "{}");
        let foreign = cloud.tenant("other").ssm("AddTagsToResource", &add).expect_err("is not theirs");
        assert!(foreign.starts_with("InvalidResourceId"), "{foreign}");
        let list = |cloud: &mut Cloud| {
            cloud.tenant("acme").ssm("ListTagsForResource", &format!("{{{about}}}")).expect("lists")
        };
        assert_eq!(list(&mut cloud), r#"{"TagList":[{"Key":"k","Value":"v"},{"Key":"l","Value":""}]}"#);
        let remove = format!(r#"{{{about},"TagKeys":["k","x"]}}"#);
        assert_eq!(cloud.tenant("acme").ssm("RemoveTagsFromResource", &remove).expect("removes"), "{}");
        assert_eq!(list(&mut cloud), r#"{"TagList":[{"Key":"l","Value":""}]}"#);
        let other = add.replace("\"Parameter\"", "\"Document\"");
        let refusal = cloud.tenant("acme").ssm("AddTagsToResource", &other).expect_err("no documents here");
        assert!(refusal.starts_with("InvalidResourceType"), "{refusal}");
        let reserved = add.replace("\"k\"", "\"aws:k\"");
        let refusal = cloud.tenant("acme").ssm("AddTagsToResource", &reserved).expect_err("is reserved");
        assert!(refusal.starts_with("ValidationException"), "{refusal}");
    }
}
