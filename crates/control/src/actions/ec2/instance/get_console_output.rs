//! live: GetConsoleOutput asks the instance's host. Nothing is written because of the answer.

use awan_model::instance::Instance;
use awan_wire::ec2;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::view;
use crate::dispatch::{Live, dry_run_succeeded};
use crate::error::{Error, Result, missing};
use crate::live;

pub async fn get_console_output(cx: Live, req: ec2::GetConsoleOutputRequest) -> Result<ec2::GetConsoleOutputResult> {
    // The newest output is always shown: there is nothing older that `Latest` could be told from.
    let ec2::GetConsoleOutputRequest { instance_id, latest: _, dry_run } = req;
    let id = instance_id.ok_or_else(|| missing("InstanceId"))?.parse()?;
    let instance = cx.control.db.read(cx.tenant.clone(), |tx| tx.get::<Instance>(&id).map_err(Error::from))?;
    if dry_run == Some(true) {
        return Err(dry_run_succeeded());
    }
    let output = live::console(&cx, &instance).await?;
    Ok(ec2::GetConsoleOutputResult {
        instance_id: Some(id.to_string()),
        timestamp: view::time(cx.control.db.now()),
        output: Some(BASE64_STANDARD.encode(output)),
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_output_of_a_foreign_instance_is_that_of_an_absent_one() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let refusal = cloud.tenant("other").call("GetConsoleOutput", &[("InstanceId", &id)]).expect_err("foreign");
        assert_eq!(refusal, format!("InvalidInstanceID.NotFound: The instance ID '{id}' does not exist"));
    }
}
