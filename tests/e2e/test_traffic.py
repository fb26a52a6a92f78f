"""What a real guest sends and receives is counted, and told by flow logs: in files of the host, and by API."""

import subprocess

import pytest
from awan import until
from test_guests import Tenant


def interface_of(tenant, id):
    return tenant.about(id)["NetworkInterfaces"][0]["NetworkInterfaceId"]


def counted(awan, interface):
    rows = [row for row in awan.admin("traffic") if row["Interface"] == interface]
    return rows[0] if rows else None


def test_traffic_is_counted_over_stops_and_restarts_of_the_server(awan, tenant):
    (id,) = tenant.launch()
    interface = interface_of(tenant, id)
    tenant.ssh(id, "head -c 300000 /dev/zero")
    first = counted(awan, interface)
    assert first["Instance"] == id and first["BytesOut"] > 300_000 > first["BytesIn"] > 1_000, first
    assert first["PacketsOut"] > 20 and first["PacketsIn"] > 10, first
    awan.terminate()
    awan.start()
    second = until("the host", 30, lambda: counted(awan, interface))
    assert second["BytesOut"] >= first["BytesOut"], (first, second)
    tenant.ec2.stop_instances(InstanceIds=[id], Force=True)
    tenant.wait("instance_stopped", id)
    # What was counted last is kept though the tap is gone, and the next one adds to it.
    kept = counted(awan, interface)
    assert kept["BytesOut"] >= second["BytesOut"], (second, kept)
    tenant.ec2.start_instances(InstanceIds=[id])
    tenant.ssh(id, "head -c 200000 /dev/zero")
    again = counted(awan, interface)
    assert again["BytesOut"] > kept["BytesOut"] + 200_000, (kept, again)
    tenant.terminate(id)
    until("the interface is gone", 20, lambda: counted(awan, interface) is None)
    awan.audit()


def test_a_flow_log_tells_who_was_let_in_and_who_was_not(awan, tenant):
    (vpc,) = tenant.ec2.describe_vpcs()["Vpcs"]
    destination = {"LogDestinationType": "s3", "LogDestination": "arn:aws:s3:::bucket"}
    asked = {"ResourceType": "VPC", "ResourceIds": [vpc["VpcId"]], "TrafficType": "ALL", "MaxAggregationInterval": 60}
    (log,) = tenant.ec2.create_flow_logs(**asked, **destination)["FlowLogIds"]
    readable = {"LogGroupName": "/flows", "DeliverLogsPermissionArn": "arn:aws:iam::123456789012:role/flows"}
    (delivered,) = tenant.ec2.create_flow_logs(**asked, **readable)["FlowLogIds"]
    (id,) = tenant.launch()
    tenant.ssh(id, "true")
    about = tenant.about(id)
    refused = subprocess.run(["curl", "-s", "-m", "2", f"http://{about['PublicIpAddress']}:81/"], timeout=30)
    assert refused.returncode != 0
    # The account's id stands in each line.
    (folder,) = until("the log", 90, lambda: list(awan.data.glob(f"flow-logs/*/{log}")), 1)
    own, eni = about["PrivateIpAddress"], interface_of(tenant, id)

    def lines():
        found = []
        for path in folder.iterdir():
            names, *rows = path.read_text().splitlines()
            found += [dict(zip(names.split(), row.split(), strict=True)) for row in rows]
        return [line for line in found if line["interface-id"] == eni and line["log-status"] == "OK"]

    def told(**fields):
        wanted = {name.replace("_", "-"): value for name, value in fields.items()}
        # A guest that is not up yet is called, too: of several, the one with the most packets.
        found = [line for line in lines() if wanted.items() <= line.items()]
        return max(found, key=lambda line: int(line["packets"]), default=None)

    accepted = until("the login", 90, lambda: told(dstaddr=own, dstport="22", action="ACCEPT"), 1)
    rejected = until("the refusal", 90, lambda: told(dstaddr=own, dstport="81", action="REJECT"), 1)
    assert told(srcaddr=own, srcport="22", action="ACCEPT"), lines()
    assert accepted["version"] == "2" and accepted["protocol"] == "6" and accepted["account-id"] == folder.parent.name
    assert 0 < int(accepted["end"]) - int(accepted["start"]) + 1 <= 71 and int(accepted["packets"]) > 5, accepted
    assert int(rejected["packets"]) >= 1, rejected
    # Names and metadata are the platform's own.
    assert not [line for line in lines() if line["dstport"] in ("53", "80", "67")], lines()
    # The same by API, to its owner alone.
    logs, stranger = awan.client(tenant.keys, "logs"), awan.client(Tenant(awan, "stranger").keys, "logs")
    stream = {"logGroupName": "/flows", "logStreamNames": [f"{eni}-all"]}
    for port, action in (("22", "ACCEPT"), ("81", "REJECT")):
        found = logs.filter_log_events(**stream, filterPattern=f'"{own}" {port} {action}')["events"]
        words = [event["message"].split() for event in found]
        assert any(w[4] == own and w[6] == port and w[12] == action and w[13] == "OK" for w in words), (port, found)
    assert tenant.ec2.describe_flow_logs(FlowLogIds=[delivered])["FlowLogs"][0]["DeliverLogsStatus"] == "SUCCESS"
    with pytest.raises(stranger.exceptions.ResourceNotFoundException):
        stranger.filter_log_events(logGroupName="/flows")
    tenant.ec2.delete_flow_logs(FlowLogIds=[log, delivered])
    assert logs.filter_log_events(**stream)["events"], "what was told outlives the log"
    tenant.terminate(id)
    awan.audit()
