//! ListPolicyVersions: the newest first, without their documents.

use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, managed, shown};

pub fn list_policy_versions(
    tx: &mut Tx<Tenant>,
    req: iam::ListPolicyVersionsRequest,
) -> Result<iam::ListPolicyVersionsResponse> {
    let iam::ListPolicyVersionsRequest { policy_arn, marker, max_items } = req;
    let policy = managed::get(tx, &policy_arn.unwrap_or_default())?;
    let versions = policy.versions.iter().map(|(number, v)| (*number, shown::version(&policy, (*number, v), false)));
    let asked = (marker.as_deref(), max_items);
    // Pages are cut in the order of texts; numbers count down in it.
    let down = |(number, _): &(u32, iam::PolicyVersion)| format!("{:010}", u32::MAX - number);
    let (page, is_truncated, marker) = identity::page(tx, "ListPolicyVersions", asked, versions.collect(), down)?;
    let versions = page.into_iter().map(|(_, version)| version).collect();
    Ok(iam::ListPolicyVersionsResponse { versions, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn of_no_policy_there_are_none() {
        let ask = [("PolicyArn", "arn:aws:iam::123456789012:policy/p")];
        let refusal = Cloud::new().tenant("acme").iam("ListPolicyVersions", &ask).expect_err("is not there");
        assert!(refusal.starts_with("NoSuchEntity"), "{refusal}");
    }
}
