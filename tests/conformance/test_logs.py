"""What flow logs tell, read by CloudWatch Logs' API: groups, streams and events, each account's own. Nothing is sent in a
simulated network, and that is what its logs say."""

import time

import pytest
from awan import until
from clients import Tenant, refused

ROLE = "arn:aws:iam::123456789012:role/flows"
BARE = "${srcaddr} ${log-status} ${start} ${end}"


@pytest.fixture
def mine(awan):
    return Tenant(awan, "logs-mine")


@pytest.fixture
def theirs(awan):
    return Tenant(awan, "logs-theirs")


def flow_log(tenant, resource, traffic="ALL", **more):
    kind = {"vpc": "VPC", "subnet": "Subnet", "eni": "NetworkInterface"}[resource.split("-")[0]]
    asked = {"ResourceType": kind, "ResourceIds": [resource], "TrafficType": traffic, "MaxAggregationInterval": 60}
    made = tenant.ec2.create_flow_logs(**{**asked, "DeliverLogsPermissionArn": ROLE, **more})
    assert not made["Unsuccessful"], made
    return made["FlowLogIds"][0]


def interface(tenant, id):
    return tenant.about(id)["NetworkInterfaces"][0]["NetworkInterfaceId"]


def ended(tenant, *ids):
    """What interfaces have to say last is written when they go."""
    tenant.ec2.terminate_instances(InstanceIds=list(ids))
    tenant.wait("instance_terminated", *ids)


def events(logs, group, **more):
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, **more)
    return [event for page in pages for event in page["events"]]


def test_the_lines_of_each_interface_are_a_stream_of_the_group(awan, mine):
    logs = awan.client(mine.keys, "logs")
    (vpc,) = mine.ec2.describe_vpcs()["Vpcs"]
    began = int(time.time())
    log = flow_log(mine, vpc["VpcId"], LogGroupName="/vpc/lines")
    (shown,) = mine.ec2.describe_flow_logs(FlowLogIds=[log])["FlowLogs"]
    assert shown["DeliverLogsStatus"] == "SUCCESS" and "DeliverLogsErrorMessage" not in shown, shown
    (group,) = logs.describe_log_groups(logGroupNamePrefix="/vpc/lines")["logGroups"]
    assert group["logGroupArn"] == f"arn:aws:logs:us-east-1:{mine.id}:log-group:/vpc/lines" == group["arn"].removesuffix(":*")
    assert began - 1 <= group["creationTime"] / 1000 <= time.time() + 1
    ids = mine.run(2)
    enis = sorted(interface(mine, id) for id in ids)
    ended(mine, *ids)
    found = until("the last words", 20, lambda: len(all := events(logs, "/vpc/lines")) >= 2 and all)
    streams = [f"{eni}-all" for eni in enis]
    assert sorted({event["logStreamName"] for event in found}) == streams
    for event in found:
        words = event["message"].split()
        eni = event["logStreamName"].removesuffix("-all")
        assert words[:3] == ["2", mine.id, eni] and words[-2:] == ["-", "NODATA"], event
        # When it was seen first, and when it was written down.
        assert event["timestamp"] == int(words[10]) * 1000 and event["ingestionTime"] >= int(words[11]) * 1000, event
    assert len({event["eventId"] for event in found}) == len(found)
    assert [event["timestamp"] for event in found] == sorted(event["timestamp"] for event in found)
    told = logs.describe_log_streams(logGroupName="/vpc/lines")["logStreams"]
    assert [stream["logStreamName"] for stream in told] == streams
    assert told[0]["arn"] == f"{group['logGroupArn']}:log-stream:{streams[0]}"
    own = [event for event in found if event["logStreamName"] == streams[0]]
    assert (told[0]["firstEventTimestamp"], told[0]["lastEventTimestamp"]) == (own[0]["timestamp"], own[-1]["timestamp"])
    got = logs.get_log_events(logGroupIdentifier=group["logGroupArn"], logStreamName=streams[0])
    assert [event["message"] for event in got["events"]] == [event["message"] for event in own]
    # By stream, words and times; page by page.
    assert events(logs, "/vpc/lines", logStreamNames=[streams[0]]) == own
    assert events(logs, "/vpc/lines", logStreamNamePrefix=enis[0]) == own
    assert events(logs, "/vpc/lines", filterPattern=f'"{enis[0]}" NODATA -ACCEPT') == own
    assert events(logs, "/vpc/lines", filterPattern="NODAT") == events(logs, "/vpc/lines", filterPattern="REJECT") == []
    assert events(logs, "/vpc/lines", startTime=own[0]["timestamp"], endTime=own[-1]["timestamp"], logStreamNames=[streams[0]]) == own
    assert events(logs, "/vpc/lines", endTime=found[0]["timestamp"] - 1) == []
    assert events(logs, "/vpc/lines", PaginationConfig={"PageSize": 1}) == found
    assert events(logs, "/vpc/lines", startFromHead=False, PaginationConfig={"PageSize": 1}) == found[::-1]
    # As users of the CLI read it.
    assert len(mine.aws("logs", "filter-log-events", "--log-group-name", "/vpc/lines")["events"]) == len(found)
    # What it has told outlives the log, and nothing outlives the group.
    mine.ec2.delete_flow_logs(FlowLogIds=[log])
    assert events(logs, "/vpc/lines") == found
    logs.delete_log_group(logGroupName="/vpc/lines")
    for read in (logs.filter_log_events, logs.describe_log_streams):
        with refused("ResourceNotFoundException", 400, "The specified log group does not exist."):
            read(logGroupName="/vpc/lines")
    logs.create_log_group(logGroupName="/vpc/lines")
    assert events(logs, "/vpc/lines") == logs.describe_log_streams(logGroupName="/vpc/lines")["logStreams"] == []


