"""The samples' console logs without their dumps: consistent with what the dumps confirm."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from crashkit.crash import open_crash
from crashkit.pipeline import triage
from crashkit.report import render_json, render_text, report_schema
from tests.samples.conftest import SAMPLES

pytestmark = pytest.mark.sample

OWN = {
    "clash-ct-net": {"nf-conntrack-clash-stale-ct"},
    "clash-el7": {"nf-conntrack-clash-stale-ct"},
    "table-full": {"nf-conntrack-table-full"},
    "kind-uaflist": set(),  # nor that an object is free
    "conncount-growth": set(),  # nothing in the log tells how long a list is
}


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*/console.txt")), ids=lambda p: p.parent.name)
def test_console(path: Path) -> None:
    with open_crash(path) as crash:
        report = triage(crash)
    document = report.document
    verdicts = {finding["recipe"]: finding["verdict"] for finding in document["findings"]}
    assert "confirmed" not in verdicts.values()
    assert {name for name, said in verdicts.items() if said == "inconclusive"} == OWN[
        path.parent.name
    ]
    assert document["errors"] == []
    assert document["collect"]
    assert report.exit_code == 0
    jsonschema.validate(json.loads(render_json(document)), report_schema())
    for verbose in (0, 1, 2):
        assert all(line.isprintable() for line in render_text(document, verbose).split("\n"))


def test_the_trace_of_the_log_is_the_stack_of_the_dump() -> None:
    folder = SAMPLES / "clash-ct-net"
    with open_crash(folder / "console.txt") as crash:
        printed = triage(crash).document["frames"]
    with open_crash(folder / "vmcore") as crash:
        unwound = triage(crash).document["frames"]
    sure = [frame["function"] for frame in printed if frame["how"] == "printed"]
    physical = [frame for frame in unwound if not frame["inlined"]]
    start = next(n for n, frame in enumerate(physical) if frame["function"] == sure[0])
    assert sure == [frame["function"] for frame in physical[start:]][: len(sure)]
