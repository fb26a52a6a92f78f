"""VPCs and what connects them."""

CALLS = {}
READS = {}
