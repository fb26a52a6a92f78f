"""What the aws CLI makes of answers: pages, tables, texts; and requests that it reads from a file."""

import json

from test_cli import FAILED


def test_pages(tenant):
    aws = tenant.shell
    for n in range(11):
        tenant.ec2.create_security_group(GroupName=f"group-{n}", Description="text")
    query = "ec2 describe-security-groups"
    first = aws(f"{query} --max-items 7")
    assert len(first["SecurityGroups"]) == 7
    second = aws(f"{query} --max-items 7 --starting-token {first['NextToken']}")
    names = {group["GroupName"] for page in (first, second) for group in page["SecurityGroups"]}
    assert "NextToken" not in second and names == {"default"} | {f"group-{n}" for n in range(11)}
    assert len(aws(f"{query} --page-size 5 --query SecurityGroups[].GroupId")) == 12
    once = aws(f"{query} --max-results 5 --no-paginate")
    assert len(once["SecurityGroups"]) == 5 and once["NextToken"]


def test_tables_and_texts(tenant):
    aws = tenant.shell
    vpc = tenant.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    table = aws("ec2 describe-vpcs --query 'Vpcs[*].{Cidr:CidrBlock,VPC:VpcId}' --output table")
    assert "DescribeVpcs" in table and f"|  172.31.0.0/16 |  {vpc}  |" in table, table
    text = aws("ec2 describe-vpcs --output text")
    assert text.splitlines()[0].split("\t")[0] == "VPCS" and vpc in text.splitlines()[0].split("\t"), text


def test_a_request_from_a_skeleton(tenant):
    aws = tenant.shell
    skeleton = aws("ec2 run-instances --generate-cli-skeleton")
    assert skeleton["DryRun"] is True and "BlockDeviceMappings" in skeleton
    wanted = {"ImageId": tenant.image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, "KeyName": ""}
    filled = {key: value for key, value in {**dict.fromkeys(skeleton), **wanted, "DryRun": True}.items() if value not in (None, "")}
    path = tenant.awan.data / "ec2runinst.json"
    path.write_text(json.dumps(filled))
    assert "(DryRunOperation)" in aws(f"ec2 run-instances --cli-input-json file://{path}", code=FAILED)
    made = aws(f"ec2 run-instances --cli-input-json file://{path} --no-dry-run --instance-type t3.small --query Instances[].InstanceType")
    assert made == ["t3.small"], "what is said on the line counts"
    assert "Vpc" in aws("ec2 create-vpc --cidr-block 10.0.0.0/16 --generate-cli-skeleton output")
