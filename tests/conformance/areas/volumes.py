"""Volumes."""

CALLS = {}
READS = {}
