"""Key pairs: their fingerprints are EC2's, as openssl and ssh-keygen reckon them."""

import base64
import hashlib
import subprocess

import pytest
from clients import refused


def tool(*words, given=None):
    return subprocess.run(words, input=given, capture_output=True, check=True, timeout=60).stdout


def colons(digest):
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


def private_file(tenant, material):
    path = tenant.awan.data / "pair.pem"
    path.unlink(missing_ok=True)
    path.write_text(material)
    path.chmod(0o600)
    return str(path)


def public_of(tenant, material):
    return tool("ssh-keygen", "-y", "-f", private_file(tenant, material)).decode().split()[:2]


def shown(tenant, **how):
    (key,) = tenant.ec2.describe_key_pairs(IncludePublicKey=True, **how)["KeyPairs"]
    return key


def test_a_created_rsa_key(tenant):
    made = tenant.ec2.create_key_pair(KeyName="rsa")
    assert made["KeyMaterial"].startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    der = tool("openssl", "pkcs8", "-topk8", "-nocrypt", "-outform", "DER", given=made["KeyMaterial"].encode())
    assert made["KeyFingerprint"] == colons(hashlib.sha1(der).hexdigest())
    key = shown(tenant, KeyNames=["rsa"])
    assert (key["KeyType"], key["KeyFingerprint"], key["KeyPairId"]) == ("rsa", made["KeyFingerprint"], made["KeyPairId"])
    assert key["PublicKey"].split()[:2] == public_of(tenant, made["KeyMaterial"])
    assert b"2048" in tool("openssl", "rsa", "-noout", "-text", given=made["KeyMaterial"].encode())


def test_a_created_ed25519_key(tenant):
    made = tenant.ec2.create_key_pair(KeyName="ed", KeyType="ed25519", KeyFormat="pem")
    printed = tool("ssh-keygen", "-l", "-f", private_file(tenant, made["KeyMaterial"])).decode().split()[1]
    assert printed == "SHA256:" + made["KeyFingerprint"].rstrip("=")
    assert len(base64.b64decode(made["KeyFingerprint"])) == 32
    key = shown(tenant, KeyPairIds=[made["KeyPairId"]])
    assert key["KeyType"] == "ed25519"
    assert key["PublicKey"].split()[:2] == public_of(tenant, made["KeyMaterial"])


@pytest.mark.parametrize("bits", ["2048", "4096"])
def test_an_imported_rsa_key(tenant, bits):
    path = tenant.awan.data / f"imported-{bits}"
    tool("ssh-keygen", "-q", "-t", "rsa", "-b", bits, "-N", "", "-C", "me@home", "-f", str(path))
    line = path.with_suffix(".pub").read_bytes()
    made = tenant.ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=line)
    der = tool("openssl", "pkey", "-pubin", "-outform", "DER", given=tool("ssh-keygen", "-e", "-m", "PKCS8", "-f", str(path) + ".pub"))
    assert made["KeyFingerprint"] == colons(hashlib.md5(der).hexdigest())
    key = shown(tenant, KeyNames=["mine"])
    assert (key["KeyType"], key["PublicKey"].split()[:2]) == ("rsa", line.decode().split()[:2])
    path.unlink()
    path.with_suffix(".pub").unlink()


def test_an_imported_ed25519_key(tenant):
    path = tenant.awan.data / "imported"
    tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path))
    made = tenant.ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=path.with_suffix(".pub").read_bytes())
    printed = tool("ssh-keygen", "-l", "-f", str(path) + ".pub").decode().split()[1]
    assert printed == "SHA256:" + made["KeyFingerprint"].rstrip("=")
    path.unlink()
    path.with_suffix(".pub").unlink()


def test_names_are_given_once_and_deleting_is_final(tenant, other):
    ec2 = tenant.ec2
    ec2.create_key_pair(KeyName="k", KeyType="ed25519")
    with refused("InvalidKeyPair.Duplicate"):
        ec2.create_key_pair(KeyName="k", KeyType="ed25519")
    assert other.ec2.create_key_pair(KeyName="k", KeyType="ed25519")["KeyName"] == "k", "names are an account's own"
    ec2.get_waiter("key_pair_exists").wait(KeyNames=["k"])
    ec2.delete_key_pair(KeyName="k")
    with refused("InvalidKeyPair.NotFound", message="The key pair 'k' does not exist"):
        ec2.describe_key_pairs(KeyNames=["k"])
    with refused("InvalidKeyPair.NotFound"):
        tenant.launch(KeyName="k")
    assert ec2.delete_key_pair(KeyName="k")["Return"] is True, "deleting what is not there is fine"
    for bad in (b"ssh-rsa AAAA", b"no key", b"-----BEGIN PUBLIC KEY-----"):
        with refused("InvalidKey.Format"):
            ec2.import_key_pair(KeyName="bad", PublicKeyMaterial=bad)
    assert ec2.describe_key_pairs()["KeyPairs"] == []
