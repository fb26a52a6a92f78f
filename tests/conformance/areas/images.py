"""Images and snapshots."""

CALLS = {}
READS = {}
