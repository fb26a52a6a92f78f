"""The recycle bin by boto3 and the aws CLI: rules of service `rbin`, and what they keep of EC2's."""

import datetime

import botocore.config
import pytest
from awan import CONFIG, until
from clients import QUICK, Tenant, refused

DAY = datetime.timedelta(days=1)


@pytest.fixture
def mine(awan, request):
    """An account of its own for each test: rules are for all that an account has."""
    return Tenant(awan, request.node.name.replace("_", "-")[:50])


@pytest.fixture
def rbin(awan, mine):
    return awan.client(mine.keys, "rbin")


def days(count):
    return {"RetentionPeriodValue": count, "RetentionPeriodUnit": "DAYS"}


def delay(count):
    return {"UnlockDelay": {"UnlockDelayValue": count, "UnlockDelayUnit": "DAYS"}}


def tagged(key, value):
    return [{"ResourceTagKey": key, "ResourceTagValue": value}]


def snapshot(mine, **tags):
    volume = mine.ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    made = mine.ec2.create_snapshot(VolumeId=volume, Description="of nothing")["SnapshotId"]
    mine.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[made], WaiterConfig=QUICK)
    mine.ec2.delete_volume(VolumeId=volume)
    if tags:
        mine.ec2.create_tags(Resources=[made], Tags=[{"Key": key, "Value": value} for key, value in tags.items()])
    return made


def binned(mine):
    return [found["SnapshotId"] for found in mine.ec2.list_snapshots_in_recycle_bin()["Snapshots"]]


