"""What most modules have: a server with real guests, and a tenant of it."""

import pytest
from awan import Awan
from test_guests import Tenant


@pytest.fixture(scope="module")
def awan():
    running = Awan("auto", shutdown_grace=20)
    try:
        yield running.start()
    finally:
        running.close()


@pytest.fixture(scope="module")
def tenant(awan):
    return Tenant(awan, "acme")
