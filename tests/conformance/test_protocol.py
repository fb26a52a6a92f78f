"""The wire: signatures, clocks, tokens, what is absent and what is unknown, and answers to those who know no protocol."""

import datetime
import http.client
import urllib.error
import urllib.request
import xml.etree.ElementTree

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from awan import CONFIG
from clients import OURS, Tenant, refused

FORM = "application/x-www-form-urlencoded; charset=utf-8"


@pytest.fixture(scope="module")
def quiet(cloud):
    """An account that has nothing but what it began with."""
    return Tenant(cloud, "quiet")


def send(awan, method, path, headers=None, body=None):
    """Bytes over a socket: status, code, message."""
    connection = http.client.HTTPConnection("127.0.0.1", awan.api, timeout=20)
    connection.request(method, path, body=body, headers=headers or {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def code(answer):
    return xml.etree.ElementTree.fromstring(answer[1]).findtext(".//{*}Code")


def signed(tenant, body, service="ec2", region="us-east-1", signer=botocore.auth.SigV4Auth, secret=None):
    request = botocore.awsrequest.AWSRequest("POST", f"http://127.0.0.1:{tenant.awan.api}/", {"Content-Type": FORM}, body)
    credentials = botocore.credentials.Credentials(tenant.keys["AccessKeyId"], secret or tenant.keys["SecretAccessKey"])
    signer(credentials, service, region).add_auth(request)
    return dict(request.headers)


def client(tenant, key=None, secret=None, region="us-east-1", service="ec2"):
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=f"http://127.0.0.1:{tenant.awan.api}",
        aws_access_key_id=key or tenant.keys["AccessKeyId"],
        aws_secret_access_key=secret or tenant.keys["SecretAccessKey"],
        config=CONFIG,
    )


@pytest.mark.parametrize("service", ["ec2", "sts"])
def test_a_wrong_secret_and_an_unknown_key(tenant, service):
    call = lambda c: c.describe_regions() if service == "ec2" else c.get_caller_identity()
    with refused("SignatureDoesNotMatch", 403):
        call(client(tenant, secret="wrong" * 8, service=service))
    unknown = ("AuthFailure", 401, "AWS was not able to validate the provided access credentials")
    if service == "sts":
        unknown = ("InvalidClientTokenId", 403, "The security token included in the request is invalid")
    with refused(*unknown):
        call(client(tenant, key="AKIAAAAAAAAAAAAAAAAA", service=service))
    with refused(*unknown):
        call(client(tenant, key="AKIAAAAAAAAAAAAAAAAA", secret="wrong" * 8, service=service))


def ago(monkeypatch, minutes):
    """The client's clock is late."""
    now = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=minutes)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: now.replace(tzinfo=None))


@pytest.mark.parametrize(("minutes", "fine"), [(-6, False), (-4, True), (4, True), (6, False)])
def test_a_clock_may_be_five_minutes_off(tenant, monkeypatch, minutes, fine):
    ago(monkeypatch, minutes=-minutes)
    if fine:
        assert tenant.ec2.describe_regions()["Regions"]
    else:
        with refused("RequestExpired", 400):
            tenant.ec2.describe_regions()


def test_a_region_that_is_not_served(tenant):
    with refused("AuthFailure", 401):
        client(tenant, region="eu-west-9").describe_regions()
    assert client(tenant, region="eu-west-9", service="sts").get_caller_identity()["Account"] == tenant.id


def test_a_presigned_url_is_a_request(tenant):
    (id,) = tenant.launch()
    url = tenant.ec2.generate_presigned_url("describe_instances", Params={"InstanceIds": [id]}, ExpiresIn=60, HttpMethod="GET")
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert answer.status == 200 and id in answer.read().decode()
    host, _, query = url.partition("?")
    path = lambda q: "/?" + q
    assert code(send(tenant.awan, "GET", path(query.replace("DescribeInstances", "DescribeVpcs")))) == "SignatureDoesNotMatch"
    assert code(send(tenant.awan, "GET", path(query + "&Filter.1.Name=x"))) == "SignatureDoesNotMatch"
    assert code(send(tenant.awan, "GET", path(query.replace("X-Amz-Expires=60", "X-Amz-Expires=61")))) == "SignatureDoesNotMatch"
    assert code(send(tenant.awan, "GET", path(query.replace("X-Amz-Signature=", "X-Amz-Nothing=")))) == "IncompleteSignature"
    who = client(tenant, service="sts").generate_presigned_url("get_caller_identity", HttpMethod="GET")
    with urllib.request.urlopen(who, timeout=20) as answer:
        assert f"<Account>{tenant.id}</Account>" in answer.read().decode()


