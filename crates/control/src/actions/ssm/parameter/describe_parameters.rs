//! DescribeParameters: what there is of an account's own, without the values.

use awan_model::parameter::Parameter;
use awan_state::{Tenant, Tx};
use awan_wire::ssm;

use crate::error::{Code, Result, refuse};
use crate::parameter::{self, invalid_request, passes, time};

pub fn describe_parameters(
    tx: &mut Tx<Tenant>,
    req: ssm::DescribeParametersRequest,
) -> Result<ssm::DescribeParametersResult> {
    let ssm::DescribeParametersRequest { filters, parameter_filters, max_results, next_token, shared } = req;
    if !filters.is_empty() && !parameter_filters.is_empty() {
        return Err(invalid_request("You can use either Filters or ParameterFilters in a single request."));
    }
    let filters = filters.into_iter().map(old).collect::<Result<Vec<_>>>()?;
    let filters = [filters, parameter_filters].concat();
    let page = parameter::page(tx, "DescribeParameters", (max_results, next_token.as_deref()), 50)?;
    let mut found = Vec::new();
    // No account shares its parameters with another.
    let own = if shared == Some(true) { Vec::new() } else { tx.list::<Parameter>() };
    for own in own {
        if filters.iter().try_fold(true, |all, filter| Ok::<_, crate::error::Error>(all & passes(&own, filter)?))? {
            found.push(own);
        }
    }
    let (found, next_token) = page.cut(found, |p| p.id.clone());
    let parameters = found.iter().map(|p| shown(tx, p)).collect();
    Ok(ssm::DescribeParametersResult { parameters, next_token })
}

/// The older kind of filter, which begins with its values.
fn old(filter: ssm::ParametersFilter) -> Result<ssm::ParameterStringFilter> {
    let ssm::ParametersFilter { key, values } = filter;
    let option = match key.as_deref() {
        Some("Name") => Some("BeginsWith".to_owned()),
        Some("Type" | "KeyId") => None,
        _ => return Err(refuse(Code::InvalidFilterKey, "Filters are by Name, Type and KeyId.")),
    };
    Ok(ssm::ParameterStringFilter { key, option, values })
}

fn shown(tx: &Tx<Tenant>, parameter: &Parameter) -> ssm::ParameterMetadata {
    let latest = parameter.latest();
    ssm::ParameterMetadata {
        name: Some(parameter.name.clone()),
        arn: Some(parameter::arn(tx, &parameter.name)),
        r#type: Some(parameter.kind.as_str().into()),
        key_id: None,
        last_modified_date: time(latest.at),
        last_modified_user: Some(latest.by.clone()),
        description: latest.description.clone(),
        allowed_pattern: None,
        version: Some(latest.number),
        tier: Some(latest.tier.clone()),
        policies: Vec::new(),
        data_type: Some(latest.data_type.clone()),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn filters_and_pages() {
        let mut cloud = Cloud::new();
        for (name, kind) in [("/a/1", "String"), ("/a/b/2", "StringList"), ("c", "String")] {
            let body = format!(
                r#"{{"Name":"{name}","Type":"{kind}","Value":"canary","Description":"about","Tags":[{{"Key":"n","Value":"{name}"}}]}}"#
            );
            cloud.tenant("acme").ssm("PutParameter", &body).expect("puts");
        }
        let mut names = |filters: &str| {
            let told = cloud.tenant("acme").ssm("DescribeParameters", &format!("{{{filters}}}")).expect("answers");
            assert!(!told.contains("canary"), "{told}");
            let names = told.split("\"Name\":\"").skip(1).filter_map(|rest| rest.split('"').next());
            names.map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        for (filters, expected) in [
            ("", "/a/1 /a/b/2 c"),
            (r#""MaxResults":2"#, "/a/1 /a/b/2"),
            (r#""Shared":true"#, ""),
            (r#""Filters":[{"Key":"Name","Values":["/a"]}]"#, "/a/1 /a/b/2"),
            (r#""ParameterFilters":[{"Key":"Name","Values":["c"]}]"#, "c"),
            (r#""ParameterFilters":[{"Key":"Name","Option":"Contains","Values":["b"]}]"#, "/a/b/2"),
            (r#""ParameterFilters":[{"Key":"Path","Values":["/a"]}]"#, "/a/1"),
            (r#""ParameterFilters":[{"Key":"Path","Option":"Recursive","Values":["/a"]}]"#, "/a/1 /a/b/2"),
            (r#""ParameterFilters":[{"Key":"Type","Values":["String"]},{"Key":"tag:n","Values":["c"]}]"#, "c"),
            (r#""ParameterFilters":[{"Key":"tag:n","Option":"BeginsWith","Values":["/a"]}]"#, "/a/1 /a/b/2"),
            (r#""ParameterFilters":[{"Key":"Tier","Values":["Advanced"]}]"#, ""),
        ] {
            assert_eq!(names(filters), expected, "{filters}");
        }
        for (body, code) in [
            (r#"{"ParameterFilters":[{"Key":"X","Values":["1"]}]}"#, "InvalidFilterKey"),
            (r#"{"ParameterFilters":[{"Key":"Type","Option":"X","Values":["1"]}]}"#, "InvalidFilterOption"),
            (r#"{"MaxResults":51}"#, "ValidationException"),
        ] {
            let refusal = cloud.tenant("acme").ssm("DescribeParameters", body).expect_err(body);
            assert!(refusal.starts_with(code), "{body}: {refusal}");
        }
        assert_eq!(cloud.tenant("other").ssm("DescribeParameters", "{}").expect("answers"), r#"{"Parameters":[]}"#);
    }
}
