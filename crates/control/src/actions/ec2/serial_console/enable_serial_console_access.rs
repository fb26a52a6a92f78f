//! EnableSerialConsoleAccess.
//!
//! Record only: there is no way into a serial console yet that would ask for it.

use awan_model::options::AccountOptions;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::instance::metadata::account;
use crate::error::Result;

pub fn enable_serial_console_access(
    tx: &mut Tx<Tenant>,
    req: ec2::EnableSerialConsoleAccessRequest,
) -> Result<ec2::EnableSerialConsoleAccessResult> {
    let ec2::EnableSerialConsoleAccessRequest { dry_run: _ } = req;
    let options = account(tx);
    tx.put(AccountOptions { serial_console: true, ..options });
    Ok(ec2::EnableSerialConsoleAccessResult { serial_console_access_enabled: Some(true) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_answer_says_what_holds_now() {
        let mut cloud = Cloud::new();
        for _ in 0..2 {
            let answer = cloud.tenant("acme").call("EnableSerialConsoleAccess", &[]).expect("switches");
            assert_eq!(Cloud::ids(&answer, "serialConsoleAccessEnabled"), ["true"]);
        }
    }
}