def test_a_presigned_url_ends(tenant, monkeypatch):
    ago(monkeypatch, minutes=10)
    with urllib.request.urlopen(tenant.ec2.generate_presigned_url("describe_regions", ExpiresIn=660, HttpMethod="GET"), timeout=20) as answer:
        assert answer.status == 200
    url = tenant.ec2.generate_presigned_url("describe_regions", ExpiresIn=540, HttpMethod="GET")
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(url, timeout=20)
    assert refusal.value.code == 400 and "<Code>RequestExpired</Code>" in refusal.value.read().decode()


def test_what_was_signed_is_what_is_done(tenant):
    body = "Action=DescribeRegions&Version=2016-11-15"
    headers = signed(tenant, body)
    assert send(tenant.awan, "POST", "/", headers, body)[0] == 200
    for tampered in (body.replace("Regions", "Vpcs"), body + "&DryRun=true", "", body + " "):
        answer = send(tenant.awan, "POST", "/", headers, tampered)
        assert (answer[0], code(answer)) == (403, "SignatureDoesNotMatch"), tampered
    for changed in ({"X-Amz-Date": "20200101T000000Z"}, {"X-Amz-Extra": "1"}, {"Authorization": headers["Authorization"][:-1] + "z"}):
        answer = send(tenant.awan, "POST", "/", {**headers, **changed}, body)
        assert answer[0] in (400, 403) and code(answer) in ("SignatureDoesNotMatch", "IncompleteSignature"), changed
    assert code(send(tenant.awan, "POST", "/?Action=DescribeVpcs", headers, body)) == "SignatureDoesNotMatch"
    # Another signer of AWS's: the same request signed for what it is not.
    assert code(send(tenant.awan, "POST", "/", signed(tenant, body, service="s3"), body)) == "AuthFailure"


def test_who_knows_no_protocol_is_answered(awan):
    for method, path, headers, body, expected in [
        ("GET", "/", {}, None, (403, "MissingAuthenticationToken")),
        ("POST", "/", {"Content-Type": FORM}, "Action=DescribeRegions", (403, "MissingAuthenticationToken")),
        ("GET", "/?Action=DescribeRegions&AWSAccessKeyId=x&SignatureVersion=2&Signature=y", {}, None, (401, "AuthFailure")),
        ("PUT", "/", {}, "x", (405, "MethodNotAllowed")),
        ("POST", "/", {"Authorization": "Basic eDp5"}, "", (400, "IncompleteSignature")),
        ("POST", "/", {"Authorization": "AWS4-HMAC-SHA256 nonsense"}, "", (400, "IncompleteSignature")),
        ("POST", "/", {}, "x" * (1024 * 1024 + 1), (413, "RequestEntityTooLarge")),
    ]:
        answer = send(awan, method, path, headers, body)
        assert (answer[0], code(answer)) == expected, (method, path, headers)


def test_the_forms_that_a_request_can_have(tenant):
    def ask(body):
        return send(tenant.awan, "POST", "/", signed(tenant, body), body)

    assert ask("Action=DescribeRegions&Version=2016-11-15")[0] == 200
    for body, expected in [
        ("Version=2016-11-15", "MissingParameter MissingAction"),
        ("Action=DescribeRegions&Action=DescribeVpcs&Version=2016-11-15", "InvalidParameterValue MalformedQueryString InvalidParameterCombination"),
        ("Action=DescribeNothing&Version=2016-11-15", "InvalidAction"),
        ("Action=describeregions&Version=2016-11-15", "InvalidAction"),
        ("Action=%3Cscript%3E&Version=2016-11-15", "InvalidAction"),
        ("Action=CreateTags&ResourceId.1=x&Tag.1.Key=%00&Version=2016-11-15", "MalformedQueryString"),
        ("Action=DescribeInstances&Version=2016-11-15&Colour=blue", "UnknownParameter"),
        ("Action=DescribeInstances&Version=2016-11-15&MaxResults=many", "InvalidParameterValue"),
        ("Action=DescribeInstances&Version=2016-11-15&MaxResults=99999999999", "InvalidParameterValue"),
        ("Action=DescribeInstances&Version=2016-11-15&InstanceId.x=i-1", "UnknownParameter InvalidParameterValue MalformedQueryString"),
        ("Action=StopInstances&Version=2016-11-15", "MissingParameter"),
        ("Action=TerminateInstances&Version=2016-11-15", "MissingParameter"),
        ("Action=RunInstances&Version=2016-11-15&MinCount=1&MaxCount=1", "MissingParameter"),
    ]:
        answer = ask(body)
        assert answer[0] == 400 and code(answer) in expected.split(), (body, answer)


