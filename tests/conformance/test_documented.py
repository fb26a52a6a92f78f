"""What the API's own documentation and model say of every action, as far as a program can read them: filters, tokens."""

import html
import re

import pytest
from areas import AREAS
from clients import OURS, Tenant, refused
from showcase import CALLS, Home, named


@pytest.fixture(scope="module")
def furnished(cloud):
    return Home(cloud, "documented")


@pytest.fixture
def home(awan, furnished):
    return furnished


def shape(home, action):
    return home.ec2.meta.service_model.operation_model(action).input_shape


def members(home, action):
    return shape(home, action).members if shape(home, action) else {}


def filters(home, action):
    """The names of filters in the documentation, made such as a client would send."""
    parameter = members(home, action).get("Filters") or members(home, action)["Filter"]
    for name in re.findall(r"<li>\s*<p>\s*<code>(.*?)</code>", parameter.documentation):
        name = html.unescape(re.sub(r"<.*?>", "", name)).strip()
        yield "tag:colour" if name.startswith("tag:") or name == "tag" else name


# Names that documentation lists and that are values, or filters of what Awan does not have: by action.
NO_FILTERS = {"DescribeImages": {"critical", "high", "informational", "medium", "low"}}
for area in AREAS:
    for action, names in vars(area).get("NO_FILTERS", {}).items():
        NO_FILTERS[action] = NO_FILTERS.get(action, set()) | set(names)


def test_every_documented_filter_is_known_and_no_other(home):
    wrong, known = [], 0
    for action in OURS:
        key = next((key for key in ("Filters", "Filter") if key in members(home, action)), None)
        if not key or not action.startswith(("Describe", "Get", "List")):
            continue
        asked = CALLS[action](home)
        required = {name: value for name, value in asked.items() if name in shape(home, action).required_members}
        if "MissingParameter" in home.tenant.answer(action, **required)[1]:
            required = {name: value for name, value in asked.items() if name != key}
        for name in {*filters(home, action)} - NO_FILTERS.get(action, set()):
            status, body = home.tenant.answer(action, **required, **{key: [{"Name": name, "Values": ["1"]}]})
            known += 1
            if status != 200:
                wrong.append((action, name, re.findall("<Message>(.*?)</Message>", body)))
        status, body = home.tenant.answer(action, **required, **{key: [{"Name": "colour-of-hat", "Values": ["1"]}]})
        if status != 400 or "InvalidParameterValue" not in body:
            wrong.append((action, "an unknown filter", status, body))
    assert wrong == [], "\n".join(map(str, wrong))
    assert known > 200


# What differs from a first request with the same token, where `Description` or a tag will not do.
OTHERWISE = {}
for area in AREAS:
    OTHERWISE |= vars(area).get("OTHERWISE", {})


def otherwise(home, action, asked):
    if action in OTHERWISE:
        return OTHERWISE[action](home)
    if "TagSpecifications" in members(home, action):
        kinds = [spec["ResourceType"] for spec in asked.get("TagSpecifications", [])] or [kind for kind in KINDS if kind in action.lower()]
        return {"TagSpecifications": [{"ResourceType": kinds[0], "Tags": [{"Key": "another", "Value": "tag"}]}]}
    described = [name for name in members(home, action) if name.endswith("Description")]
    return {described[0]: "another"} if described else None


KINDS = ["instance", "volume", "vpc"]


def tokened(home):
    """What makes things. To set something twice to the same comes to the same without a token."""
    return [action for action in OURS if "ClientToken" in members(home, action) and not action.startswith(("Modify", "Delete"))]


def test_a_client_token_makes_one_thing(home):
    wrong, tried = [], 0
    for action in tokened(home):
        asked = {**CALLS[action](home), "ClientToken": f"token-of-{action}"}
        tried += 1
        first, again = (home.tenant.answer(action, **asked) for _ in range(2))
        if first[0] != 200 or normal(first) != normal(again):
            wrong.append((action, "not the same", first, again))
        different = otherwise(home, action, asked)
        if different is None:
            wrong.append((action, "OTHERWISE does not say what would differ"))
            continue
        status, body = home.tenant.answer(action, **{**asked, **different})
        if status != 400 or "<Code>IdempotentParameterMismatch</Code>" not in body:
            wrong.append((action, "was not refused", status, body))
    assert wrong == [], "\n".join(map(str, wrong))
    assert tried >= 2


def normal(answer):
    """Its ids: states may have gone on."""
    return answer[0], sorted(set(re.findall(r"\b[a-z]+(?:-[a-z]+)*-[0-9a-f]{17}\b", answer[1])))


# What is tagged by actions whose call in the showcase has no tags.
UNSAID = {"AllocateAddress": "elastic-ip", "CreateSecurityGroup": "security-group", "ImportKeyPair": "key-pair", "RunInstances": "instance"}


def test_reserved_tags_and_the_fifty_first_are_refused_by_every_create(home):
    wrong = []
    for action in OURS:
        if "TagSpecifications" not in members(home, action) or not action.startswith(("Create", "Allocate", "Run", "Import", "Register", "Copy")):
            continue
        asked = CALLS[action](home)
        kinds = [spec["ResourceType"] for spec in asked.get("TagSpecifications", named(UNSAID.get(action)))]
        for tags, code in (
            ([{"Key": "aws:name", "Value": "x"}], "InvalidParameterValue"),
            ([{"Key": f"k{n}", "Value": ""} for n in range(51)], "TagLimitExceeded"),
        ):
            status, body = home.tenant.answer(action, **{**asked, "TagSpecifications": [{"ResourceType": kinds[0], "Tags": tags}]})
            if status != 400 or f"<Code>{code}</Code>" not in body:
                wrong.append((action, code, status, body))
    assert wrong == [], "\n".join(map(str, wrong))
