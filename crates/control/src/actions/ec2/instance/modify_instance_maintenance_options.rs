//! ModifyInstanceMaintenanceOptions.
//!
//! Record only: no instance moves to another host by itself, since its disks lie on the one it has.

use awan_model::instance::Instance;
use awan_model::options::Options;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::modify_instance_attribute::must_be_there;
use crate::error::{Result, combination, invalid_value, missing};

pub fn modify_instance_maintenance_options(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifyInstanceMaintenanceOptionsRequest,
) -> Result<ec2::ModifyInstanceMaintenanceOptionsResult> {
    let ec2::ModifyInstanceMaintenanceOptionsRequest { instance_id, auto_recovery, reboot_migration, dry_run: _ } = req;
    let instance = tx.get::<Instance>(&instance_id.ok_or_else(|| missing("InstanceId"))?.parse()?)?;
    must_be_there(tx, &instance)?;
    if auto_recovery.is_none() && reboot_migration.is_none() {
        return Err(combination("The request must contain a maintenance option"));
    }
    let old = &instance.options;
    let options = Options {
        no_recovery: disabled(auto_recovery.as_deref(), "AutoRecovery")?.unwrap_or(old.no_recovery),
        no_migration: disabled(reboot_migration.as_deref(), "RebootMigration")?.unwrap_or(old.no_migration),
        ..old.clone()
    };
    let shown = shown(&options);
    let instance_id = Some(instance.id.to_string());
    tx.put(Instance { options, ..(*instance).clone() });
    Ok(ec2::ModifyInstanceMaintenanceOptionsResult {
        instance_id,
        auto_recovery: shown.auto_recovery,
        reboot_migration: shown.reboot_migration,
    })
}

pub fn disabled(value: Option<&str>, name: &str) -> Result<Option<bool>> {
    match value {
        None | Some("") => Ok(None),
        Some("disabled") => Ok(Some(true)),
        Some("default") => Ok(Some(false)),
        Some(other) => Err(invalid_value(other.chars().take(32).collect::<String>().escape_debug(), name)),
    }
}

pub fn shown(options: &Options) -> ec2::InstanceMaintenanceOptions {
    let word = |off: bool| Some(if off { "disabled" } else { "default" }.to_owned());
    ec2::InstanceMaintenanceOptions {
        auto_recovery: word(options.no_recovery),
        reboot_migration: word(options.no_migration),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_was_chosen_is_shown_and_found() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run_with(&[("MaintenanceOptions.AutoRecovery", "disabled")]).expect("launches");
        let find = [("Filter.1.Name", "maintenance-options.auto-recovery"), ("Filter.1.Value.1", "disabled")];
        let found = |cloud: &mut Cloud| {
            Cloud::ids(&cloud.tenant("acme").call("DescribeInstances", &find).expect("answers"), "instanceId")
        };
        assert_eq!(found(&mut cloud), id);
        let mut set = |ask: (&str, &str)| {
            let ask = [("InstanceId", id[0].as_str()), ask];
            cloud.tenant("acme").call("ModifyInstanceMaintenanceOptions", &ask)
        };
        let answer = set(("AutoRecovery", "default")).expect("sets");
        assert!(answer.contains("<autoRecovery>default</autoRecovery>"), "{answer}");
        let answer = set(("RebootMigration", "disabled")).expect("sets");
        assert!(answer.contains("<rebootMigration>disabled</rebootMigration>"), "{answer}");
        assert!(set(("AutoRecovery", "never")).expect_err("unknown").starts_with("InvalidParameterValue"));
        assert!(found(&mut cloud).is_empty());
    }
}