def test_a_rule_is_made_shown_changed_tagged_and_deleted(awan, mine, rbin):
    asked = {"ResourceType": "EBS_SNAPSHOT", "RetentionPeriod": days(7), "Description": "a week", "ResourceTags": tagged("a", "1")}
    made = rbin.create_rule(Tags=[{"Key": "k", "Value": "v"}], **asked)
    assert (made["ResponseMetadata"]["HTTPStatusCode"], made["Status"]) == (201, "pending")
    rule, arn = made["Identifier"], made["RuleArn"]
    assert arn == f"arn:aws:rbin:us-east-1:{mine.id}:rule/{rule}"
    shown = rbin.get_rule(Identifier=rule)
    assert {name: shown[name] for name in asked} == asked and shown["Status"] == "available" and "LockState" not in shown
    changed = rbin.update_rule(Identifier=rule, RetentionPeriod=days(2), ResourceTags=tagged("b", "2"))
    assert (changed["RetentionPeriod"], changed["ResourceTags"], changed["Description"]) == (days(2), tagged("b", "2"), "a week")
    (listed,) = rbin.list_rules(ResourceType="EBS_SNAPSHOT")["Rules"]
    assert listed == {"Identifier": rule, "Description": "a week", "RetentionPeriod": days(2), "RuleArn": arn}
    tagging = rbin.tag_resource(ResourceArn=arn, Tags=[{"Key": "l", "Value": "a b"}])
    assert tagging["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert rbin.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "k", "Value": "v"}, {"Key": "l", "Value": "a b"}]
    untagging = rbin.untag_resource(ResourceArn=arn, TagKeys=["k", "none"])
    assert untagging["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert rbin.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "l", "Value": "a b"}]
    assert rbin.delete_rule(Identifier=rule)["ResponseMetadata"]["HTTPStatusCode"] == 204
    with refused("ResourceNotFoundException", 404, rule):
        rbin.get_rule(Identifier=rule)


def test_errors_have_their_kinds_statuses_and_reasons(awan, mine, rbin):
    config = CONFIG.merge(botocore.config.Config(parameter_validation=False))
    unchecked = mine.session().client("rbin", endpoint_url=f"http://127.0.0.1:{awan.api}", config=config)

    def reason(call, **asked):
        try:
            call(**asked)
        except rbin.exceptions.ClientError as error:
            return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"], error.response.get("Reason")
        return None

    invalid = ("ValidationException", 400, "INVALID_PARAMETER_VALUE")
    assert reason(rbin.create_rule, ResourceType="EBS_SNAPSHOT", RetentionPeriod=days(366)) == invalid
    assert reason(rbin.create_rule, ResourceType="EBS_VOLUME", RetentionPeriod=days(8)) == invalid
    assert reason(unchecked.create_rule, ResourceType="EBS_SNAPSHOT") == invalid
    assert reason(unchecked.create_rule, ResourceType="EBS_SNAPSHOT", RetentionPeriod=days("x")) == invalid
    assert reason(rbin.get_rule, Identifier="0" * 12) == invalid
    assert reason(rbin.list_rules, ResourceType="EC2_IMAGE", NextToken="AAAA") == ("ValidationException", 400, "INVALID_PAGE_TOKEN")
    assert reason(rbin.get_rule, Identifier="0" * 11) == ("ResourceNotFoundException", 404, "RULE_NOT_FOUND")
    locked = rbin.create_rule(ResourceType="EC2_IMAGE", RetentionPeriod=days(1), LockConfiguration=delay(7))["Identifier"]
    conflict = ("ConflictException", 409, "INVALID_RULE_STATE")
    assert reason(rbin.delete_rule, Identifier=locked) == conflict
    assert reason(rbin.update_rule, Identifier=locked, Description="x") == conflict
    assert reason(rbin.lock_rule, Identifier=locked, LockConfiguration=delay(7)) == conflict
    for _ in range(249):
        rbin.create_rule(ResourceType="EC2_IMAGE", RetentionPeriod=days(1))
    full = ("ServiceQuotaExceededException", 402, "SERVICE_QUOTA_EXCEEDED")
    assert reason(rbin.create_rule, ResourceType="EC2_IMAGE", RetentionPeriod=days(1)) == full
    pages = list(rbin.get_paginator("list_rules").paginate(ResourceType="EC2_IMAGE", PaginationConfig={"PageSize": 100}))
    assert [len(page["Rules"]) for page in pages] == [100, 100, 50]
    assert len({rule["Identifier"] for page in pages for rule in page["Rules"]}) == 250


def test_a_lock_is_shut_opened_and_shut_again(awan, mine, rbin):
    rule = rbin.create_rule(ResourceType="EC2_IMAGE", RetentionPeriod=days(1))["Identifier"]
    with refused("ConflictException", 409):
        rbin.unlock_rule(Identifier=rule)
    locked = rbin.lock_rule(Identifier=rule, LockConfiguration=delay(30))
    assert (locked["LockState"], locked["LockConfiguration"]) == ("locked", delay(30))
    unlocked = rbin.unlock_rule(Identifier=rule)
    left = unlocked["LockEndTime"] - datetime.datetime.now(datetime.timezone.utc)
    assert unlocked["LockState"] == "pending_unlock" and abs(left - 30 * DAY) < datetime.timedelta(minutes=1)
    assert rbin.list_rules(ResourceType="EC2_IMAGE", LockState="pending_unlock")["Rules"][0]["Identifier"] == rule
    with refused("ConflictException", 409, "pending_unlock"):
        rbin.delete_rule(Identifier=rule)
    assert rbin.lock_rule(Identifier=rule, LockConfiguration=delay(30))["LockState"] == "locked"


def test_a_snapshot_is_kept_and_comes_back(awan, mine, rbin):
    rbin.create_rule(ResourceType="EBS_SNAPSHOT", RetentionPeriod=days(3), ResourceTags=tagged("keep", "yes"))
    kept, lost = snapshot(mine, keep="yes", Name="one"), snapshot(mine, keep="no")
    (before,) = mine.ec2.describe_snapshots(SnapshotIds=[kept])["Snapshots"]
    for each in [kept, lost]:
        mine.ec2.delete_snapshot(SnapshotId=each)
        with refused("InvalidSnapshot.NotFound"):
            mine.ec2.describe_snapshots(SnapshotIds=[each])
    (found,) = mine.ec2.list_snapshots_in_recycle_bin()["Snapshots"]
    assert (found["SnapshotId"], found["Description"]) == (kept, "of nothing")
    assert found["RecycleBinExitTime"] - found["RecycleBinEnterTime"] == 3 * DAY
    with refused("InvalidSnapshot.NotFound"):
        mine.ec2.create_volume(AvailabilityZone="us-east-1a", SnapshotId=kept)
    tags = mine.ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [kept]}])["Tags"]
    assert {tag["Key"] for tag in tags} == {"Name", "keep", "aws:recycle-bin:resource-in-bin"}
    with refused("InvalidParameterValue"):
        mine.ec2.delete_tags(Resources=[kept], Tags=[{"Key": "aws:recycle-bin:resource-in-bin"}])
    back = mine.ec2.restore_snapshot_from_recycle_bin(SnapshotId=kept)
    assert (back["SnapshotId"], back["State"], back["OwnerId"]) == (kept, "completed", mine.id)
    assert mine.ec2.describe_snapshots(SnapshotIds=[kept])["Snapshots"] == [before] and binned(mine) == []
    with refused("InvalidSnapshot.NotFound"):
        mine.ec2.restore_snapshot_from_recycle_bin(SnapshotId=lost)


