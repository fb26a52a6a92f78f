//! PutParameter: a new parameter, or a new version of one. Kept in the clear, so `SecureString` is refused.

use awan_model::id::ImageId;
use awan_model::image::Image;
use awan_model::parameter::{Kind, Parameter, Version};
use awan_state::{Tenant, Tx};
use awan_wire::ssm;

use crate::error::{Code, Error, Result, refuse, refuse_if};
use crate::parameter::{self, invalid_request};

/// Limits from "Quotas", Systems Manager Parameter Store.
const VERSIONS_MAX: usize = 100;
const PARAMETERS_MAX: usize = 10_000;
const STANDARD_MAX: usize = 4 * 1024;
const ADVANCED_MAX: usize = 8 * 1024;
const LEVELS_MAX: usize = 15;
const NAME_MAX: usize = 1011;

pub fn put_parameter(tx: &mut Tx<Tenant>, req: ssm::PutParameterRequest) -> Result<ssm::PutParameterResult> {
    let ssm::PutParameterRequest {
        name,
        description,
        value,
        r#type,
        key_id,
        overwrite,
        allowed_pattern,
        tags,
        tier,
        policies,
        data_type,
    } = req;
    refuse_if(key_id.is_some(), "KeyId")?;
    refuse_if(allowed_pattern.is_some_and(|p| !p.is_empty()), "AllowedPattern")?;
    refuse_if(policies.is_some_and(|p| !p.is_empty()), "Policies")?;
    let name = checked_name(name.unwrap_or_default())?;
    let value = value.unwrap_or_default();
    let tier = checked_tier(tier.as_deref(), &value)?;
    if description.as_ref().is_some_and(|d| d.chars().count() > 1024) {
        return Err(invalid_request("A description has at most 1024 characters"));
    }
    let kind = r#type.as_deref().map(checked_kind).transpose()?;
    let data_type = checked_data_type(tx, data_type, &value)?;
    let old = tx.find::<Parameter>(&Parameter::key(&name));
    let version = Version {
        number: old.as_ref().map_or(1, |old| old.latest().number + 1),
        value,
        description: description.or_else(|| old.as_ref().and_then(|old| old.latest().description.clone())),
        data_type,
        tier: tier.clone(),
        at: tx.now(),
        by: tx.principal().to_owned(),
    };
    let number = version.number;
    let parameter = match old {
        None => new(tx, name, kind, version, &tags)?,
        Some(old) => {
            refuse_overwrite(&old, overwrite, kind, !tags.is_empty())?;
            next(&old, version)
        }
    };
    tx.put(parameter);
    Ok(ssm::PutParameterResult { version: Some(number), tier: Some(tier) })
}

fn new(
    tx: &mut Tx<Tenant>,
    name: String,
    kind: Option<Kind>,
    version: Version,
    tags: &[ssm::Tag],
) -> Result<Parameter> {
    let kind = kind.ok_or_else(|| invalid_request("A parameter type is required when you create a parameter."))?;
    if tx.list_after::<Parameter>("", PARAMETERS_MAX).len() >= PARAMETERS_MAX {
        let message = format!("An account has at most {PARAMETERS_MAX} parameters in a region.");
        return Err(refuse(Code::ParameterLimitExceeded, message));
    }
    let (home, id) = (tx.home().clone(), Parameter::key(&name));
    let mut parameter = Parameter { home, id, name, kind, versions: vec![version], tags: Default::default() };
    parameter::tag(&mut parameter.tags, tags)?;
    Ok(parameter)
}

fn refuse_overwrite(old: &Parameter, overwrite: Option<bool>, kind: Option<Kind>, tags: bool) -> Result<()> {
    if overwrite != Some(true) {
        let message =
            "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.";
        return Err(refuse(Code::ParameterAlreadyExists, message));
    }
    if tags {
        return Err(invalid_request(
            "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove \
             overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or \
             RemoveTagsFromResource.",
        ));
    }
    if kind.is_some_and(|kind| kind != old.kind) {
        let message = "The parameter type cannot be changed. Delete the parameter and create it again.";
        return Err(refuse(Code::HierarchyTypeMismatch, message));
    }
    Ok(())
}

fn next(old: &Parameter, version: Version) -> Parameter {
    let mut parameter = old.clone();
    parameter.versions.push(version);
    if parameter.versions.len() > VERSIONS_MAX {
        parameter.versions.remove(0);
    }
    parameter
}

fn checked_name(name: String) -> Result<String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'/');
    let wrong_form = name.contains('/') && !name.starts_with('/') || name.ends_with('/') || name.contains("//");
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(fine) || wrong_form {
        return Err(invalid_request(
            "Parameter name: can't be empty; only letters, digits and the symbols _.-/ are allowed, and a name with a \
             path begins with a slash.",
        ));
    }
    let lower = name.trim_start_matches('/').to_ascii_lowercase();
    if name.starts_with('/') && lower.starts_with("aws/") {
        return Err(refuse(Code::AccessDeniedException, format!("No access to reserved parameter name: {name}.")));
    }
    if lower.starts_with("aws") || lower.starts_with("ssm") {
        return Err(invalid_request("Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive)."));
    }
    if name.matches('/').count() > LEVELS_MAX {
        let message = format!("A name has at most {LEVELS_MAX} levels.");
        return Err(refuse(Code::HierarchyLevelLimitExceeded, message));
    }
    Ok(name)
}

