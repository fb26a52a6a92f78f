//! DeleteRetentionPolicy: events are kept for as long as there is room.

use awan_model::log_group::LogGroup;
use awan_state::{Tenant, Tx};
use awan_wire::logs;

use crate::error::Result;
use crate::logs::by_name;

pub fn delete_retention_policy(tx: &mut Tx<Tenant>, req: logs::DeleteRetentionPolicyRequest) -> Result<()> {
    let logs::DeleteRetentionPolicyRequest { log_group_name } = req;
    let group = by_name(tx, log_group_name.as_deref().unwrap_or_default())?;
    tx.put(LogGroup { retention_days: None, ..(*group).clone() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_foreign_group_is_an_absent_one() {
        let mut cloud = Cloud::new();
        let ask = r#"{"logGroupName":"a"}"#;
        cloud.tenant("acme").logs("CreateLogGroup", ask).expect("makes");
        cloud.tenant("acme").logs("DeleteRetentionPolicy", ask).expect("has none, which is fine");
        let refusal = cloud.tenant("other").logs("DeleteRetentionPolicy", ask).expect_err("foreign");
        assert_eq!(refusal, "ResourceNotFoundException: The specified log group does not exist.");
    }
}