def test_a_format_without_the_interface_and_several_logs_of_it_have_the_right_stream(awan, mine):
    logs = awan.client(mine.keys, "logs")
    logs.create_log_group(logGroupName="bare")
    arn = f"arn:aws:logs:us-east-1:{mine.id}:log-group:bare"
    one, two = mine.run(2)
    first, second = interface(mine, one), interface(mine, two)
    made = [flow_log(mine, first, "ACCEPT", LogDestination=arn, LogFormat=BARE)]
    made += [flow_log(mine, second, "ACCEPT", LogDestination=f"{arn}:*", LogFormat=BARE), flow_log(mine, second, "REJECT", LogDestination=arn, LogFormat=BARE)]
    # It waits until the host has done what its plan says.
    awan.audit()
    ended(mine, one, two)
    streams = lambda: {event["logStreamName"] for event in events(logs, "bare")}
    until("the last words", 20, lambda: streams() == {f"{first}-accept", f"{second}-all"})
    assert all(event["message"].startswith("- NODATA ") for event in events(logs, "bare"))
    by_time = logs.describe_log_streams(logGroupName="bare", orderBy="LastEventTime", descending=True, limit=1)
    assert len(by_time["logStreams"]) == 1 and by_time["nextToken"]
    assert mine.ec2.describe_flow_logs(Filters=[{"Name": "log-group-name", "Values": ["bare"]}])["FlowLogs"] == [], "they went with their interfaces"
    logs.delete_log_group(logGroupName="bare")


def test_what_is_anothers_is_not_there(awan, mine, theirs):
    logs, foreign = awan.client(mine.keys, "logs"), awan.client(theirs.keys, "logs")
    (vpc,) = mine.ec2.describe_vpcs()["Vpcs"]
    log = flow_log(mine, vpc["VpcId"], LogGroupName="same")
    (id,) = mine.run()
    eni = interface(mine, id)
    ended(mine, id)
    until("the last word", 20, lambda: events(logs, "same"))
    arn = f"arn:aws:logs:us-east-1:{mine.id}:log-group:same"
    absent = dict(code="ResourceNotFoundException", message="The specified log group does not exist.")
    calls = [
        lambda name: foreign.filter_log_events(logGroupName=name),
        lambda name: foreign.get_log_events(logGroupName=name, logStreamName=f"{eni}-all"),
        lambda name: foreign.describe_log_streams(logGroupName=name),
        lambda name: foreign.put_retention_policy(logGroupName=name, retentionInDays=1),
        lambda name: foreign.delete_retention_policy(logGroupName=name),
        lambda name: foreign.delete_log_group(logGroupName=name),
    ]
    by_arn = [
        lambda: foreign.filter_log_events(logGroupIdentifier=arn),
        lambda: foreign.describe_log_streams(logGroupIdentifier=arn),
        lambda: foreign.list_tags_for_resource(resourceArn=arn),
        lambda: foreign.tag_resource(resourceArn=arn, tags={"a": "b"}),
        lambda: foreign.untag_resource(resourceArn=arn, tagKeys=["a"]),
    ]
    for call in [*(lambda call=call: call("same") for call in calls), *by_arn]:
        with refused(**absent):
            call()
    assert foreign.describe_log_groups()["logGroups"] == []
    # One of the same name is another group, and a token for one is none for the other.
    foreign.create_log_group(logGroupName="same")
    assert events(foreign, "same") == foreign.describe_log_streams(logGroupName="same")["logStreams"] == []
    token = logs.get_log_events(logGroupName="same", logStreamName=f"{eni}-all")["nextForwardToken"]
    with refused("InvalidParameterException", 400, "The specified nextToken is invalid."):
        foreign.get_log_events(logGroupName="same", logStreamName=f"{eni}-all", nextToken=token)
    with refused("ResourceNotFoundException", 400, "The specified log stream does not exist."):
        foreign.get_log_events(logGroupName="same", logStreamName=f"{eni}-all")
    # Nobody's log writes into another's group.
    (theirs_vpc,) = theirs.ec2.describe_vpcs()["Vpcs"]
    with refused("InvalidParameterValue", 400, "LogDestination"):
        flow_log(theirs, theirs_vpc["VpcId"], LogDestination=arn)
    assert events(logs, "same")
    mine.ec2.delete_flow_logs(FlowLogIds=[log])
    for client in (logs, foreign):
        client.delete_log_group(logGroupName="same")


