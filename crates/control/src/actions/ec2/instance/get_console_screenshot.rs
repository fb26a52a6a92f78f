//! live: GetConsoleScreenshot asks the instance's host what the guest shows. Nothing is written because of the answer.
//!
//! `WakeUp` presses a key first, as EC2 does: a guest that has darkened its screen lights it again.

use awan_model::instance::{Instance, State, VmReport, state};
use awan_wire::ec2;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::dispatch::{Live, dry_run_succeeded};
use crate::error::{Code, Error, Result, missing, refuse};
use crate::live;

pub async fn get_console_screenshot(
    cx: Live,
    req: ec2::GetConsoleScreenshotRequest,
) -> Result<ec2::GetConsoleScreenshotResult> {
    let ec2::GetConsoleScreenshotRequest { dry_run, instance_id, wake_up } = req;
    let id = instance_id.ok_or_else(|| missing("InstanceId"))?.parse()?;
    let (instance, now) = cx.control.db.read(cx.tenant.clone(), |tx| {
        let instance = tx.get::<Instance>(&id)?;
        let report = tx.find::<VmReport>(&id);
        let now = state(&instance, report.as_deref());
        Ok::<_, Error>((instance, now))
    })?;
    if now != State::Running {
        let message = format!("The instance '{id}' is {now}, so there is no screen to show.");
        return Err(refuse(Code::IncorrectInstanceState, message));
    }
    if dry_run == Some(true) {
        return Err(dry_run_succeeded());
    }
    let Some(jpeg) = live::screenshot(&cx, &instance, wake_up == Some(true)).await? else {
        let message = format!(
            "The instance '{id}' has no display: it was started by a version that gave none. Stop it and start it again."
        );
        return Err(refuse(Code::UnsupportedOperation, message));
    };
    let (image_data, instance_id) = (Some(BASE64_STANDARD.encode(jpeg)), Some(id.to_string()));
    Ok(ec2::GetConsoleScreenshotResult { image_data, instance_id })
}

#[cfg(test)]
mod tests {
    use awan_model::report::{Answer, Ask};

    use crate::testing::Cloud;

    #[test]
    fn only_a_running_instance_of_the_account_has_a_screen() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").launch();
        let ask = [("InstanceId", id.as_str())];
        let refusal = cloud.tenant("acme").call("GetConsoleScreenshot", &ask).expect_err("pending");
        let expected =
            format!("IncorrectInstanceState: The instance '{id}' is pending, so there is no screen to show.");
        assert_eq!(refusal, expected);
        cloud.settle();
        let refusal = cloud.tenant("other").call("GetConsoleScreenshot", &ask).expect_err("foreign");
        assert_eq!(refusal, format!("InvalidInstanceID.NotFound: The instance ID '{id}' does not exist"));
        let dry = [ask[0], ("DryRun", "true")];
        let refusal = cloud.tenant("acme").call("GetConsoleScreenshot", &dry).expect_err("dry");
        assert!(refusal.starts_with("DryRunOperation"), "{refusal}");
    }

    #[test]
    fn what_the_host_sees_is_told_and_a_machine_without_display_is_no_fault() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let told = cloud.answering(|ask| match ask {
            Ask::Screenshot { wake: true, .. } => Answer::Screenshot { jpeg: b"\xff\xd8 a picture".to_vec() },
            Ask::Screenshot { .. } => Answer::NoDisplay,
            _ => Answer::Done,
        });
        let ask = [("InstanceId", id.as_str()), ("WakeUp", "true")];
        let shown = cloud.tenant("acme").call("GetConsoleScreenshot", &ask).expect("shows");
        assert_eq!(Cloud::ids(&shown, "imageData"), ["/9ggYSBwaWN0dXJl"]);
        let refusal = cloud.tenant("acme").call("GetConsoleScreenshot", &ask[..1]).expect_err("has no display");
        assert!(refusal.starts_with(&format!("UnsupportedOperation: The instance '{id}' has no display")), "{refusal}");
        told.abort();
    }
}
