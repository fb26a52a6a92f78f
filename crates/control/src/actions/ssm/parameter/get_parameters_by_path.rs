//! GetParametersByPath: what lies in a folder of names, an account's own or `/aws/service/awan`.

use awan_model::parameter::Parameter;
use awan_state::{Tenant, Tx};
use awan_wire::ssm;

use crate::error::{Code, Result, refuse};
use crate::parameter::{self, Found, invalid_request, is_below, shown};

pub fn get_parameters_by_path(
    tx: &mut Tx<Tenant>,
    req: ssm::GetParametersByPathRequest,
) -> Result<ssm::GetParametersByPathResult> {
    // Nothing is encrypted, so there is nothing to decrypt.
    let ssm::GetParametersByPathRequest {
        path,
        recursive,
        parameter_filters,
        with_decryption: _,
        max_results,
        next_token,
    } = req;
    let path = path.unwrap_or_default();
    if !path.starts_with('/') {
        return Err(invalid_request(
            "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward \
             slash \"/\".",
        ));
    }
    let here = |filter: &ssm::ParameterStringFilter| {
        matches!(filter.key.as_deref(), Some("Type" | "KeyId" | "Label" | "DataType"))
    };
    if !parameter_filters.iter().all(here) {
        return Err(refuse(Code::InvalidFilterKey, "GetParametersByPath filters by Type, KeyId, Label and DataType."));
    }
    let page = parameter::page(tx, "GetParametersByPath", (max_results, next_token.as_deref()), 10)?;
    let recursive = recursive.unwrap_or(false);
    let mut found = Vec::new();
    for own in tx.list::<Parameter>() {
        if is_below(&own.name, &path, recursive) && all(&own, &parameter_filters)? {
            found.push(parameter::of_latest(tx, &own));
        }
    }
    if parameter_filters.is_empty() && (path.starts_with("/aws/") || path == "/aws") {
        found.extend(parameter::public(tx).into_values().filter(|p: &Found| is_below(&p.name, &path, recursive)));
    }
    let (found, next_token) = page.cut(found, |p| p.name.clone());
    Ok(ssm::GetParametersByPathResult { parameters: found.iter().map(shown).collect(), next_token })
}

fn all(own: &Parameter, filters: &[ssm::ParameterStringFilter]) -> Result<bool> {
    filters.iter().try_fold(true, |all, filter| Ok(all & parameter::passes(own, filter)?))
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn folders_pages_and_public_names() {
        let mut cloud = Cloud::new();
        for name in ["/a/1", "/a/2", "/a/b/3", "/ab"] {
            let body = format!(r#"{{"Name":"{name}","Type":"String","Value":"v"}}"#);
            cloud.tenant("acme").ssm("PutParameter", &body).expect("puts");
        }
        let mut names = |body: &str| {
            let told = cloud.tenant("acme").ssm("GetParametersByPath", body).expect("answers");
            let names = told.split("\"Name\":\"").skip(1).filter_map(|rest| rest.split('"').next());
            (names.map(str::to_owned).collect::<Vec<_>>().join(" "), told)
        };
        assert_eq!(names(r#"{"Path":"/a"}"#).0, "/a/1 /a/2");
        assert_eq!(names(r#"{"Path":"/a/","Recursive":true}"#).0, "/a/1 /a/2 /a/b/3");
        assert_eq!(names(r#"{"Path":"/","ParameterFilters":[{"Key":"Type","Values":["StringList"]}]}"#).0, "");
        let (first, told) = names(r#"{"Path":"/a","MaxResults":1}"#);
        let token = told.split("\"NextToken\":\"").nth(1).and_then(|t| t.split('"').next()).expect("there is more");
        assert_eq!(first, "/a/1");
        assert_eq!(names(&format!(r#"{{"Path":"/a","NextToken":"{token}"}}"#)).0, "/a/2");
        let public = names(r#"{"Path":"/aws/service/awan","Recursive":true}"#).0;
        assert_eq!(public, "/aws/service/awan/images/awan-tiny-test/image_id /aws/service/awan/tiny/latest/image_id");
        for (body, code) in [
            (r#"{"Path":"a"}"#, "ValidationException"),
            (r#"{"Path":"/","MaxResults":11}"#, "ValidationException"),
            (r#"{"Path":"/","NextToken":"x"}"#, "InvalidNextToken"),
            (r#"{"Path":"/","ParameterFilters":[{"Key":"Name","Values":["a"]}]}"#, "InvalidFilterKey"),
        ] {
            let refusal = cloud.tenant("acme").ssm("GetParametersByPath", body).expect_err(body);
            assert!(refusal.starts_with(code), "{body}: {refusal}");
        }
    }
}
