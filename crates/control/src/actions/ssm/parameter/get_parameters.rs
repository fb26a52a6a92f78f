//! GetParameters: up to ten by their names; those that are not there are told apart.

use awan_state::{Tenant, Tx};
use awan_wire::ssm;

use crate::error::Result;
use crate::parameter::{find, invalid_request, shown};

pub fn get_parameters(tx: &mut Tx<Tenant>, req: ssm::GetParametersRequest) -> Result<ssm::GetParametersResult> {
    // Nothing is encrypted, so there is nothing to decrypt.
    let ssm::GetParametersRequest { names, with_decryption: _ } = req;
    if names.is_empty() || names.len() > 10 {
        return Err(invalid_request("A request has 1 to 10 names"));
    }
    let mut answer = ssm::GetParametersResult::default();
    let mut seen = std::collections::BTreeSet::new();
    for name in names.into_iter().filter(|name| seen.insert(name.clone())) {
        match find(tx, &name) {
            Ok(found) => answer.parameters.push(shown(&found)),
            Err(_) => answer.invalid_parameters.push(name),
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_there_is_named() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").ssm("PutParameter", r#"{"Name":"a","Type":"StringList","Value":"1,2"}"#).expect("puts");
        let told = cloud.tenant("acme").ssm("GetParameters", r#"{"Names":["a","b","a"]}"#).expect("answers");
        assert_eq!(told.matches(r#""Type":"StringList""#).count(), 1, "{told}");
        assert!(told.ends_with(r#""InvalidParameters":["b"]}"#), "{told}");
        let foreign = cloud.tenant("other").ssm("GetParameters", r#"{"Names":["a"]}"#).expect("answers");
        assert_eq!(foreign, r#"{"Parameters":[],"InvalidParameters":["a"]}"#);
        let refusal = cloud.tenant("acme").ssm("GetParameters", r#"{"Names":[]}"#).expect_err("none");
        assert!(refusal.starts_with("ValidationException"), "{refusal}");
    }
}
