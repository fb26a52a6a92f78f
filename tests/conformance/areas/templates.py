"""Launch templates, fleets and capacity."""

CALLS = {}
READS = {}
