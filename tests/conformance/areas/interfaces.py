"""Interfaces, addresses, groups and prefix lists."""

CALLS = {}
READS = {}
