//! DeleteParameter: with all its versions and tags.

use awan_model::parameter::Parameter;
use awan_state::{Tenant, Tx};
use awan_wire::ssm;

use crate::error::Result;
use crate::parameter::own;

pub fn delete_parameter(tx: &mut Tx<Tenant>, req: ssm::DeleteParameterRequest) -> Result<ssm::DeleteParameterResult> {
    let ssm::DeleteParameterRequest { name } = req;
    let parameter = own(tx, &name.unwrap_or_default())?;
    tx.remove::<Parameter>(&parameter.id);
    Ok(ssm::DeleteParameterResult {})
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn only_ones_own_and_only_once() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").ssm("PutParameter", r#"{"Name":"/a/b","Type":"String","Value":"1"}"#).expect("puts");
        let body = r#"{"Name":"/a/b"}"#;
        let foreign = cloud.tenant("other").ssm("DeleteParameter", body).expect_err("is not theirs");
        assert_eq!(cloud.tenant("acme").ssm("DeleteParameter", body).expect("deletes"), "{}");
        assert_eq!(cloud.tenant("acme").ssm("DeleteParameter", body).expect_err("is gone"), foreign);
        assert!(foreign.starts_with("ParameterNotFound"), "{foreign}");
    }
}
