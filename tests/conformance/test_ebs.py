"""EBS's direct API by boto3: snapshots that are written and read in blocks. Simulated volumes have no bytes; what is
written in blocks has."""

import random
import time

import boto3
import botocore.config
import pytest
from awan import CONFIG, Awan, until
from blocks import BLOCK, changed, checksum, complete, download, get, listed, put, upload
from clients import Tenant, refused


@pytest.fixture
def mine(awan):
    return Tenant(awan, "ebs-mine")


@pytest.fixture
def ebs(awan, mine):
    return awan.client(mine.keys, "ebs")


def block(byte):
    return bytes([byte]) * BLOCK


def written(ebs, mine, blocks, size_gib=1, **more):
    """A snapshot of these blocks."""
    snapshot = ebs.start_snapshot(VolumeSize=size_gib, **more)["SnapshotId"]
    for index, data in blocks.items():
        put(ebs, snapshot, index, data)
    complete(ebs, snapshot, blocks)
    mine.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 0.1, "MaxAttempts": 200})
    return snapshot


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_disk_is_the_same_when_it_comes_back(awan, mine, ebs, tmp_path, encrypted):
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    disk = bytearray(40 * BLOCK + 12_345)
    for _ in range(20):
        at = dice.randrange(len(disk) - 4096)
        disk[at : at + 4096] = dice.randbytes(4096)
    disk[-1] = 1
    (tmp_path / "disk").write_bytes(disk)
    held_by = lambda: {path.parent.name: path for path in (awan.data / "contents").glob("*/*/disk.qcow2")}
    before = held_by()
    more = {"Encrypted": True} if encrypted else {}
    snapshot = upload(ebs, mine.ec2, tmp_path / "disk", Description="of a file", Tags=[{"Key": "a", "Value": "b"}], **more)
    (shown,) = mine.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    assert shown["Encrypted"] is encrypted
    # Others' may come meanwhile.
    files = [path.read_bytes() for id, path in held_by().items() if id not in before]
    marks = [bytes(disk[n * BLOCK + at : n * BLOCK + at + 64]) for n in range(40) for at in range(0, BLOCK, 64)]
    marks = [mark for mark in marks if mark.count(0) < 16][:50]
    assert marks and all(any(mark in file for file in files) is not encrypted for mark in marks), f"seed {seed}"
    assert (shown["State"], shown["Progress"], shown["VolumeSize"], shown["Description"]) == ("completed", "100%", 1, "of a file")
    assert (shown["Tags"], shown["VolumeId"]) == ([{"Key": "a", "Value": "b"}], "vol-ffffffff")
    indexes = download(ebs, snapshot, tmp_path / "again")
    held = [n for n in range(41) if any(disk[n * BLOCK : (n + 1) * BLOCK])]
    assert indexes == held, f"seed {seed}"
    with open(tmp_path / "again", "rb") as again:
        assert again.read(len(disk)) == disk, f"seed {seed}"
        rest = again.read()
    assert len(disk) + len(rest) == 1 << 30 and rest.count(0) == len(rest), f"seed {seed}"
    # It is a snapshot like others.
    volume = mine.ec2.create_volume(AvailabilityZone="us-east-1a", SnapshotId=snapshot)["VolumeId"]
    mine.ec2.delete_volume(VolumeId=volume)
    copy = mine.ec2.copy_snapshot(SourceSnapshotId=snapshot, SourceRegion="us-east-1")["SnapshotId"]
    mine.ec2.delete_snapshot(SnapshotId=snapshot)
    assert [b["BlockIndex"] for b in listed(ebs, copy)[1]] == held
    mine.ec2.delete_snapshot(SnapshotId=copy)


