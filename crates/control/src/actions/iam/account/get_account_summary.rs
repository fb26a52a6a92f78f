//! GetAccountSummary: how many there are of each, and how many there can be.

use awan_model::identity::{Group, InstanceProfile, ManagedPolicy, Role, User};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::managed::DOCUMENT_MAX;

pub fn get_account_summary(tx: &mut Tx<Tenant>, (): ()) -> Result<iam::GetAccountSummaryResponse> {
    let policies = tx.list::<ManagedPolicy>();
    let versions: usize = policies.iter().map(|policy| policy.versions.len()).sum();
    let counts = [
        ("AccessKeysPerUserQuota", 2),
        ("AttachedPoliciesPerGroupQuota", 10),
        ("AttachedPoliciesPerRoleQuota", 10),
        ("AttachedPoliciesPerUserQuota", 10),
        ("Groups", tx.list::<Group>().len()),
        ("InstanceProfiles", tx.list::<InstanceProfile>().len()),
        ("Policies", policies.len()),
        ("PolicySizeQuota", DOCUMENT_MAX),
        ("PolicyVersionsInUse", versions),
        ("Roles", tx.list::<Role>().len()),
        ("Users", tx.list::<User>().len()),
        ("VersionsPerPolicyQuota", 5),
    ];
    let entry = |(key, count): (&str, usize)| iam::SummaryMapEntry {
        key: Some(key.to_owned()),
        value: i32::try_from(count).ok(),
    };
    Ok(iam::GetAccountSummaryResponse { summary_map: counts.into_iter().map(entry).collect() })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_there_is_is_counted() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").role("web");
        let told = cloud.tenant("acme").iam("GetAccountSummary", &[]).expect("answers");
        assert!(told.contains("<entry><key>Roles</key><value>1</value></entry>"), "{told}");
        assert!(told.contains("<entry><key>Users</key><value>0</value></entry>"), "{told}");
    }
}
