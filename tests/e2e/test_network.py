"""What stands between real guests: network ACLs, which judge each packet for itself."""

import subprocess
import threading
import time

from awan import until
from test_guests import SSH


class Connection:
    """One SSH connection over which the guest says something ten times a second."""

    def __init__(self, tenant, instance):
        address = tenant.about(instance)["PublicIpAddress"]
        patient = ["-o", "ServerAliveInterval=0"]
        command = [*SSH[:-4], *patient, "-i", str(tenant.key), f"root@{address}", "while echo on; do sleep 0.1; done"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.heard = 0
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for _ in self.process.stdout:
            self.heard += 1

    def is_silent(self):
        before = self.heard
        time.sleep(0.4)
        return self.heard == before

    def speaks(self):
        before = self.heard
        time.sleep(0.4)
        return self.heard > before

    def close(self):
        self.process.kill()
        self.process.wait(5)


def test_a_denial_stops_an_established_connection_and_its_end_lets_it_go_on(awan, tenant):
    ec2 = tenant.ec2
    (id,) = tenant.launch()
    tenant.ssh(id, "true")
    subnet = tenant.about(id)["SubnetId"]
    (acl,) = ec2.describe_network_acls(Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])["NetworkAcls"]
    acl = acl["NetworkAclId"]
    ssh = {"Protocol": "6", "PortRange": {"From": 22, "To": 22}, "CidrBlock": "0.0.0.0/0"}
    connection = Connection(tenant, id)
    try:
        until("the connection", 30, connection.speaks, 0)
        ec2.create_network_acl_entry(NetworkAclId=acl, RuleNumber=50, Egress=False, RuleAction="deny", **ssh)
        denied = time.monotonic()
        until("silence within a second", 1, connection.is_silent, 0)
        assert tenant.try_ssh(id, "true").returncode != 0, "nor does another begin"
        assert connection.is_silent() and connection.process.poll() is None, "it is stopped, not ended"
        ec2.delete_network_acl_entry(NetworkAclId=acl, RuleNumber=50, Egress=False)
        # The longer it was silent, the longer TCP waits before it tries again.
        silent = time.monotonic() - denied
        until("it goes on", 10 + 2 * silent, connection.speaks, 0)
    finally:
        connection.close()
    tenant.terminate(id)
    awan.audit()


def test_an_acl_of_ones_own_lets_out_only_what_may_come_back(awan, tenant):
    ec2 = tenant.ec2
    here, there = (
        ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": [zone]}])["Subnets"][0]
        for zone in ("us-east-1a", "us-east-1b")
    )
    (near,), (far,) = (tenant.launch(SubnetId=subnet["SubnetId"]) for subnet in (here, there))
    served = "mkdir -p /www; echo page > /www/index.html; busybox httpd -p 8080 -h /www"
    tenant.ssh(far, served)
    target = tenant.about(far)["PrivateIpAddress"]
    fetch = lambda: tenant.try_ssh(near, f"timeout 2 wget -q -O - http://{target}:8080/index.html").stdout == "page\n"
    ping = lambda: tenant.try_ssh(near, f"ping -c 1 -W 1 {target}").returncode == 0
    until("the page", 30, fetch, 0.2)
    assert ping()

    acl = ec2.create_network_acl(VpcId=here["VpcId"])["NetworkAcl"]["NetworkAclId"]

    def allow(put, number, egress, cidr, first, last):
        ports = {"From": first, "To": last}
        put(NetworkAclId=acl, RuleNumber=number, Egress=egress, CidrBlock=cidr, PortRange=ports, Protocol="6", RuleAction="allow")

    allow(ec2.create_network_acl_entry, 100, False, "0.0.0.0/0", 22, 22)
    allow(ec2.create_network_acl_entry, 200, False, here["CidrBlock"], 8080, 8080)
    allow(ec2.create_network_acl_entry, 100, True, "0.0.0.0/0", 1024, 65535)
    serving = [{"Name": "association.subnet-id", "Values": [there["SubnetId"]]}]
    (default,) = ec2.describe_network_acls(Filters=serving)["NetworkAcls"]
    association = next(a for a in default["Associations"] if a["SubnetId"] == there["SubnetId"])["NetworkAclAssociationId"]
    association = ec2.replace_network_acl_association(AssociationId=association, NetworkAclId=acl)["NewAssociationId"]
    until("no ping", 5, lambda: not ping(), 0.1)
    until("the page still", 10, fetch, 0.2)
    assert tenant.ssh(far, "imds meta-data/instance-id").strip() == far, "the router's services are not judged"
    # Answers leave from port 8080 to a high one; without that entry none does.
    allow(ec2.replace_network_acl_entry, 100, True, "198.18.0.0/16", 1024, 65535)
    until("no page", 5, lambda: not fetch(), 0.1)
    tenant.ssh(far, "true")
    ec2.replace_network_acl_association(AssociationId=association, NetworkAclId=default["NetworkAclId"])
    until("the page again", 10, fetch, 0.1)
    ec2.delete_network_acl(NetworkAclId=acl)
    tenant.terminate(near, far)
    awan.audit()
