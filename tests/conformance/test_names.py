"""Every name that the API has is answered, and so that clients can read it."""

import re
import xml.etree.ElementTree

import botocore.parsers
import pytest
from awan import ROOT
from clients import ACTIONS, Tenant
from test_protocol import code, send, signed

NAMES = re.findall(r"^op (\w+)", (ROOT / "crates/wire/model/ec2.txt").read_text(), re.M)
OURS = {name for service, name in ACTIONS if service == "ec2"}
LOOKS = ("Describe", "List", "Get")
EMPTY = sorted(name for name in NAMES if name not in OURS and name.startswith(LOOKS))
ABSENT = sorted(name for name in NAMES if name not in OURS and not name.startswith(LOOKS))


@pytest.fixture(scope="module")
def asker(cloud):
    return Tenant(cloud, "asker")


def ask(tenant, name, more=""):
    body = f"Action={name}&Version=2016-11-15{more}"
    return send(tenant.awan, "POST", "/", signed(tenant, body), body)


def test_all_of_the_api_is_known(asker):
    """What the clients' own model has and we do not know would be refused as nobody's."""
    newer = set(asker.ec2.meta.service_model.operation_names) - set(NAMES)
    assert len(NAMES) == 830 and newer == set()


def parsed(tenant, name, answer):
    """As botocore reads it; a shape that it does not have is read as far as it goes."""
    model = tenant.ec2.meta.service_model
    shape = model.operation_model(name).output_shape if name in model.operation_names else None
    parser = botocore.parsers.create_parser("ec2")
    return parser.parse({"status_code": answer[0], "headers": {}, "body": answer[1].encode()}, shape)


def test_no_name_is_answered_with_an_error_of_ours(asker):
    for name in NAMES:
        answer = ask(asker, name)
        assert answer[0] < 500, (name, answer)
        read = parsed(asker, name, answer)
        root = xml.etree.ElementTree.fromstring(answer[1])
        if answer[0] == 200:
            assert root.tag == f"{{http://ec2.amazonaws.com/doc/2016-11-15/}}{name}Response"
            assert read["ResponseMetadata"]["RequestId"], answer
        else:
            assert read["Error"]["Code"] and read["Error"]["Message"], (name, answer)


def test_what_only_looks_finds_nothing(asker):
    for name in EMPTY:
        answer = ask(asker, name)
        found = {key: value for key, value in parsed(asker, name, answer).items() if key != "ResponseMetadata" and value}
        assert (answer[0], found) == (200, {}), (name, answer)
        assert code(ask(asker, name, "&DryRun=true")) == "DryRunOperation", name


def test_what_would_write_is_refused(asker):
    before = asker.everything()
    for name in ABSENT:
        for more in ("", "&DryRun=true"):
            answer = ask(asker, name, more)
            assert (answer[0], code(answer)) == (400, "UnsupportedOperation"), (name, answer)
    assert asker.everything() == before
