"""Images that the operator brings for everybody, from servers that prove who they are."""

import hashlib
import json
import os
import subprocess

import pytest
from awan import BINARY, Awan, until
from clients import QUICK, Tenant, refused
from files import Files, certificate

PATH = "/images/cloud/bookworm/latest/"
FILE = "debian-12-genericcloud-amd64.qcow2"


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("trusted"), "trusted")


@pytest.fixture(scope="module")
def publisher(trusted):
    served = Files(certificate=trusted)
    yield served
    served.close()


@pytest.fixture(scope="module")
def awan(trusted, publisher):
    os.environ["SSL_CERT_FILE"] = str(trusted)
    running = Awan("simulated", import_from=publisher.url)
    try:
        yield running.start()
    finally:
        del os.environ["SSL_CERT_FILE"]
        running.close()


def admin(awan, *words):
    command = [str(BINARY), "admin", "image", *map(str, words), "--data-dir", str(awan.data), "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def disk(folder, byte):
    """A disk of 2 GiB, compressed as publishers do, with the byte at 64 KiB of it."""
    raw = folder / "raw"
    raw.write_bytes(bytes(1 << 16) + bytes([byte]) * 4096)
    os.truncate(raw, 2 << 30)
    subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, folder / "disk.qcow2"], check=True)
    return (folder / "disk.qcow2").read_bytes()