fn checked_kind(kind: &str) -> Result<Kind> {
    match kind {
        "String" => Ok(Kind::String),
        "StringList" => Ok(Kind::StringList),
        "SecureString" => Err(refuse(
            Code::UnsupportedParameterType,
            "SecureString needs a key management service, which is not here. Use String or StringList.",
        )),
        other => Err(refuse(
            Code::UnsupportedParameterType,
            format!(
                "The parameter type '{}' is not supported.",
                other.chars().take(64).collect::<String>().escape_debug()
            ),
        )),
    }
}

fn checked_tier(tier: Option<&str>, value: &str) -> Result<String> {
    let (tier, most) = match tier.unwrap_or("Standard") {
        "Standard" => ("Standard", STANDARD_MAX),
        "Advanced" => ("Advanced", ADVANCED_MAX),
        "Intelligent-Tiering" if value.len() <= STANDARD_MAX => ("Standard", STANDARD_MAX),
        "Intelligent-Tiering" => ("Advanced", ADVANCED_MAX),
        _ => return Err(invalid_request("The tier must be Standard, Advanced or Intelligent-Tiering")),
    };
    if value.is_empty() {
        return Err(invalid_request("A parameter's value has at least one character"));
    }
    if value.len() > most {
        return Err(invalid_request(format!(
            "{tier} tier parameters support a maximum parameter value of {most} characters."
        )));
    }
    Ok(tier.to_owned())
}

fn checked_data_type(tx: &mut Tx<Tenant>, data_type: Option<String>, value: &str) -> Result<String> {
    match data_type.as_deref().unwrap_or("text") {
        "text" => Ok("text".into()),
        "aws:ec2:image" => {
            let id: Result<ImageId, Error> = value.parse().map_err(Error::from);
            let there = id.is_ok_and(|id| tx.shared::<Image>(&id).is_ok());
            let message =
                "The value of a parameter of the data type aws:ec2:image must be the id of an image that you can use.";
            if there { Ok("aws:ec2:image".into()) } else { Err(invalid_request(message)) }
        }
        _ => Err(invalid_request("The data type must be text or aws:ec2:image")),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn versions_count_up_and_what_cannot_be_kept_is_refused() {
        let mut cloud = Cloud::new();
        let mut put = |body: &str| cloud.tenant("acme").ssm("PutParameter", body);
        assert_eq!(
            put(r#"{"Name":"a","Type":"String","Value":"1"}"#).expect("new"),
            r#"{"Version":1,"Tier":"Standard"}"#
        );
        let again = put(r#"{"Name":"a","Value":"2","Overwrite":true}"#).expect("next");
        assert_eq!(again, r#"{"Version":2,"Tier":"Standard"}"#);
        for (body, code) in [
            (r#"{"Name":"a","Type":"String","Value":"3"}"#, "ParameterAlreadyExists"),
            (r#"{"Name":"a","Type":"StringList","Value":"3","Overwrite":true}"#, "HierarchyTypeMismatchException"),
            (r#"{"Name":"a","Value":"3","Overwrite":true,"Tags":[{"Key":"k","Value":"v"}]}"#, "ValidationException"),
            (r#"{"Name":"b","Type":"SecureString","Value":"3"}"#, "UnsupportedParameterType"),
            (r#"{"Name":"b","Value":"3"}"#, "ValidationException"),
            (r#"{"Name":"b","Type":"String","Value":""}"#, "ValidationException"),
            (r#"{"Name":"awsome","Type":"String","Value":"3"}"#, "ValidationException"),
            (r#"{"Name":"/aws/service/x","Type":"String","Value":"3"}"#, "AccessDeniedException"),
            (r#"{"Name":"a/b","Type":"String","Value":"3"}"#, "ValidationException"),
            (
                r#"{"Name":"b","Type":"String","Value":"ami-00000000000000000","DataType":"aws:ec2:image"}"#,
                "ValidationException",
            ),
            (r#"{"Name":"b","Type":"String","Value":"3","KeyId":"k"}"#, "UnsupportedOperation"),
            (r#"{"Name":"b","Type":"String","Value":"3","Policies":"[1]"}"#, "UnsupportedOperation"),
            (r#"{"Name":"b","Type":"String"}"#, "MissingParameter"),
            ("{", "SerializationException"),
        ] {
            let refusal = put(body).expect_err(body);
            assert!(refusal.starts_with(code), "{body}: {refusal}");
        }
        let long = format!(r#"{{"Name":"b","Type":"String","Value":"{}"}}"#, "x".repeat(4097));
        assert!(put(&long).expect_err("is too long").starts_with("ValidationException"));
        let tier = long.replace("\"Value\"", "\"Tier\":\"Intelligent-Tiering\",\"Value\"");
        assert_eq!(put(&tier).expect("fits"), r#"{"Version":1,"Tier":"Advanced"}"#);
    }
}
