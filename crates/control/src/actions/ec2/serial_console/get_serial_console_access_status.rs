//! GetSerialConsoleAccessStatus.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::instance::metadata::account;
use crate::error::Result;

pub fn get_serial_console_access_status(
    tx: &mut Tx<Tenant>,
    req: ec2::GetSerialConsoleAccessStatusRequest,
) -> Result<ec2::GetSerialConsoleAccessStatusResult> {
    let ec2::GetSerialConsoleAccessStatusRequest { dry_run: _ } = req;
    Ok(ec2::GetSerialConsoleAccessStatusResult {
        serial_console_access_enabled: Some(account(tx).serial_console),
        managed_by: Some("account".into()),
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn access_is_off_until_an_account_turns_it_on() {
        let mut cloud = Cloud::new();
        let shown = |cloud: &mut Cloud, account: &str| {
            let answer = cloud.tenant(account).call("GetSerialConsoleAccessStatus", &[]).expect("answers");
            Cloud::ids(&answer, "serialConsoleAccessEnabled").remove(0)
        };
        assert_eq!(shown(&mut cloud, "acme"), "false");
        cloud.tenant("acme").call("EnableSerialConsoleAccess", &[]).expect("turns on");
        assert_eq!((shown(&mut cloud, "acme"), shown(&mut cloud, "other")), ("true".into(), "false".into()));
        cloud.tenant("acme").call("DisableSerialConsoleAccess", &[]).expect("turns off");
        assert_eq!(shown(&mut cloud, "acme"), "false");
    }
}
