"""Accounts as their owners use them: boto3, the aws CLI, and every answer as it came over the wire."""

import contextlib
import json
import os
import re
import shlex
import subprocess

import boto3
import botocore.exceptions
import botocore.session
from areas import AREAS
from awan import CONFIG, ROOT, tiny, until

ABSENT = "0123456789abcdef0"
TABLE = (ROOT / "crates/control/src/actions.rs").read_text()
ACTIONS = [(service.lower(), name) for name, service in re.findall(r'Action \{ name: "(\w+)", service: Service::(\w+)', TABLE)]
ELSEWHERE = set().union(*(area.ELSEWHERE for area in AREAS))
OURS = sorted(name for service, name in ACTIONS if service == "ec2" and name not in ELSEWHERE)
QUICK = {"Delay": 0.1, "MaxAttempts": 100}


@contextlib.contextmanager
def refused(code, status=400, message=""):
    """The call inside answers this error, and no other."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        answer = error.response
        assert answer["Error"]["Code"] == code, answer
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == status, answer
        assert message in answer["Error"]["Message"], answer
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer["ResponseMetadata"]["RequestId"]), answer
    else:
        raise AssertionError(f"was not refused: {code}")


def without_request_id(body):
    return re.sub(r"<(requestId|RequestID|RequestId)>[^<]*<", "<requestId><", body)


def ids_in(text):
    return set(re.findall(r"\b[a-z]+(?:-[a-z]+)*-[0-9a-f]{17}\b", text))


class Tenant:
    """An account with its clients. `said` holds every answer of its EC2 client."""

    def __init__(self, awan, name):
        self.awan = awan
        self.keys = awan.account(name)
        self.id = self.keys["AccountId"]
        self.ec2 = awan.client(self.keys)
        self.sts = awan.client(self.keys, "sts")
        self.said = []
        self.ec2.meta.events.register("after-call.ec2", self.hear)
        self.image = tiny(self.ec2)

    def hear(self, http_response, model, **_):
        self.said.append((model.name, http_response.status_code, http_response.content.decode()))

    def session(self):
        return boto3.Session(self.keys["AccessKeyId"], self.keys["SecretAccessKey"], region_name="us-east-1")

    def resource(self, service="ec2"):
        return self.session().resource(service, endpoint_url=f"http://127.0.0.1:{self.awan.api}", config=CONFIG)

    def call(self, action, **parameters):
        """By the action's name, as a client sends it."""
        methods = {v: k for k, v in self.ec2.meta.method_to_api_mapping.items()}
        answer = getattr(self.ec2, methods[action])(**parameters)
        if action in UNDONE:
            UNDONE[action](self.resource().meta.client)
        return answer

    def answer(self, action, **parameters):
        """Status and body, whether it is a refusal or not."""
        with contextlib.suppress(botocore.exceptions.ClientError):
            self.call(action, **parameters)
        name, status, body = self.said[-1]
        assert name == action
        return status, without_request_id(body)

    def aws(self, *words, code=0):
        """The aws CLI: what it prints, read as JSON; for another exit status what it complains about."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.awan.data),
            "AWS_ACCESS_KEY_ID": self.keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": self.keys["SecretAccessKey"],
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.awan.api}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        command = [str(ROOT / ".venv/bin/aws"), "--output", "json", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done
        if code:
            return done.stderr
        if {"text", "table"} & set(words):
            return done.stdout.strip()
        return json.loads(done.stdout) if done.stdout.strip() else None

    def shell(self, line, code=0):
        """A line as a user types it after `aws`."""
        return self.aws(*shlex.split(line), code=code)

    def launch(self, count=1, **more):
        asked = {"ImageId": self.image, "InstanceType": "t3.micro", "MinCount": count, "MaxCount": count}
        return [i["InstanceId"] for i in self.ec2.run_instances(**{**asked, **more})["Instances"]]

    def run(self, count=1, **more):
        ids = self.launch(count, **more)
        self.wait("instance_running", *ids)
        return ids

    def wait(self, name, *ids):
        self.ec2.get_waiter(name).wait(InstanceIds=list(ids), WaiterConfig=QUICK)

    def about(self, instance):
        return self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]

    def default_group(self):
        return self.ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]

    def everything(self):
        """All that this account can see of itself, in bytes that change only if something does."""
        model = self.ec2.meta.service_model
        # What must be told what to show is no list.
        free = lambda name: not model.operation_model(name).input_shape.required_members
        lists = [name for name in OURS if name.startswith("Describe") and name not in NOT_LISTS and free(name)]
        return {name: self.answer(name, **LIST_PARAMETERS.get(name, {}))[1] for name in lists}

    def settled(self):
        """All that it can see, once nothing moves any more: what was asked before has happened."""
        seen = []

        def still():
            seen.append(self.everything())
            return len(seen) > 1 and seen[-1] == seen[-2] and not MOVING.search(str(seen[-1]))

        until("nothing moves", 60, still, 0.1)
        return seen[-1]


MOVING = re.compile("<name>(pending|stopping|shutting-down)</name>|<status>initializing</status>")


# These tell about one thing, or about what nobody changes.
NOT_LISTS = {"DescribeInstanceAttribute", "DescribeVpcAttribute", "DescribeInstanceTypes", "DescribeInstanceTypeOfferings"}
UNDONE = {action: undo for area in AREAS for action, undo in area.UNDONE.items()}
NOT_LISTS |= set().union(*(area.NOT_LISTS for area in AREAS))
LIST_PARAMETERS = {"DescribeInstanceStatus": {"IncludeAllInstances": True}, "DescribeKeyPairs": {"IncludePublicKey": True}}
MODEL = botocore.session.get_session().get_service_model("ec2")
SHAPES = {name: MODEL.operation_model(name).input_shape for name in OURS}
NOT_LISTS |= {name for name, shape in SHAPES.items() if shape and set(shape.required_members) - set(LIST_PARAMETERS.get(name, {}))}