def test_a_snapshot_is_started_shown_and_sealed(awan, mine, ebs):
    asked = {"VolumeSize": 2, "Description": "by hand", "ClientToken": "once", "Timeout": 15}
    started = ebs.start_snapshot(**asked)
    snapshot = started["SnapshotId"]
    assert (started["Status"], started["BlockSize"], started["VolumeSize"], started["OwnerId"]) == ("pending", BLOCK, 2, mine.id)
    assert started["ResponseMetadata"]["HTTPStatusCode"] == 201 and abs(started["StartTime"].timestamp() - time.time()) < 60
    assert ebs.start_snapshot(**asked)["SnapshotId"] == snapshot
    with refused("ConflictException", 409):
        ebs.start_snapshot(**{**asked, "VolumeSize": 3})
    (shown,) = mine.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    assert (shown["State"], shown["Progress"]) == ("pending", "0%")
    with refused("ValidationException", 400, "pending"):
        ebs.list_snapshot_blocks(SnapshotId=snapshot)
    data = block(1)
    answer = put(ebs, snapshot, 7, data)
    assert (answer["Checksum"], answer["ChecksumAlgorithm"]) == (checksum(data), "SHA256")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    put(ebs, snapshot, 7, block(2))
    put(ebs, snapshot, 4095, block(3), Progress=50)
    for wrong in ({"Checksum": checksum(b"another")}, {"DataLength": 5}, {"ChecksumAlgorithm": "MD5"}, {"BlockIndex": 4096}, {"BlockData": b"short"}):
        with refused("ValidationException"):
            put(ebs, snapshot, 0, data, **wrong)
    for wrong in ({"ChangedBlocksCount": 3}, {"ChangedBlocksCount": 2, "Checksum": checksum(b"")}):
        with refused("ValidationException"):
            ebs.complete_snapshot(SnapshotId=snapshot, **wrong)
    answer = complete(ebs, snapshot, {7: block(2), 4095: block(3)})
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202 and answer["Status"] in ("pending", "completed")
    mine.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 0.1, "MaxAttempts": 200})
    assert ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=2)["Status"] == "completed"
    with refused("ValidationException"):
        put(ebs, snapshot, 0, data)
    page, blocks = listed(ebs, snapshot)
    assert (page["VolumeSize"], page["BlockSize"]) == (2, BLOCK) and page["ExpiryTime"].timestamp() > time.time() + 86_400
    assert {b["BlockIndex"]: get(ebs, snapshot, **shape(b)) for b in blocks} == {7: block(2), 4095: block(3)}
    mine.ec2.delete_snapshot(SnapshotId=snapshot)


def shape(block):
    return {"index": block["BlockIndex"], "token": block["BlockToken"]}


def test_what_a_child_changed_is_listed_page_by_page(awan, mine, ebs):
    parent = written(ebs, mine, {n: block(1) for n in range(0, 240, 2)})
    child = written(ebs, mine, {n: block(2) for n in range(0, 240, 4)} | {500: block(3), 2: block(0)}, ParentSnapshotId=parent)
    expected = sorted([*range(0, 240, 4), 2, 500])
    found = changed(ebs, parent, child)
    assert [b["BlockIndex"] for b in found] == expected
    assert [b["BlockIndex"] for b in found if "FirstBlockToken" not in b] == [500]
    assert changed(ebs, parent, child, MaxResults=100, StartingBlockIndex=3)[0]["BlockIndex"] == 4
    # A page has as many as was asked for, at most.
    parents = [ebs.list_snapshot_blocks(SnapshotId=parent, MaxResults=100)]
    parents.append(ebs.list_snapshot_blocks(SnapshotId=parent, MaxResults=100, NextToken=parents[0]["NextToken"]))
    assert [len(page["Blocks"]) for page in parents] == [100, 20] and "NextToken" not in parents[1]
    with refused("ValidationException", 400, "page token"):
        ebs.list_snapshot_blocks(SnapshotId=child, NextToken=parents[0]["NextToken"])
    # What it did not change it has of its parent; what it changed to nothing is nothing.
    _, blocks = listed(ebs, child)
    assert [b["BlockIndex"] for b in blocks] == sorted({*range(0, 240, 2), 500} - {2})
    by_index = {b["BlockIndex"]: b["BlockToken"] for b in blocks}
    assert [get(ebs, child, n, by_index[n])[0] for n in (0, 6, 500)] == [2, 1, 3]
    of_two = next(b for b in found if b["BlockIndex"] == 2)
    assert get(ebs, parent, 2, of_two["FirstBlockToken"]) == block(1) and get(ebs, child, 2, of_two["SecondBlockToken"]) == block(0)
    # The parent goes, and the child has all of it still.
    mine.ec2.delete_snapshot(SnapshotId=parent)
    with refused("ResourceNotFoundException", 404):
        ebs.list_changed_blocks(FirstSnapshotId=parent, SecondSnapshotId=child)
    assert get(ebs, child, 6, by_index[6]) == block(1)
    assert len(ebs.list_changed_blocks(SecondSnapshotId=child)["ChangedBlocks"]) == len(blocks)
    mine.ec2.delete_snapshot(SnapshotId=child)