def test_an_unknown_action_of_each_service(tenant):
    for service, version in (("ec2", "2016-11-15"), ("sts", "2011-06-15"), ("iam", "2010-05-08")):
        body = f"Action=Nonsense&Version={version}"
        answer = send(tenant.awan, "POST", "/", signed(tenant, body, service), body)
        assert (answer[0], code(answer)) == (400, "InvalidAction"), answer
    with refused("UnsupportedOperation"):
        client(tenant, service="iam").generate_credential_report()
    with refused("UnsupportedOperation"):
        tenant.sts.decode_authorization_message(EncodedMessage="x")


def example(shape, depth=0):
    """The least that botocore lets pass as a value of a shape."""
    if shape.type_name == "structure":
        return {name: example(shape.members[name], depth + 1) for name in shape.required_members}
    if shape.type_name == "list":
        return [example(shape.member, depth + 1)]
    values = {"string": "x" * shape.metadata.get("min", 1), "blob": b"x", "boolean": True, "timestamp": datetime.datetime(2026, 1, 1), "map": {}}
    return values.get(shape.type_name, max(1, shape.metadata.get("min", 1)))


def absent(tenant):
    model = tenant.ec2.meta.service_model
    shapes = {name: model.operation_model(name).input_shape for name in model.operation_names if name not in OURS}
    return {name: example(shape) if shape else {} for name, shape in shapes.items()}


def test_lists_of_what_is_absent_are_empty(awan, quiet):
    asked = {name: parameters for name, parameters in absent(quiet).items() if name.startswith("Describe")}
    assert len(asked) > 100 and "DescribeTransitGateways" in asked
    for name, parameters in asked.items():
        answer = quiet.call(name, **parameters)
        lists = [m for m, shape in quiet.ec2.meta.service_model.operation_model(name).output_shape.members.items() if shape.type_name == "list"]
        assert {m: answer.get(m) for m in lists} == {m: [] for m in lists}, name
        assert answer.get("NextToken") is None


def test_a_client_token_launches_once(tenant, other):
    first = tenant.launch(2, ClientToken="once")
    assert tenant.launch(2, ClientToken="once") == first
    assert len(tenant.ec2.describe_instances(Filters=[{"Name": "client-token", "Values": ["once"]}])["Reservations"]) == 1
    for different in ({"InstanceType": "m5.large"}, {"count": 3}, {"UserData": "x"}):
        with refused("IdempotentParameterMismatch"):
            tenant.launch(**{"count": 2, "ClientToken": "once", **different})
    assert len(tenant.launch(2, ClientToken="twice")) == 2
    theirs = other.launch(2, ClientToken="once")
    assert not set(theirs) & set(first)
    assert len(tenant.ec2.describe_instances()["Reservations"]) == 2
    with refused("InvalidParameterValue"):
        tenant.launch(ClientToken="x" * 65)


def test_text_arrives_as_it_was_sent(tenant):
    (id,) = tenant.launch()
    for text in ("a&b=c+d %41", "<tag>'\"&amp;", "日本語 🐘", "line\nbreak\ttab", "  spaces  ", "x" * 256, "\\*?"):
        tenant.ec2.create_tags(Resources=[id], Tags=[{"Key": "text", "Value": text}])
        assert tenant.about(id)["Tags"] == [{"Key": "text", "Value": text}]
