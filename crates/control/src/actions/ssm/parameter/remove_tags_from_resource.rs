//! RemoveTagsFromResource: of parameters. Keys that are not there are fine.

use awan_state::{Tenant, Tx};
use awan_wire::ssm;

use crate::error::Result;
use crate::parameter::tagged;

pub fn remove_tags_from_resource(
    tx: &mut Tx<Tenant>,
    req: ssm::RemoveTagsFromResourceRequest,
) -> Result<ssm::RemoveTagsFromResourceResult> {
    let ssm::RemoveTagsFromResourceRequest { resource_type, resource_id, tag_keys } = req;
    let mut parameter = tagged(tx, resource_type.as_deref(), resource_id.as_deref())?;
    parameter.tags.retain(|key, _| !tag_keys.contains(key));
    tx.put(parameter);
    Ok(ssm::RemoveTagsFromResourceResult {})
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn of_nothing_it_takes_nothing() {
        let body = r#"{"ResourceType":"Parameter","ResourceId":"a","TagKeys":["k"]}"#;
        let refusal = Cloud::new().tenant("acme").ssm("RemoveTagsFromResource", body).expect_err("nothing is there");
        assert!(refusal.starts_with("InvalidResourceId"), "{refusal}");
    }
}
