#!/usr/bin/env python3
"""Writes crates/wire/model/{ec2,sts,iam,ssm,logs,ebs,rbin}.txt from botocore's service descriptions: names and types, nothing else.

usage: extract-model.py OUTDIR   (needs botocore from PyPI)

One line each:
    op NAME INPUT OUTPUT          (- for none; OUTPUT may be NAME/WRAPPER for awsQuery)
                                  of REST: METHOD PATH STATUS besides
    struct NAME                   followed by its members
      MEMBER SHAPE QUERYNAME XMLNAME [required]
                                  of REST: where it lies (header, uri, querystring, payload, body), and its name there
    list NAME SHAPE ITEMNAME
    map NAME KEYSHAPE VALUESHAPE
    scalar NAME TYPE
"""
import gzip
import json
import os
import sys

import botocore

MODELS = {"ec2": "ec2/2016-11-15", "sts": "sts/2011-06-15", "iam": "iam/2010-05-08", "ssm": "ssm/2014-11-06", "logs": "logs/2014-03-28", "ebs": "ebs/2019-11-02", "rbin": "rbin/2021-06-15"}


def members(shape, ec2, rest):
    required = set(shape.get("required", []))
    for name, member in shape.get("members", {}).items():
        xml = member.get("locationName", name)
        query = member.get("queryName") or (xml[0].upper() + xml[1:] if ec2 else xml)
        if rest:
            query = "payload" if name == shape.get("payload") else member.get("location", "body")
        yield f"  {name} {member['shape']} {query} {xml}" + (" required" if name in required else "")


def route(op):
    return f" {op['http']['method']} {op['http']['requestUri']} {op['http'].get('responseCode', 200)}"


def lines(model, ec2):
    shapes = model["shapes"]
    rest = model["metadata"]["protocol"].startswith("rest-")
    for name, op in sorted(model["operations"].items()):
        output = op.get("output", {})
        out = output.get("shape", "-") + (f"/{output['resultWrapper']}" if "resultWrapper" in output else "")
        yield f"op {name} {op.get('input', {}).get('shape', '-')} {out}" + (route(op) if rest else "")
    for name, shape in sorted(shapes.items()):
        kind = shape["type"]
        if kind == "structure":
            if not shape.get("exception"):
                yield f"struct {name}"
                yield from members(shape, ec2, rest)
        elif kind == "list":
            # None of these services has flattened lists in its answers; the format has no word for them.
            assert not shape.get("flattened"), name
            item = shape["member"].get("locationName", "item" if ec2 else "member")
            yield f"list {name} {shape['member']['shape']} {item}"
        elif name == "summaryMapType":
            # The one map of IAM that an action here answers: as the list of entries that it is on the wire.
            yield f"struct summaryMapEntry\n  key {shape['key']['shape']} key key\n  value {shape['value']['shape']} value value"
            yield f"list {name} summaryMapEntry entry"
        elif kind == "map":
            yield f"map {name} {shape['key']['shape']} {shape['value']['shape']}"
        else:
            yield f"scalar {name} {kind}"


def main():
    for service, path in MODELS.items():
        file = os.path.join(os.path.dirname(botocore.__file__), "data", path, "service-2.json.gz")
        model = json.loads(gzip.open(file).read())
        with open(os.path.join(sys.argv[1], service + ".txt"), "w") as out:
            out.write("\n".join(lines(model, service == "ec2")) + "\n")


main()
