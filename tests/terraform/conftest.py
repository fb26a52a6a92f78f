"""The simulated cloud of the conformance tests."""

from conformance.conftest import awan, cloud  # noqa: F401
