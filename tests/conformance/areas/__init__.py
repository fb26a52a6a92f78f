"""What the tests of all actions need to know of each, by areas. A module of this folder may have:

- `CALLS`: how to call an action so that it works, from a `Home`;
- `READS`: what of the answer a client reads, see `showcase.READS`;
- `MADE`: things that a home has besides, made when they are first asked for as its attributes;
- `NAMES`: by the name of such a thing, the parameters that take its id; `NESTED`: ids inside of structures; `TAGGED`: things that can be tagged;
- `DELETED`: by the name of such a thing, how one is made, the client's method that deletes it, and its parameter;
- `FILTERS`: from a home, filters that would find its things;
- `NO_FILTERS`: by action, names that documentation lists under filters and that are none here; `OTHERWISE`: what differs from a first request with the same token;
- `NOT_LISTS`: a `Describe` that tells about one thing; `ALWAYS_WET`: no `DryRun`; `UNLISTED`: values that the API's model lacks;
- `UNDONE`: what undoes an action that would be in the way of others, with a client of the account;
- `FINE`: actions that take an id of what is not there without a refusal.
"""

import importlib
import itertools
import pkgutil

COUNT = itertools.count()


def named(kind):
    """A tag specification with a canary."""
    return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": f"canary-{kind}"}]}]


def under(head, tails):
    return " ".join(f"{head}.{tail}" for tail in (tails.split() if isinstance(tails, str) else tails))


AREAS = [importlib.import_module(f"areas.{module.name}") for module in pkgutil.iter_modules(__path__)]
KINDS = {"CALLS": {}, "READS": {}, "MADE": {}, "NAMES": {}, "NESTED": [], "TAGGED": [], "NOT_LISTS": set(), "ALWAYS_WET": set(), "UNLISTED": [], "UNDONE": {}, "FINE": set()}
for area in AREAS:
    for kind, empty in KINDS.items():
        vars(area).setdefault(kind, empty)
    vars(area).setdefault("FILTERS", lambda home: [])
    # Actions that a furnished home cannot call; a test of their own has them.
    vars(area).setdefault("ELSEWHERE", set())
