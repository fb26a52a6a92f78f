//! DeleteParameters: up to ten; those that are not there are told apart.

use awan_model::parameter::Parameter;
use awan_state::{Tenant, Tx};
use awan_wire::ssm;

use crate::error::Result;
use crate::parameter::{invalid_request, own};

pub fn delete_parameters(
    tx: &mut Tx<Tenant>,
    req: ssm::DeleteParametersRequest,
) -> Result<ssm::DeleteParametersResult> {
    let ssm::DeleteParametersRequest { names } = req;
    if names.is_empty() || names.len() > 10 {
        return Err(invalid_request("A request has 1 to 10 names"));
    }
    let mut answer = ssm::DeleteParametersResult::default();
    for name in names {
        match own(tx, &name) {
            Ok(parameter) => {
                tx.remove::<Parameter>(&parameter.id);
                answer.deleted_parameters.push(name);
            }
            Err(_) => answer.invalid_parameters.push(name),
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_there_hinders_nothing() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").ssm("PutParameter", r#"{"Name":"a","Type":"String","Value":"1"}"#).expect("puts");
        let told = cloud.tenant("acme").ssm("DeleteParameters", r#"{"Names":["b","a"]}"#).expect("answers");
        assert_eq!(told, r#"{"DeletedParameters":["a"],"InvalidParameters":["b"]}"#);
        let refusal = cloud.tenant("acme").ssm("DeleteParameters", r#"{"Names":[]}"#).expect_err("none");
        assert!(refusal.starts_with("ValidationException"), "{refusal}");
    }
}
