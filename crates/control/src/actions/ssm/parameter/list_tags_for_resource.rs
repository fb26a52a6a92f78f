//! ListTagsForResource: of parameters.

use awan_state::{Tenant, Tx};
use awan_wire::ssm;

use crate::error::Result;
use crate::parameter::tagged;

pub fn list_tags_for_resource(
    tx: &mut Tx<Tenant>,
    req: ssm::ListTagsForResourceRequest,
) -> Result<ssm::ListTagsForResourceResult> {
    let ssm::ListTagsForResourceRequest { resource_type, resource_id } = req;
    let parameter = tagged(tx, resource_type.as_deref(), resource_id.as_deref())?;
    let shown = |(k, v): (&String, &String)| ssm::Tag { key: Some(k.clone()), value: Some(v.clone()) };
    Ok(ssm::ListTagsForResourceResult { tag_list: parameter.tags.iter().map(shown).collect() })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_there_has_none() {
        let body = r#"{"ResourceType":"Parameter","ResourceId":"a"}"#;
        let refusal = Cloud::new().tenant("acme").ssm("ListTagsForResource", body).expect_err("nothing is there");
        assert!(refusal.starts_with("InvalidResourceId"), "{refusal}");
    }
}