def test_a_published_image_is_everybodys_once_it_is_what_its_publisher_says(awan, tenant, publisher, tmp_path):
    body = disk(tmp_path, 7)
    sums = lambda of: f"{hashlib.sha512(of).hexdigest()}  {FILE}\n".encode()
    publisher.held.update({PATH + FILE: body, PATH + "SHA512SUMS": sums(b"another")})
    owned = lambda: {i["Name"]: i for i in tenant.ec2.describe_images(Owners=["amazon"])["Images"]}
    before = owned()
    done = admin(awan, "pull", "debian-12", "--mirror", publisher.url)
    assert done.returncode == 1 and "is damaged" in done.stderr, done
    assert owned() == before and not list((awan.data / "images").glob("*")), "nothing is left"

    publisher.held[PATH + "SHA512SUMS"] = sums(body)
    done = admin(awan, "pull", "debian-12", "--mirror", publisher.url)
    assert done.returncode == 0 and "rewritten 100 %" not in done.stdout, done
    name = f"debian-12-cloud-{hashlib.sha512(body).hexdigest()[:8]}"
    (new,) = [image for image in owned().values() if image["Name"] not in before]
    assert (new["Name"], new["Description"], new["Public"]) == (name, "Debian 12 (bookworm)", True)
    assert new["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 2
    kept = awan.data / "images" / new["ImageId"] / "disk.qcow2"
    compare = ["qemu-img", "compare", "-f", "qcow2", "-F", "raw", kept, tmp_path / "raw"]
    subprocess.run(compare, check=True, timeout=60)
    # Again it is the same.
    assert admin(awan, "pull", "debian-12", "--mirror", publisher.url).returncode == 0
    assert len(owned()) == len(before) + 1
    (instance,) = tenant.run(ImageId=new["ImageId"])
    tenant.ec2.terminate_instances(InstanceIds=[instance])
    awan.audit()


def test_what_cannot_be_pulled_says_why_and_leaves_nothing(awan, publisher, tmp_path):
    plain = Files({"/disk.raw": b"x" * 4096})
    publisher.held["/away.raw"] = plain.url + "disk.raw"
    other = Files({"/disk.raw": b"x" * 4096}, certificate=certificate(tmp_path, "other"))
    try:
        for words, why in [
            (["pull", "plan-9"], "no image is known as 'plan-9'"),
            (["pull", "alma-9", "--mirror", publisher.url], "the server answered 404"),
            (["import", other.url + "disk.raw", "--name", "other"], "does not prove to be who it is"),
            (["import", publisher.url + "absent.raw", "--name", "absent"], "the server answered 404"),
            (["import", publisher.url + "away.raw", "--name", "away"], "it leads to where nobody proves who it is"),
            (["import", tmp_path / "none.raw", "--name", "none"], "No such file"),
            (["import", tmp_path / "disk.iso", "--name", "iso"], "Say so with --format"),
            (["import", tmp_path / "none.raw", "--name", "none", "--digest", "12"], "--digest is SHA-256 or SHA-512"),
        ]:
            done = admin(awan, *words)
            assert done.returncode == 1 and why in done.stderr and "panicked" not in done.stderr, (words, done)
    finally:
        other.close()
        plain.close()
    assert not list((awan.data / "images").glob("new-*"))


def test_a_file_of_the_operators_becomes_an_image_with_the_name_that_it_is_given(awan, tenant, tmp_path):
    (tmp_path / "disk.raw").write_bytes(b"\1" * (1 << 20))
    digest = hashlib.sha256((tmp_path / "disk.raw").read_bytes()).hexdigest()
    for name, why in [("a", "InvalidAMIName"), ("semi;colon", "InvalidAMIName")]:
        done = admin(awan, "import", tmp_path / "disk.raw", "--name", name)
        assert done.returncode == 1 and why in done.stderr, done
    done = admin(awan, "import", tmp_path / "disk.raw", "--name", "our system", "--digest", digest.upper())
    assert done.returncode == 0, done
    (image,) = tenant.ec2.describe_images(Filters=[{"Name": "name", "Values": ["our system"]}])["Images"]
    assert image["ImageOwnerAlias"] == "amazon"
    # Another disk cannot have its name, and does not get it at the next start either.
    (tmp_path / "other.raw").write_bytes(b"\2" * (1 << 20))
    before = set((awan.data / "images").iterdir())
    done = admin(awan, "import", tmp_path / "other.raw", "--name", "our system")
    assert done.returncode == 1 and "InvalidAMIName.Duplicate" in done.stderr, done
    assert set((awan.data / "images").iterdir()) == before


def test_tenants_import_from_servers_that_prove_who_they_are(awan, tenant, publisher, tmp_path):
    publisher.held["/disk"] = b"\3" * 5000
    asked = {"Url": publisher.url + "disk", "Format": "RAW"}
    id = tenant.ec2.import_snapshot(DiskContainer=asked)["ImportTaskId"]
    about = lambda: tenant.ec2.describe_import_snapshot_tasks(ImportTaskIds=[id])["ImportSnapshotTasks"][0]["SnapshotTaskDetail"]
    until("the task has ended", 30, lambda: about()["Status"] != "active", 0.1)
    assert (about()["Status"], about()["DiskImageSize"]) == ("completed", 5000)
    tenant.ec2.delete_snapshot(SnapshotId=about()["SnapshotId"])


def test_an_image_that_is_taken_away_is_seen_by_nobody_and_goes_when_nothing_begins_as_it(awan, tenant, tmp_path):
    (tmp_path / "brought.raw").write_bytes(b"\x33" * 4096)
    made = json.loads(admin(awan, "import", tmp_path / "brought.raw", "--name", "brought").stdout)["ImageId"]
    folder = awan.data / "images" / made
    (instance,) = tenant.run(ImageId=made)
    copy = tenant.ec2.copy_image(SourceImageId=made, SourceRegion="us-east-1", Name="mine")["ImageId"]
    assert admin(awan, "remove", made).returncode == 0
    later = Tenant(awan, "later")
    for account in (tenant, later):
        assert made not in [image["ImageId"] for image in account.ec2.describe_images()["Images"]]
        with refused("InvalidAMIID.NotFound"):
            account.ec2.run_instances(ImageId=made, MinCount=1, MaxCount=1)
    again = admin(awan, "remove", made)
    assert again.returncode == 1 and "does not exist" in again.stderr, again
    tiny = admin(awan, "remove", tenant.image)
    assert tiny.returncode == 1 and "comes with Awan" in tiny.stderr, tiny
    # What runs of it goes on, over a restart too, and so does what is a copy of it.
    awan.kill()
    awan.start()
    tenant.wait("instance_running", instance)
    (second,) = tenant.run(ImageId=copy)
    awan.audit()
    assert folder.exists()
    tenant.ec2.terminate_instances(InstanceIds=[instance, second])
    tenant.ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance, second], WaiterConfig=QUICK)
    assert folder.exists(), "a copy begins as it"
    tenant.ec2.deregister_image(ImageId=copy, DeleteAssociatedSnapshots=True)
    until("its files have gone", 60, lambda: not folder.exists(), 0.5)
    awan.audit()
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(("gone-", "new-"))]
    # It can come again.
    back = json.loads(admin(awan, "import", tmp_path / "brought.raw", "--name", "brought").stdout)["ImageId"]
    assert back == made and made in [image["ImageId"] for image in later.ec2.describe_images()["Images"]]
    # Before its files went, too.
    (instance,) = tenant.run(ImageId=made)
    assert admin(awan, "remove", made).returncode == 0
    assert admin(awan, "import", tmp_path / "brought.raw", "--name", "brought").returncode == 0
    assert made in [image["ImageId"] for image in later.ec2.describe_images()["Images"]]
    tenant.ec2.terminate_instances(InstanceIds=[instance])