def test_bad_input_is_refused_and_changes_nothing(awan, mine):
    logs = awan.client(mine.keys, "logs")
    logs.create_log_group(logGroupName="good", tags={"a": "b"})
    before = logs.describe_log_groups()["logGroups"]
    bad = "InvalidParameterException"
    for code, call, asked in [
        (bad, "create_log_group", {"logGroupName": "a b"}),
        (bad, "create_log_group", {"logGroupName": "aws/a"}),
        ("ResourceAlreadyExistsException", "create_log_group", {"logGroupName": "good"}),
        ("UnsupportedOperationException", "create_log_group", {"logGroupName": "c", "kmsKeyId": "k"}),
        ("ResourceNotFoundException", "delete_log_group", {"logGroupName": "bad"}),
        (bad, "put_retention_policy", {"logGroupName": "good", "retentionInDays": 2}),
        (bad, "describe_log_groups", {"limit": 51}),
        (bad, "describe_log_groups", {"nextToken": "x"}),
        (bad, "describe_log_streams", {}),
        (bad, "describe_log_streams", {"logGroupName": "good", "orderBy": "LastEventTime", "logStreamNamePrefix": "a"}),
        (bad, "filter_log_events", {"logGroupName": "good", "logGroupIdentifier": "good"}),
        (bad, "filter_log_events", {"logGroupName": "good", "limit": 10_001}),
        (bad, "filter_log_events", {"logGroupName": "good", "startTime": 2, "endTime": 0}),
        (bad, "filter_log_events", {"logGroupName": "good", "filterPattern": '[version, account, eni, action="REJECT"]'}),
        (bad, "filter_log_events", {"logGroupName": "good", "filterPattern": "{ $.a = 1 }"}),
        (bad, "filter_log_events", {"logGroupName": "good", "filterPattern": "10.0.0.5"}),
        (bad, "filter_log_events", {"logGroupName": "good", "logStreamNames": ["a"], "logStreamNamePrefix": "a"}),
        ("ResourceNotFoundException", "filter_log_events", {"logGroupName": "good", "logStreamNames": ["eni-0-all"]}),
        ("ResourceNotFoundException", "get_log_events", {"logGroupName": "good", "logStreamName": "eni-0-all"}),
        (bad, "tag_resource", {"resourceArn": "good", "tags": {"a": "c"}}),
        (bad, "tag_resource", {"resourceArn": before[0]["logGroupArn"], "tags": {"aws:a": "c"}}),
        ("UnsupportedOperationException", "create_log_stream", {"logGroupName": "good", "logStreamName": "s"}),
    ]:
        with refused(code):
            getattr(logs, call)(**asked)
    assert logs.describe_log_groups()["logGroups"] == before
    assert logs.list_tags_for_resource(resourceArn=before[0]["logGroupArn"])["tags"] == {"a": "b"}
    (vpc,) = mine.ec2.describe_vpcs()["Vpcs"]
    with refused("DryRunOperation", 412):
        flow_log(mine, vpc["VpcId"], LogGroupName="dry", DryRun=True)
    with refused("InvalidParameterValue", 400, "LogGroupName"):
        flow_log(mine, vpc["VpcId"], LogGroupName="a b")
    assert logs.describe_log_groups()["logGroups"] == before
    logs.put_retention_policy(logGroupName="good", retentionInDays=7)
    logs.tag_resource(resourceArn=before[0]["logGroupArn"], tags={"c": "d"})
    logs.untag_resource(resourceArn=before[0]["logGroupArn"], tagKeys=["a"])
    assert logs.describe_log_groups()["logGroups"][0]["retentionInDays"] == 7
    assert logs.list_tags_for_resource(resourceArn=before[0]["logGroupArn"])["tags"] == {"c": "d"}
    logs.delete_log_group(logGroupName="good")


def test_a_log_whose_group_is_gone_says_so(awan, mine):
    logs = awan.client(mine.keys, "logs")
    (vpc,) = mine.ec2.describe_vpcs()["Vpcs"]
    made = [flow_log(mine, vpc["VpcId"], LogGroupName="gone")]
    made.append(flow_log(mine, vpc["VpcId"], LogDestinationType="s3", LogDestination="arn:aws:s3:::bucket", DeliverLogsPermissionArn=""))
    status = lambda: [log["DeliverLogsStatus"] for log in mine.ec2.describe_flow_logs(FlowLogIds=made)["FlowLogs"]]
    by_id = dict(zip(sorted(made), ["SUCCESS" if id == made[0] else "FAILED" for id in sorted(made)], strict=True))
    assert status() == list(by_id.values())
    logs.delete_log_group(logGroupName="gone")
    assert status() == ["FAILED", "FAILED"]
    assert all(log["DeliverLogsErrorMessage"] for log in mine.ec2.describe_flow_logs(FlowLogIds=made)["FlowLogs"])
    logs.create_log_group(logGroupName="gone")
    assert sorted(status()) == ["FAILED", "SUCCESS"]
    mine.ec2.delete_flow_logs(FlowLogIds=made)
    logs.delete_log_group(logGroupName="gone")
