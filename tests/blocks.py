"""Snapshots by their blocks, with the calls that coldsnap makes, in its order and with as many workers. It stands in for
coldsnap itself, which is not installed here."""

import base64
import concurrent.futures
import hashlib

BLOCK = 512 << 10
GIB = 1 << 30
WORKERS = 64


def checksum(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def put(ebs, snapshot, index, data, **more):
    asked = {"SnapshotId": snapshot, "BlockIndex": index, "BlockData": data, "DataLength": len(data)}
    asked |= {"Checksum": checksum(data), "ChecksumAlgorithm": "SHA256"}
    return ebs.put_snapshot_block(**{**asked, **more})


def complete(ebs, snapshot, blocks):
    """`blocks`: what was put, by its index."""
    digests = b"".join(hashlib.sha256(blocks[index]).digest() for index in sorted(blocks))
    asked = {"ChangedBlocksCount": len(blocks), "Checksum": checksum(digests), "ChecksumAlgorithm": "SHA256"}
    return ebs.complete_snapshot(SnapshotId=snapshot, ChecksumAggregationMethod="LINEAR", **asked)


def everywhere(work, all):
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(work, all))


def upload(ebs, ec2, file, size_gib=None, **more):
    """The file as a snapshot; blocks of nothing are left out."""
    length = file.stat().st_size
    started = ebs.start_snapshot(VolumeSize=size_gib or max(1, -(-length // GIB)), Timeout=10, **more)
    snapshot, blocks = started["SnapshotId"], {}

    def one(index):
        with open(file, "rb") as opened:
            opened.seek(index * BLOCK)
            data = opened.read(BLOCK).ljust(BLOCK, b"\0")
        if data.count(0) < BLOCK:
            put(ebs, snapshot, index, data)
            blocks[index] = data

    everywhere(one, range(-(-length // BLOCK)))
    complete(ebs, snapshot, blocks)
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 0.2, "MaxAttempts": 300})
    return snapshot


def listed(ebs, snapshot, **more):
    """All pages."""
    blocks, more = [], {"MaxResults": 10000, **more}
    while True:
        page = ebs.list_snapshot_blocks(SnapshotId=snapshot, **more)
        blocks += page["Blocks"]
        if "NextToken" not in page:
            return page, blocks
        more["NextToken"] = page["NextToken"]


def get(ebs, snapshot, index, token):
    got = ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=index, BlockToken=token)
    data = got["BlockData"].read()
    assert (got["DataLength"], got["ChecksumAlgorithm"], got["Checksum"]) == (len(data), "SHA256", checksum(data)), index
    return data


def download(ebs, snapshot, file):
    page, blocks = listed(ebs, snapshot)
    with open(file, "wb") as out:
        out.truncate(page["VolumeSize"] * GIB)

    def one(block):
        data = get(ebs, snapshot, block["BlockIndex"], block["BlockToken"])
        with open(file, "r+b") as out:
            out.seek(block["BlockIndex"] * BLOCK)
            out.write(data)

    everywhere(one, blocks)
    return [block["BlockIndex"] for block in blocks]


def changed(ebs, first, second, **more):
    found = []
    while True:
        page = ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second, **more)
        found += page["ChangedBlocks"]
        if "NextToken" not in page:
            return found
        more["NextToken"] = page["NextToken"]
