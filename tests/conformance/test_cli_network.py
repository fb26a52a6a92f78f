"""Networks by the aws CLI, in the order and the words in which its documentation makes and unmakes them."""

from clients import refused
from test_cli import FAILED


def test_a_security_group_for_a_server(tenant):
    aws = tenant.shell
    vpc = tenant.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = aws(f'ec2 create-security-group --group-name my-sg --description "My security group" --vpc-id {vpc} --query GroupId --output text')
    made = aws(f"ec2 authorize-security-group-ingress --group-id {group} --protocol tcp --port 3389 --cidr 203.0.113.0/24")
    (rdp,) = made["SecurityGroupRules"]
    assert made["Return"] is True and (rdp["FromPort"], rdp["ToPort"], rdp["CidrIpv4"]) == (3389, 3389, "203.0.113.0/24")
    ssh = 'IpProtocol=tcp,FromPort=22,ToPort=22,IpRanges="[{CidrIp=203.0.113.0/24,Description=\'SSH access from NY office\'}]"'
    ping = 'IpProtocol=icmp,FromPort=-1,ToPort=-1,IpRanges="[{CidrIp=172.31.0.0/16}]" IpProtocol=icmpv6,Ipv6Ranges="[{CidrIpv6=2001:db8:1234:1a00::/64}]"'
    aws(f"ec2 authorize-security-group-ingress --group-id {group} --ip-permissions {ssh} {ping}")
    aws(f"ec2 authorize-security-group-ingress --group-id {group} --protocol tcp --port 80 --source-group {group}")
    aws(f"ec2 authorize-security-group-egress --group-id {group} --ip-permissions 'IpProtocol=tcp,FromPort=80,ToPort=80,IpRanges=[{{CidrIp=10.0.0.0/16}}]'")
    corpnet = '[{"IpProtocol":"tcp","FromPort":22,"ToPort":22,"IpRanges":[{"CidrIp":"203.0.113.0/24","Description":"SSH access from corpnet"}]}]'
    assert aws(f"ec2 update-security-group-rule-descriptions-ingress --group-id {group} --ip-permissions '{corpnet}'")["Return"] is True
    found = aws(
        "ec2 describe-security-groups --filters Name=ip-permission.from-port,Values=22 Name=ip-permission.to-port,Values=22"
        " Name=ip-permission.cidr,Values=203.0.113.0/24 --query SecurityGroups[*].[GroupName] --output text"
    )
    assert found == "my-sg"
    rules = aws(f'ec2 describe-security-group-rules --filters Name="group-id",Values="{group}" --query "SecurityGroupRules[?!IsEgress]"')
    assert {(r["IpProtocol"], r["FromPort"], r.get("CidrIpv4") or r.get("CidrIpv6"), r.get("Description")) for r in rules} == {
        ("tcp", 3389, "203.0.113.0/24", None),
        ("tcp", 22, "203.0.113.0/24", "SSH access from corpnet"),
        ("icmp", -1, "172.31.0.0/16", None),
        ("icmpv6", -1, "2001:db8:1234:1a00::/64", None),
        ("tcp", 80, None, None),
    }
    aws("ec2 revoke-security-group-ingress --group-name my-sg --protocol tcp --port 3389 --cidr 203.0.113.0/24")
    (web,) = [r["SecurityGroupRuleId"] for r in rules if r["FromPort"] == 80]
    assert aws(f"ec2 revoke-security-group-ingress --group-id {group} --security-group-rule-ids {web}")["Return"] is True
    tenant.launch(SecurityGroupIds=[group])
    complaint = aws(f"ec2 delete-security-group --group-id {group}", code=FAILED)
    assert f"(DependencyViolation) when calling the DeleteSecurityGroup operation: resource {group} has a dependent object" in complaint, complaint


