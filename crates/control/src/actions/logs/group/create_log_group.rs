//! CreateLogGroup.

use std::collections::BTreeMap;

use awan_state::{Tenant, Tx};
use awan_wire::logs;

use crate::error::{Result, refuse_if};
use crate::logs::{create, invalid, is_name, tag};

pub fn create_log_group(tx: &mut Tx<Tenant>, req: logs::CreateLogGroupRequest) -> Result<()> {
    let logs::CreateLogGroupRequest { log_group_name, kms_key_id, tags, log_group_class, deletion_protection_enabled } =
        req;
    refuse_if(kms_key_id.is_some(), "kmsKeyId")?;
    refuse_if(deletion_protection_enabled == Some(true), "deletionProtectionEnabled")?;
    match log_group_class.as_deref() {
        None | Some("STANDARD") => {}
        Some("INFREQUENT_ACCESS" | "DELIVERY" | "ESSENTIALS") => refuse_if(true, "logGroupClass")?,
        Some(_) => return Err(invalid("The logGroupClass is none.")),
    }
    let name = log_group_name.unwrap_or_default();
    if !is_name(&name) {
        return Err(invalid(
            "A log group's name has 1 to 512 letters, digits and characters of . - _ / #, and does not begin aws/.",
        ));
    }
    let mut all = BTreeMap::new();
    tag(&mut all, tags.unwrap_or_default())?;
    create(tx, &name, all)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_group_is_made_once_and_each_account_has_its_own() {
        let mut cloud = Cloud::new();
        let ask = r#"{"logGroupName":"/vpc/flows#1","tags":{"a":"b"}}"#;
        assert_eq!(cloud.tenant("acme").logs("CreateLogGroup", ask).expect("makes"), "{}");
        let refusal = cloud.tenant("acme").logs("CreateLogGroup", ask).expect_err("is there");
        assert_eq!(refusal, "ResourceAlreadyExistsException: The specified log group already exists");
        cloud.tenant("other").logs("CreateLogGroup", ask).expect("makes another");
        cloud.audit();
    }

    #[test]
    fn what_no_group_can_be_is_refused_and_makes_none() {
        let mut cloud = Cloud::new();
        let long = format!(r#"{{"logGroupName":"{}"}}"#, "a".repeat(513));
        for (ask, code) in [
            (long.as_str(), "InvalidParameterException"),
            (r#"{"logGroupName":""}"#, "InvalidParameterException"),
            (r#"{"logGroupName":"a b"}"#, "InvalidParameterException"),
            (r#"{"logGroupName":"aws/a"}"#, "InvalidParameterException"),
            (r#"{"logGroupName":"a","logGroupClass":"X"}"#, "InvalidParameterException"),
            (r#"{"logGroupName":"a","tags":{"aws:a":"b"}}"#, "InvalidParameterException"),
            (r#"{"logGroupName":"a","tags":{"":"b"}}"#, "InvalidParameterException"),
            (r#"{"logGroupName":"a","tags":["b"]}"#, "InvalidParameterValue"),
            (r#"{"logGroupName":"a","tags":{"b":1}}"#, "InvalidParameterValue"),
            (r#"{"logGroupName":"a","kmsKeyId":"k"}"#, "UnsupportedOperation"),
            (r#"{"logGroupName":"a","logGroupClass":"DELIVERY"}"#, "UnsupportedOperation"),
            (r#"{"logGroupName":"a","deletionProtectionEnabled":true}"#, "UnsupportedOperation"),
            (r#"{}"#, "MissingParameter"),
        ] {
            let refusal = cloud.tenant("acme").logs("CreateLogGroup", ask).expect_err(ask);
            assert!(refusal.starts_with(code), "{ask}: {refusal}");
        }
        let told = cloud.tenant("acme").logs("DescribeLogGroups", "{}").expect("answers");
        assert_eq!(told, r#"{"logGroups":[]}"#);
    }
}
