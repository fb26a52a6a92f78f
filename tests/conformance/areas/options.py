"""Options of instances, placement."""

CALLS = {}
READS = {}
