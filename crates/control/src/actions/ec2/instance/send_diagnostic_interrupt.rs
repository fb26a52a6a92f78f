//! live: SendDiagnosticInterrupt asks the instance's host for a non-maskable interrupt. Nothing is written.

use awan_model::instance::{Instance, State, VmReport, state};
use awan_wire::ec2;

use crate::dispatch::{Live, dry_run_succeeded};
use crate::error::{Code, Error, Result, missing, refuse};
use crate::live;

pub async fn send_diagnostic_interrupt(cx: Live, req: ec2::SendDiagnosticInterruptRequest) -> Result<()> {
    let ec2::SendDiagnosticInterruptRequest { instance_id, dry_run } = req;
    let id = instance_id.ok_or_else(|| missing("InstanceId"))?.parse()?;
    let (instance, now) = cx.control.db.read(cx.tenant.clone(), |tx| {
        let instance = tx.get::<Instance>(&id)?;
        let report = tx.find::<VmReport>(&id);
        let now = state(&instance, report.as_deref());
        Ok::<_, Error>((instance, now))
    })?;
    if now != State::Running {
        let message = format!("The instance '{id}' is {now}, so it cannot be interrupted.");
        return Err(refuse(Code::IncorrectInstanceState, message));
    }
    if dry_run == Some(true) {
        return Err(dry_run_succeeded());
    }
    live::interrupt(&cx, &instance).await
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn only_a_running_instance_of_the_account_is_interrupted() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").launch();
        let ask = [("InstanceId", id.as_str())];
        let refusal = cloud.tenant("acme").call("SendDiagnosticInterrupt", &ask).expect_err("pending");
        assert!(refusal.starts_with("IncorrectInstanceState"), "{refusal}");
        cloud.settle();
        let refusal = cloud.tenant("other").call("SendDiagnosticInterrupt", &ask).expect_err("foreign");
        assert_eq!(refusal, format!("InvalidInstanceID.NotFound: The instance ID '{id}' does not exist"));
        let dry = [ask[0], ("DryRun", "true")];
        let refusal = cloud.tenant("acme").call("SendDiagnosticInterrupt", &dry).expect_err("dry");
        assert!(refusal.starts_with("DryRunOperation"), "{refusal}");
    }
}
