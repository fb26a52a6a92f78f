"""One simulated cloud for all these tests, an account of its own for each, and nothing that differs at the end of any."""

import pytest
from awan import Awan
from clients import Tenant
from files import Files


@pytest.fixture(scope="session")
def cloud():
    files = Files({"/disk": b"\1" * 1_000_000})
    running = Awan("simulated", import_from=files.url)
    running.files = files
    try:
        yield running.start()
    finally:
        running.close()
        files.close()


@pytest.fixture
def awan(cloud):
    """The shared cloud; what a test leaves must be sound."""
    yield cloud
    assert cloud.process.poll() is None, cloud.log()[-2000:]
    cloud.audit()
    assert "panicked" not in cloud.log()


@pytest.fixture
def tenant(awan):
    return Tenant(awan, "acme")


@pytest.fixture
def other(awan):
    return Tenant(awan, "other")