def test_tokens_and_snapshots_are_for_whom_they_are(awan, mine, ebs):
    theirs = Tenant(awan, "ebs-theirs")
    other = awan.client(theirs.keys, "ebs")
    one, two = (written(ebs, mine, {3: block(n)}) for n in (1, 2))
    (of_one,), (of_two,) = listed(ebs, one)[1], listed(ebs, two)[1]
    with refused("ValidationException", 400, "block token"):
        get(ebs, one, 3, of_two["BlockToken"])
    with refused("ValidationException"):
        get(ebs, one, 4, of_one["BlockToken"])
    pending = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    for denied in (
        lambda: other.list_snapshot_blocks(SnapshotId=one),
        lambda: other.list_changed_blocks(FirstSnapshotId=one, SecondSnapshotId=two),
        lambda: get(other, one, 3, of_one["BlockToken"]),
        lambda: other.start_snapshot(VolumeSize=1, ParentSnapshotId=one),
        lambda: put(other, pending, 0, block(1)),
        lambda: other.complete_snapshot(SnapshotId=pending, ChangedBlocksCount=0),
        lambda: ebs.list_snapshot_blocks(SnapshotId="snap-0123456789abcdef0"),
    ):
        with refused("ResourceNotFoundException", 404, "does not exist"):
            denied()
    mine.ec2.modify_snapshot_attribute(SnapshotId=one, Attribute="createVolumePermission", OperationType="add", UserIds=[theirs.id])
    (shared,) = listed(other, one)[1]
    assert get(other, one, **shape(shared)) == block(1)
    with refused("ValidationException", 400, "block token"):
        get(other, one, 3, of_one["BlockToken"])
    with refused("AccessDeniedException", 403):
        put(other, one, 0, block(1))
    child = other.start_snapshot(VolumeSize=1, ParentSnapshotId=one)["SnapshotId"]
    theirs.ec2.delete_snapshot(SnapshotId=child)
    for id in (one, two, pending):
        mine.ec2.delete_snapshot(SnapshotId=id)


def test_what_was_acknowledged_is_there_after_a_kill():
    cloud = Awan("simulated")
    try:
        mine = Tenant(cloud.start(), "ebs-killed")
        ebs = cloud.client(mine.keys, "ebs")
        started = ebs.start_snapshot(VolumeSize=1, ClientToken="killed")
        snapshot = started["SnapshotId"]
        blocks = {n: block(n % 250 + 1) for n in (0, 9, 2047)}
        put(ebs, snapshot, 0, blocks[0])
        put(ebs, snapshot, 9, block(77))
        put(ebs, snapshot, 9, blocks[9])
        cloud.kill()
        cloud.start()
        assert ebs.start_snapshot(VolumeSize=1, ClientToken="killed")["SnapshotId"] == snapshot
        put(ebs, snapshot, 2047, blocks[2047])
        complete(ebs, snapshot, blocks)
        # Its host makes a disk of it in this life or in the next.
        cloud.kill()
        cloud.start()
        mine.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 0.1, "MaxAttempts": 200})
        assert {b["BlockIndex"]: get(ebs, snapshot, **shape(b)) for b in listed(ebs, snapshot)[1]} == blocks
        cloud.audit()
    finally:
        cloud.close()


def test_what_nobody_writes_any_more_leaves_nothing(awan, mine, ebs):
    snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    put(ebs, snapshot, 0, block(1))
    folders = lambda: {path.parent.name for path in (awan.data / "contents").glob("**/written")}
    assert folders()
    mine.ec2.delete_snapshot(SnapshotId=snapshot)
    until("its file is gone", 20, lambda: not folders())
    with refused("ResourceNotFoundException", 404):
        put(ebs, snapshot, 1, block(1))


def test_what_cannot_be_is_refused_with_a_reason(awan, mine, ebs):
    reason = lambda error: error.value.response["Reason"]
    for asked, why in (
        ({"VolumeSize": 70_000}, "INVALID_VOLUME_SIZE"),
        ({"VolumeSize": 1, "Timeout": 5}, "INVALID_PARAMETER_VALUE"),
        ({"VolumeSize": 1, "Encrypted": True, "KmsKeyArn": "alias/mine"}, "INVALID_PARAMETER_VALUE"),
        ({"VolumeSize": 1, "ParentSnapshotId": "snap-1"}, "INVALID_SNAPSHOT_ID"),
        ({"VolumeSize": 1, "ParentSnapshotId": "snap-0123456789abcdef0"}, "SNAPSHOT_NOT_FOUND"),
    ):
        with pytest.raises((ebs.exceptions.ValidationException, ebs.exceptions.ResourceNotFoundException)) as error:
            lenient(awan, mine).start_snapshot(**asked)
        assert reason(error) == why, error.value.response


def lenient(awan, mine):
    """A client that leaves it to the server what is right."""
    config = CONFIG.merge(botocore.config.Config(parameter_validation=False))
    keys = {"aws_access_key_id": mine.keys["AccessKeyId"], "aws_secret_access_key": mine.keys["SecretAccessKey"]}
    return boto3.client("ebs", region_name="us-east-1", endpoint_url=f"http://127.0.0.1:{awan.api}", config=config, **keys)


def test_the_cli_lists_and_gets(awan, mine, ebs, tmp_path):
    snapshot = written(ebs, mine, {1: block(9)})
    (shown,) = mine.aws("ebs", "list-snapshot-blocks", "--snapshot-id", snapshot)["Blocks"]
    got = mine.aws("ebs", "get-snapshot-block", "--snapshot-id", snapshot, "--block-index", "1", "--block-token", shown["BlockToken"], str(tmp_path / "block"))
    assert got["DataLength"] == BLOCK and (tmp_path / "block").read_bytes() == block(9)
    mine.ec2.delete_snapshot(SnapshotId=snapshot)
