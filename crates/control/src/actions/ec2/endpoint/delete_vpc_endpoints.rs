//! DeleteVpcEndpoints: those that are there; of the others the answer tells.

use awan_model::endpoint::{Endpoint, Way};
use awan_model::id::EndpointId;
use awan_state::{Missing, Tenant, Tx};
use awan_wire::ec2;

use super::endpoints::remove_interface;
use crate::error::{Result, missing};
use crate::{network, token};

pub fn delete_vpc_endpoints(
    tx: &mut Tx<Tenant>,
    req: ec2::DeleteVpcEndpointsRequest,
) -> Result<ec2::DeleteVpcEndpointsResult> {
    let ec2::DeleteVpcEndpointsRequest { dry_run: _, vpc_endpoint_ids } = req;
    if vpc_endpoint_ids.is_empty() {
        return Err(missing("VpcEndpointId"));
    }
    let ids = vpc_endpoint_ids.iter().map(|id| Ok(id.parse()?)).collect::<Result<Vec<EndpointId>>>()?;
    let mut unsuccessful = Vec::new();
    for id in ids {
        match tx.find::<Endpoint>(&id) {
            Some(endpoint) => remove(tx, &endpoint),
            None => {
                let Missing { message, .. } = Missing::of::<Endpoint>(&id);
                let code = Some("InvalidVpcEndpoint.NotFound".into());
                let error = Some(ec2::UnsuccessfulItemError { code, message: Some(message) });
                unsuccessful.push(ec2::UnsuccessfulItem { error, resource_id: Some(id.to_string()) });
            }
        }
    }
    Ok(ec2::DeleteVpcEndpointsResult { unsuccessful })
}

fn remove(tx: &mut Tx<Tenant>, endpoint: &Endpoint) {
    if let Way::Interface { interfaces, .. } = &endpoint.way {
        interfaces.iter().for_each(|(_, eni)| remove_interface(tx, eni));
    }
    token::forget(tx, "CreateVpcEndpoint", endpoint.client_token.as_deref());
    network::remove::<Endpoint>(tx, &endpoint.id);
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn of_several_those_go_that_are_there() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let vpc = Cloud::ids(&call("DescribeVpcs", &[]).expect("answers"), "vpcId").remove(0);
        let ask = [("VpcId", vpc.as_str()), ("ServiceName", "com.amazonaws.us-east-1.s3"), ("ClientToken", "once")];
        let id = Cloud::ids(&call("CreateVpcEndpoint", &ask).expect("makes"), "vpcEndpointId").remove(0);
        let absent = "vpce-00000000000000001";
        let ask = [("VpcEndpointId.1", id.as_str()), ("VpcEndpointId.2", absent)];
        let answer = call("DeleteVpcEndpoints", &ask).expect("answers");
        assert_eq!(Cloud::ids(&answer, "code"), ["InvalidVpcEndpoint.NotFound"]);
        assert_eq!(Cloud::ids(&answer, "resourceId"), [absent]);
        let left = call("DescribeVpcEndpoints", &[]).expect("answers");
        assert!(Cloud::ids(&left, "vpcEndpointId").is_empty(), "{left}");
        let refusal = call("DeleteVpcEndpoints", &[("VpcEndpointId.1", "vpce-x")]).expect_err("no id");
        assert!(refusal.starts_with("InvalidVpcEndpointId.Malformed"), "{refusal}");
        cloud.audit();
    }
}
