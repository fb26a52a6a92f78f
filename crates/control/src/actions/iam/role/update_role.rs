//! UpdateRole: description and the longest session.

use awan_model::identity::Role;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::{Result, refuse_if};
use crate::identity::get;
use crate::identity::role::{checked_description, checked_duration};

pub fn update_role(tx: &mut Tx<Tenant>, req: iam::UpdateRoleRequest) -> Result<iam::UpdateRoleResponse> {
    let iam::UpdateRoleRequest {
        role_name,
        description,
        max_session_duration,
        max_signin_session_duration,
        reset_max_signin_session_duration,
    } = req;
    refuse_if(max_signin_session_duration.is_some(), "MaxSigninSessionDuration")?;
    refuse_if(reset_max_signin_session_duration == Some(true), "ResetMaxSigninSessionDuration")?;
    let mut role: Role = get(tx, &role_name.unwrap_or_default())?;
    if description.is_some() {
        role.description = checked_description(description)?;
    }
    if max_session_duration.is_some() {
        role.max_session_s = checked_duration(max_session_duration)?;
    }
    tx.put(role);
    Ok(iam::UpdateRoleResponse {})
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_given_stays() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.role("web");
        let update = [("RoleName", "web"), ("Description", "d"), ("MaxSessionDuration", "7200")];
        acme.iam("UpdateRole", &update).expect("updates");
        let told = acme.iam("GetRole", &update[..1]).expect("is there");
        assert_eq!(
            (&*Cloud::ids(&told, "Description")[0], &*Cloud::ids(&told, "MaxSessionDuration")[0]),
            ("d", "7200")
        );
        acme.iam("UpdateRole", &[update[0], ("Description", "e")]).expect("updates");
        let told = acme.iam("GetRole", &update[..1]).expect("is there");
        assert_eq!(
            (&*Cloud::ids(&told, "Description")[0], &*Cloud::ids(&told, "MaxSessionDuration")[0]),
            ("e", "7200")
        );
    }
}