def test_a_vpc_from_scratch_and_to_nothing(tenant):
    aws = tenant.shell
    vpc = aws("ec2 create-vpc --cidr-block 10.0.0.0/16 --query Vpc.VpcId --output text")
    public = aws(f"ec2 create-subnet --vpc-id {vpc} --cidr-block 10.0.1.0/24 --availability-zone us-east-1a --query Subnet.SubnetId --output text")
    private = aws(f"ec2 create-subnet --vpc-id {vpc} --cidr-block 10.0.0.0/24 --query Subnet.SubnetId --output text")
    gateway = aws("ec2 create-internet-gateway --query InternetGateway.InternetGatewayId --output text")
    aws(f"ec2 attach-internet-gateway --vpc-id {vpc} --internet-gateway-id {gateway}")
    table = aws(f"ec2 create-route-table --vpc-id {vpc} --query RouteTable.RouteTableId --output text")
    assert aws(f"ec2 create-route --route-table-id {table} --destination-cidr-block 0.0.0.0/0 --gateway-id {gateway}") == {"Return": True}
    shown = aws(f"ec2 describe-route-tables --route-table-id {table} --query RouteTables[0].Routes[*].[DestinationCidrBlock,GatewayId,State] --output text")
    assert [line.split() for line in shown.splitlines()] == [["10.0.0.0/16", "local", "active"], ["0.0.0.0/0", gateway, "active"]]
    listed = aws(f'ec2 describe-subnets --filters "Name=vpc-id,Values={vpc}" --query "Subnets[*].{{ID:SubnetId,CIDR:CidrBlock}}"')
    assert sorted(listed, key=lambda s: s["CIDR"]) == [{"ID": private, "CIDR": "10.0.0.0/24"}, {"ID": public, "CIDR": "10.0.1.0/24"}]
    association = aws(f"ec2 associate-route-table --subnet-id {public} --route-table-id {table} --query AssociationId --output text")
    aws(f"ec2 modify-subnet-attribute --subnet-id {public} --map-public-ip-on-launch")
    egress = aws(f"ec2 create-egress-only-internet-gateway --vpc-id {vpc}")["EgressOnlyInternetGateway"]["EgressOnlyInternetGatewayId"]
    (instance,) = tenant.run(SubnetId=public)
    assert tenant.about(instance)["PublicIpAddress"], "given because of the subnet's attribute"

    refusals = {
        f"delete-vpc --vpc-id {vpc}": f"DependencyViolation) when calling the DeleteVpc operation: The vpc '{vpc}' has dependencies and cannot be deleted",
        f"delete-subnet --subnet-id {public}": f"DependencyViolation) when calling the DeleteSubnet operation: The subnet '{public}' has dependencies",
        f"detach-internet-gateway --internet-gateway-id {gateway} --vpc-id {vpc}": f"DependencyViolation) when calling the DetachInternetGateway operation: Network {vpc} has some mapped public address(es)",
    }
    for line, why in refusals.items():
        complaint = aws(f"ec2 {line}", code=FAILED)
        assert f"({why}" in complaint, complaint
    tenant.ec2.terminate_instances(InstanceIds=[instance])
    tenant.wait("instance_terminated", instance)
    aws(f"ec2 disassociate-route-table --association-id {association}")
    aws(f"ec2 delete-subnet --subnet-id {public}")
    tenant.ec2.delete_subnet(SubnetId=private)
    aws(f"ec2 delete-route-table --route-table-id {table}")
    aws(f"ec2 detach-internet-gateway --internet-gateway-id {gateway} --vpc-id {vpc}")
    aws(f"ec2 delete-internet-gateway --internet-gateway-id {gateway}")
    assert aws(f"ec2 delete-egress-only-internet-gateway --egress-only-internet-gateway-id {egress}") == {"ReturnCode": True}
    aws(f"ec2 delete-vpc --vpc-id {vpc}")
    assert vpc not in {each["VpcId"] for each in tenant.ec2.describe_vpcs()["Vpcs"]}


def test_a_private_subnet_behind_a_nat_gateway(tenant):
    aws = tenant.shell
    public = tenant.ec2.describe_subnets()["Subnets"][0]
    subnet, vpc = public["SubnetId"], public["VpcId"]
    address = aws("ec2 allocate-address --domain vpc --query AllocationId --output text")
    nat = aws(f"ec2 create-nat-gateway --subnet-id {subnet} --allocation-id {address} --query NatGateway.NatGatewayId --output text")
    aws(f"ec2 wait nat-gateway-available --nat-gateway-ids {nat}")
    table = aws(f"ec2 create-route-table --vpc-id {vpc} --query RouteTable.RouteTableId --output text")
    aws(f"ec2 create-route --route-table-id {table} --destination-cidr-block 0.0.0.0/0 --nat-gateway-id {nat}")
    with refused("InvalidIPAddress.InUse"):
        tenant.ec2.release_address(AllocationId=address)
    with refused("DependencyViolation", message=f"The subnet '{subnet}' has dependencies and cannot be deleted"):
        tenant.ec2.delete_subnet(SubnetId=subnet)
    assert aws(f"ec2 delete-nat-gateway --nat-gateway-id {nat}") == {"NatGatewayId": nat}
    aws(f"ec2 wait nat-gateway-deleted --nat-gateway-ids {nat}")
    shown = aws(f"ec2 describe-route-tables --route-table-ids {table} --query RouteTables[0].Routes[?NatGatewayId].[NatGatewayId,State] --output text")
    assert shown.split() == [nat, "blackhole"]
    aws(f"ec2 release-address --allocation-id {address}")


def test_an_elastic_ip_address(tenant):
    aws = tenant.shell
    instance, other = tenant.run(2)
    made = aws("ec2 allocate-address")
    assert made["Domain"] == "vpc" and made["PublicIpv4Pool"] == "amazon"
    address, ip = made["AllocationId"], made["PublicIp"]
    association = aws(f"ec2 associate-address --instance-id {instance} --allocation-id {address} --query AssociationId --output text")
    assert association.startswith("eipassoc-")
    listed = aws("ec2 describe-addresses --query Addresses[].[PublicIp,InstanceId,PrivateIpAddress] --output text")
    assert listed.split() == [ip, instance, tenant.about(instance)["PrivateIpAddress"]]
    complaint = aws(f"ec2 release-address --allocation-id {address}", code=FAILED)
    assert f"(InvalidIPAddress.InUse) when calling the ReleaseAddress operation: Address {ip} is in use." in complaint, complaint
    complaint = aws(f"ec2 associate-address --instance-id {other} --allocation-id {address} --no-allow-reassociation", code=FAILED)
    assert f"(Resource.AlreadyAssociated) when calling the AssociateAddress operation: resource {address} is already associated" in complaint, complaint
    aws(f"ec2 disassociate-address --association-id {association}")
    aws(f"ec2 release-address --allocation-id {address}")
    assert not tenant.ec2.describe_addresses()["Addresses"]