def test_an_image_comes_back_after_its_snapshot(awan, mine, rbin):
    for kind in ["EC2_IMAGE", "EBS_SNAPSHOT"]:
        rbin.create_rule(ResourceType=kind, RetentionPeriod=days(1))
    (instance,) = mine.run()
    image = mine.ec2.create_image(InstanceId=instance, Name="mine", NoReboot=True)["ImageId"]
    mine.ec2.get_waiter("image_available").wait(ImageIds=[image], WaiterConfig=QUICK)
    (before,) = mine.ec2.describe_images(ImageIds=[image])["Images"]
    root = before["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    gone = mine.ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
    assert [(each["SnapshotId"], each["ReturnCode"]) for each in gone["DeleteSnapshotResults"]] == [(root, "success")]
    with refused("InvalidAMIID.NotFound"):
        mine.launch(ImageId=image)
    (found,) = mine.ec2.list_images_in_recycle_bin(ImageIds=[image])["Images"]
    assert (found["Name"], found["RecycleBinExitTime"] - found["RecycleBinEnterTime"]) == ("mine", DAY)
    with refused("InvalidSnapshot.NotFound", message=root):
        mine.ec2.restore_image_from_recycle_bin(ImageId=image)
    mine.ec2.restore_snapshot_from_recycle_bin(SnapshotId=root)
    assert mine.ec2.restore_image_from_recycle_bin(ImageId=image)["Return"]
    assert mine.ec2.describe_images(ImageIds=[image])["Images"] == [before]
    (again,) = mine.run(ImageId=image)
    mine.ec2.terminate_instances(InstanceIds=[instance, again])


def test_volumes_are_kept_whoever_deletes_them(awan, mine, rbin):
    rbin.create_rule(ResourceType="EBS_VOLUME", RetentionPeriod=days(7))
    (instance,) = mine.run()
    (mapping,) = mine.about(instance)["BlockDeviceMappings"]
    root = mapping["Ebs"]["VolumeId"]
    data = mine.ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    mine.ec2.delete_volume(VolumeId=data)
    mine.ec2.terminate_instances(InstanceIds=[instance])
    mine.wait("instance_terminated", instance)
    found = until("both are in the bin", 30, lambda: (all := mine.ec2.list_volumes_in_recycle_bin()["Volumes"])[1:] and all)
    assert sorted(each["VolumeId"] for each in found) == sorted([root, data])
    assert {each["RecycleBinExitTime"] - each["RecycleBinEnterTime"] for each in found} == {7 * DAY}
    assert mine.ec2.describe_volumes()["Volumes"] == []
    assert mine.ec2.restore_volume_from_recycle_bin(VolumeId=root)["Return"]
    (back,) = mine.ec2.describe_volumes()["Volumes"]
    assert (back["VolumeId"], back["State"]) == (root, "available")
    with refused("InvalidVolume.NotFound"):
        mine.ec2.restore_volume_from_recycle_bin(VolumeId=root)


def test_the_cli_keeps_lists_and_restores(awan, mine):
    made = mine.shell(
        "rbin create-rule --resource-type EBS_SNAPSHOT --description 'Match all snapshots' "
        "--retention-period RetentionPeriodValue=8,RetentionPeriodUnit=DAYS"
    )
    rule = made["Identifier"]
    one = snapshot(mine)
    mine.shell(f"ec2 delete-snapshot --snapshot-id {one}")
    (found,) = mine.shell("ec2 list-snapshots-in-recycle-bin")["Snapshots"]
    assert found["SnapshotId"] == one
    assert mine.shell(f"ec2 restore-snapshot-from-recycle-bin --snapshot-id {one}")["State"] == "completed"
    assert [each["Identifier"] for each in mine.shell("rbin list-rules --resource-type EBS_SNAPSHOT")["Rules"]] == [rule]
    arn = made["RuleArn"]
    mine.shell(f"rbin tag-resource --resource-arn {arn} --tags Key=purpose,Value=production")
    assert mine.shell(f"rbin list-tags-for-resource --resource-arn {arn}")["Tags"] == [{"Key": "purpose", "Value": "production"}]
    mine.shell(f"rbin delete-rule --identifier {rule}")
    complaint = mine.shell(f"rbin get-rule --identifier {rule}", code=255)
    assert "ResourceNotFoundException" in complaint, complaint
