"""Requests that schemathesis makes out of the description."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .world import Client, Refill, fill

# These may only hit what nobody else needs.
SCRATCH = {"create_collection", "delete_collection", "recover_from_snapshot", "recover_from_uploaded_snapshot"}
CHECKS = ["only_documented_5xx", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]


def aimed(description: dict[str, Any]) -> dict[str, Any]:
    """The description with names that are there, since a random one is answered by 404 whatever else is said."""
    for item in description["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] == "collection_name":
                    names = ["scratch", "other"] if operation["operationId"] in SCRATCH else ["docs", "docs", "scratch"]
                    parameter["schema"] = {"type": "string", "enum": sorted(set(names))}
                if parameter["name"] == "id" and "/points/" in str(operation["operationId"]):
                    parameter["schema"] = {"type": "string", "enum": ["1", "2", "x"]}
    return description


def run(client: Client, url: str, work: Path, examples: int, seed: int) -> bool:
    """Whether all was well."""
    fill(client)
    _, content = client.send("GET", "/openapi.json")
    description, counts = work / "openapi.json", work / "counts.json"
    description.write_text(json.dumps(aimed(json.loads(content))))
    counts.unlink(missing_ok=True)
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "fuzz.hooks", "ENGRAM_FUZZ_COUNTS": str(counts), "PYTHONPATH": "."}
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", str(description), "--url", url, "--seed", str(seed), "--max-examples", str(examples),
        "--phases", "examples,coverage,fuzzing", "--checks", ",".join(CHECKS), "--continue-on-failure", "--workers", "2", "--no-shrink",
        "--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off", "--no-color", "--request-timeout", "60",
    ]
    with Refill(url) as refill:
        done = subprocess.run(command, env=environment, check=False)
    if counts.exists():
        client.statuses.update({int(status): number for status, number in json.loads(counts.read_text()).items()})
    client.statuses.update(refill.client.statuses)
    client.wrong += refill.client.wrong
    return done.returncode == 0
