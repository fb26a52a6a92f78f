"""The simulated cloud of the conformance tests, for tools that are not Python's own clients."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "conformance"))

from conformance.conftest import awan, cloud  # noqa: E402, F401


@pytest.fixture
def tenant(awan, request):  # noqa: F811
    from clients import Tenant

    return Tenant(awan, request.node.name.replace("_", "-")[:40])
