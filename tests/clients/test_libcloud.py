"""Apache Libcloud's EC2 driver."""

import pytest

libcloud = pytest.importorskip("libcloud.compute.providers", reason="Apache Libcloud could not be installed")
from libcloud.common.exceptions import BaseHTTPError  # noqa: E402
from libcloud.compute.types import NodeState, Provider  # noqa: E402


@pytest.fixture
def driver(tenant):
    make = libcloud.get_driver(Provider.EC2)
    keys = tenant.keys["AccessKeyId"], tenant.keys["SecretAccessKey"]
    place = {"host": "127.0.0.1", "port": tenant.awan.api, "secure": False, "region": "us-east-1", "signature_version": "4"}
    return make(*keys, **place)


def test_a_servers_life(driver, tenant):
    (image,) = driver.list_images(ex_image_ids=[tenant.image])
    size = next(size for size in driver.list_sizes() if size.id == "t3.micro")
    key = driver.create_key_pair("libcloud")
    assert key.private_key and [pair.name for pair in driver.list_key_pairs()] == ["libcloud"]
    group = driver.ex_create_security_group("libcloud", "by libcloud")
    assert driver.ex_authorize_security_group_ingress(group["group_id"], 22, 22, cidr_ips=["10.0.0.0/8"])
    made = driver.create_node(name="libcloud", image=image, size=size, ex_keyname="libcloud", ex_security_groups=["libcloud"])
    ((node, addresses),) = driver.wait_until_running([made], wait_period=0.2, timeout=60)
    assert node.state == NodeState.RUNNING and addresses
    assert [(n.id, n.name) for n in driver.list_nodes()] == [(made.id, "libcloud")]
    assert driver.ex_create_tags(node, {"colour": "blue"}) and driver.ex_describe_tags(node)["colour"] == "blue"
    address = driver.ex_allocate_address("vpc")
    assert driver.ex_associate_address_with_node(node, address)
    assert node.id in [a.instance_id for a in driver.ex_describe_all_addresses()]
    (address,) = driver.ex_describe_all_addresses()
    assert driver.ex_disassociate_address(address, "vpc") and driver.ex_release_address(address, "vpc")
    assert {place.name for place in driver.list_locations()} >= {"us-east-1a", "us-east-1b"}
    assert len(driver.ex_list_networks()) == 1 and len(driver.ex_list_subnets()) == 3
    assert driver.stop_node(node) and driver.destroy_node(node)
    tenant.wait("instance_terminated", node.id)
    assert driver.ex_delete_security_group_by_id(group["group_id"]) and driver.delete_key_pair(key)


def test_a_refusal_has_its_code(driver):
    with pytest.raises(BaseHTTPError, match="InvalidInstanceID.NotFound"):
        driver.list_nodes(ex_node_ids=["i-0123456789abcdef0"])


def test_a_disk(driver, tenant):
    place = next(place for place in driver.list_locations() if place.name == "us-east-1a")
    volume = driver.create_volume(4, "libcloud", location=place)
    assert [(v.id, v.size) for v in driver.list_volumes()] == [(volume.id, 4)]
    assert driver.destroy_volume(volume)
