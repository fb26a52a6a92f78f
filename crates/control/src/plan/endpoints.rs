//! The interface endpoints of a VPC: where they are reached, and by which names.

use awan_model::endpoint::{Endpoint, Way};
use awan_model::interface::NetworkInterface;
use awan_model::plan::{EndpointInterfacePlan, EndpointPlan};
use awan_model::vpc::Vpc;
use awan_state::{System, Tx};

use crate::actions::ec2::endpoint::endpoints::names;

pub fn of(tx: &mut Tx<System>, vpc: &Vpc) -> Vec<EndpointPlan> {
    let all = tx.all_in::<Endpoint>(&vpc.home);
    all.iter().filter(|endpoint| endpoint.vpc == vpc.id).filter_map(|endpoint| plan(tx, vpc, endpoint)).collect()
}

/// One that is in no subnet is reached nowhere.
fn plan(tx: &mut Tx<System>, vpc: &Vpc, endpoint: &Endpoint) -> Option<EndpointPlan> {
    let Way::Interface { interfaces, .. } = &endpoint.way else { return None };
    let enis = interfaces.iter().filter_map(|(_, eni)| tx.find_in::<NetworkInterface>(&vpc.home, eni));
    let enis: Vec<_> = enis.collect();
    if enis.is_empty() {
        return None;
    }
    let at: Vec<_> = enis.iter().map(|eni| (eni.zone.clone(), eni.private_ip)).collect();
    let interface = |eni: &NetworkInterface| EndpointInterfacePlan {
        id: eni.id.clone(),
        subnet: eni.subnet.clone(),
        private_ip: eni.private_ip,
        groups: eni.groups.clone(),
    };
    Some(EndpointPlan {
        id: endpoint.id.clone(),
        interfaces: enis.iter().map(|eni| interface(eni)).collect(),
        names: names(endpoint, &at, vpc.dns_support && vpc.dns_hostnames).into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use awan_state::System;

    use super::*;
    use crate::plan::all;
    use crate::testing::Cloud;

    fn planned(cloud: &Cloud) -> Vec<EndpointPlan> {
        let plans = cloud.control.db.read(System, |tx| all(tx, 1));
        plans.values().next().expect("a host").network.vpcs[0].endpoints.clone()
    }

    fn named(plan: &EndpointPlan) -> Vec<String> {
        let name = |(name, ips): (&String, &Vec<_>)| format!("{name} {}", ips.len());
        plan.names.iter().map(name).map(|line| line.replace(plan.id.as_str(), "vpce")).collect()
    }

    #[test]
    fn an_endpoint_is_in_its_vpcs_plan_as_it_is_now() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let group = cloud.tenant("acme").default_group();
        let subnets = cloud.tenant("acme").call("DescribeSubnets", &[]).expect("answers");
        let (vpc, zones) = (Cloud::ids(&subnets, "vpcId").remove(0), Cloud::ids(&subnets, "availabilityZone"));
        let mut subnets: Vec<_> = zones.into_iter().zip(Cloud::ids(&subnets, "subnetId")).collect();
        subnets.sort();
        let subnets: Vec<_> = subnets.into_iter().map(|(_, subnet)| subnet).collect();
        let web = [("VpcId", vpc.as_str()), ("GroupName", "web"), ("GroupDescription", "d")];
        let web = cloud.tenant("acme").call("CreateSecurityGroup", &web).expect("makes");
        let web = Cloud::ids(&web, "groupId").remove(0);
        let ask = [
            ("VpcId", vpc.as_str()),
            ("ServiceName", "com.amazonaws.us-east-1.ec2"),
            ("VpcEndpointType", "Interface"),
            ("SubnetId.1", &subnets[0]),
            ("SubnetId.2", &subnets[1]),
            ("SecurityGroupId.1", &web),
        ];
        let made = cloud.tenant("acme").call("CreateVpcEndpoint", &ask).expect("makes");
        let id = Cloud::ids(&made, "vpcEndpointId").remove(0);
        let plan = planned(&cloud).remove(0);
        let place =
            |i: &EndpointInterfacePlan| (i.subnet.to_string(), i.groups.iter().map(ToString::to_string).collect());
        let expected = |n: usize, group: &String| (subnets[n].clone(), vec![group.clone()]);
        assert_eq!(plan.interfaces.iter().map(place).collect::<Vec<_>>(), [expected(0, &web), expected(1, &web)]);
        let own = ["vpce-us-east-1a", "vpce-us-east-1b", "vpce"];
        let own: Vec<_> = own.map(|name| format!("{name}.ec2.us-east-1.vpce.amazonaws.com")).into();
        let names: Vec<_> = own.iter().zip([1, 1, 2]).map(|(name, n)| format!("{name} {n}")).collect();
        assert_eq!(named(&plan), [&["ec2.us-east-1.amazonaws.com 2".to_owned()][..], &names].concat());
        let plans = cloud.control.db.read(System, |tx| all(tx, 1));
        let groups = &plans.values().next().expect("a host").network.vpcs[0].groups;
        assert!(groups.iter().any(|g| g.id.as_str() == web && !g.egress.is_empty()), "its rules are there");

        let mut change = |action: &str, ask: &[(&str, &str)]| {
            cloud.tenant("acme").call(action, ask).expect(action);
            planned(&cloud)
        };
        // Who takes the names of a VPC away takes those of services with them.
        let off = [("VpcId", vpc.as_str()), ("EnableDnsHostnames.Value", "false")];
        assert_eq!(named(&change("ModifyVpcAttribute", &off)[0]), names);
        let on = [("VpcId", vpc.as_str()), ("EnableDnsHostnames.Value", "true")];
        assert_eq!(named(&change("ModifyVpcAttribute", &on)[0]).len(), 4);
        let of = ("VpcEndpointId", id.as_str());
        assert_eq!(named(&change("ModifyVpcEndpoint", &[of, ("PrivateDnsEnabled", "false")])[0]), names);
        let groups = [of, ("AddSecurityGroupId.1", group.as_str()), ("RemoveSecurityGroupId.1", web.as_str())];
        let less = [of, ("RemoveSubnetId.1", subnets[0].as_str())];
        change("ModifyVpcEndpoint", &groups);
        let left = change("ModifyVpcEndpoint", &less);
        assert_eq!(left[0].interfaces.iter().map(place).collect::<Vec<_>>(), [expected(1, &group)]);
        assert_eq!(change("ModifyVpcEndpoint", &[of, ("RemoveSubnetId.1", subnets[1].as_str())]), []);
        change("ModifyVpcEndpoint", &[of, ("AddSubnetId.1", subnets[2].as_str())]);
        assert_eq!(change("DeleteVpcEndpoints", &[("VpcEndpointId.1", id.as_str())]), []);
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        cloud.audit();
    }
}
