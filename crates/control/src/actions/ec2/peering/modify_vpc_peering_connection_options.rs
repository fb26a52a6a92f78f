//! ModifyVpcPeeringConnectionOptions: each side's own.

use awan_model::peering::{Peering, PeeringAnswer, State};
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::peerings::{named, not_for};
use crate::error::{Code, Result, combination, refuse, refuse_if};

pub fn modify_vpc_peering_connection_options(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifyVpcPeeringConnectionOptionsRequest,
) -> Result<ec2::ModifyVpcPeeringConnectionOptionsResult> {
    let ec2::ModifyVpcPeeringConnectionOptionsRequest {
        accepter_peering_connection_options,
        dry_run: _,
        requester_peering_connection_options,
        vpc_peering_connection_id,
    } = req;
    let known = named(tx, vpc_peering_connection_id)?;
    let accepter = accepter_peering_connection_options.map(|o| wanted(o, "Accepter")).transpose()?;
    let requester = requester_peering_connection_options.map(|o| wanted(o, "Requester")).transpose()?;
    if accepter.is_none() && requester.is_none() {
        return Err(combination("Options of the requester or of the accepter must be specified."));
    }
    let Some(answer) = known.answer.as_ref().filter(|_| known.state == State::Active) else {
        let id = &known.peering.id;
        let message = format!("Peering {id} is not active. Peering options can be added only to active peerings.");
        return Err(refuse(Code::OperationNotPermitted, message));
    };
    let mut answer = (**answer).clone();
    let mut peering = (*known.peering).clone();
    if let Some(dns) = requester {
        if !known.is_asked_by(tx.home()) {
            return Err(not_for(tx, "modify the requester options of", &known));
        }
        peering.side.dns = checked(tx, dns.unwrap_or(peering.side.dns), &peering.side.vpc)?;
        tx.put::<Peering>(peering.clone());
    }
    if let Some(dns) = accepter {
        if !known.is_asked_of(tx.home()) {
            return Err(not_for(tx, "modify the accepter options of", &known));
        }
        answer.side.dns = checked(tx, dns.unwrap_or(answer.side.dns), &answer.side.vpc)?;
        tx.put::<PeeringAnswer>(answer.clone());
    }
    Ok(ec2::ModifyVpcPeeringConnectionOptionsResult {
        accepter_peering_connection_options: accepter.map(|_| options(answer.side.dns)),
        requester_peering_connection_options: requester.map(|_| options(peering.side.dns)),
    })
}

/// Whether names are to resolve; `None` leaves it as it is.
fn wanted(options: ec2::PeeringConnectionOptionsRequest, whose: &str) -> Result<Option<bool>> {
    let ec2::PeeringConnectionOptionsRequest {
        allow_dns_resolution_from_remote_vpc,
        allow_egress_from_local_classic_link_to_remote_vpc,
        allow_egress_from_local_vpc_to_remote_classic_link,
        allow_multipath_resilience,
        multipath_resilience_mode,
    } = options;
    for (there, name) in [
        (
            allow_egress_from_local_classic_link_to_remote_vpc == Some(true),
            "AllowEgressFromLocalClassicLinkToRemoteVpc",
        ),
        (
            allow_egress_from_local_vpc_to_remote_classic_link == Some(true),
            "AllowEgressFromLocalVpcToRemoteClassicLink",
        ),
        (allow_multipath_resilience == Some(true), "AllowMultipathResilience"),
        (multipath_resilience_mode.is_some(), "MultipathResilienceMode"),
    ] {
        refuse_if(there, &format!("{whose}PeeringConnectionOptions.{name}"))?;
    }
    Ok(allow_dns_resolution_from_remote_vpc)
}

fn checked(tx: &mut Tx<Tenant>, dns: bool, vpc: &awan_model::id::VpcId) -> Result<bool> {
    if dns && !tx.find::<Vpc>(vpc).is_some_and(|vpc| vpc.dns_support && vpc.dns_hostnames) {
        let message =
            format!("To enable DNS resolution, the VPC '{vpc}' must have DNS hostnames and DNS support enabled.");
        return Err(refuse(Code::DnsHostnamesDisabled, message));
    }
    Ok(dns)
}

fn options(dns: bool) -> ec2::PeeringConnectionOptions {
    ec2::PeeringConnectionOptions {
        allow_dns_resolution_from_remote_vpc: Some(dns),
        allow_egress_from_local_classic_link_to_remote_vpc: Some(false),
        allow_egress_from_local_vpc_to_remote_classic_link: Some(false),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn each_side_has_its_options_once_the_connection_is_active() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let mut vpc = |cidr| Cloud::ids(&call("CreateVpc", &[("CidrBlock", cidr)]).expect("makes"), "vpcId").remove(0);
        let (a, b) = (vpc("10.1.0.0/16"), vpc("10.2.0.0/16"));
        let made = call("CreateVpcPeeringConnection", &[("VpcId", &a), ("PeerVpcId", &b)]).expect("asks");
        let id = Cloud::ids(&made, "vpcPeeringConnectionId").remove(0);
        let this = ("VpcPeeringConnectionId", id.as_str());
        let dns = ("AccepterPeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc", "true");
        let refusal = call("ModifyVpcPeeringConnectionOptions", &[this, dns]).expect_err("waits");
        assert_eq!(
            refusal,
            format!(
                "OperationNotPermitted: Peering {id} is not active. Peering options can be added only to active peerings."
            )
        );
        call("AcceptVpcPeeringConnection", &[this]).expect("accepts");
        let refusal = call("ModifyVpcPeeringConnectionOptions", &[this, dns]).expect_err("has no names");
        assert!(refusal.starts_with("InvalidVpcPeeringConnectionState.DnsHostnamesDisabled"), "{refusal}");
        call("ModifyVpcAttribute", &[("VpcId", &b), ("EnableDnsHostnames.Value", "true")]).expect("names guests");
        call("ModifyVpcPeeringConnectionOptions", &[this, dns]).expect("sets");
        let shown = call("DescribeVpcPeeringConnections", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "allowDnsResolutionFromRemoteVpc"), ["true", "false"]);
        let refusal = call("ModifyVpcPeeringConnectionOptions", &[this]).expect_err("nothing");
        assert!(refusal.starts_with("InvalidParameterCombination"), "{refusal}");
    }
}
