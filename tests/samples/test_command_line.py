"""The command line on the real sample, whole and damaged: exit codes, one clear sentence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from crashkit.report import report_schema
from tests.samples.conftest import SAMPLES, run_command

pytestmark = pytest.mark.sample

VMCORE = SAMPLES / "clash-ct-net" / "vmcore"


def crashkit(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as a person does."""
    return run_command(*words)


def test_triage_text_explains_before_it_shows() -> None:
    done = crashkit("triage", VMCORE)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == (
        "BUG: unable to handle kernel NULL pointer dereference in nf_ct_deliver_cached_events"
    )
    order = [
        next(n for n, line in enumerate(lines) if line.startswith(word))
        for word in ("WHAT", "MATCH", "FIX", "FAULT", "EVIDENCE", "HISTORY ~", "STACK", "PACKET")
    ]
    assert order == sorted(order)
    assert "9 of 9 required checks hold: CONFIRMED" in done.stdout
    assert "this kernel: not fixed" in done.stdout
    assert max(map(len, lines)) <= 110
    assert "\x1b" not in done.stdout


def test_json_is_valid_and_the_same_twice() -> None:
    documents = []
    for _ in range(2):
        done = crashkit("triage", "--json", VMCORE)
        assert done.returncode == 0
        document = json.loads(done.stdout)
        jsonschema.validate(document, report_schema())
        document.pop("timing_s")
        documents.append(document)
    assert documents[0] == documents[1]
    assert documents[0]["findings"][0]["verdict"] == "confirmed"
    assert documents[0]["fault"]["memory_disagrees"] is True
    assert all(re.fullmatch("0x[0-9a-f]+", v) for v in documents[0]["fault"]["registers"].values())


@pytest.mark.parametrize("percent", [1, 50, 99])
def test_cut_dump_gives_a_partial_report(tmp_path: Path, percent: int) -> None:
    data = VMCORE.read_bytes()
    cut = tmp_path / "vmcore"
    cut.write_bytes(data[: len(data) * percent // 100])
    done = crashkit("triage", cut)
    assert done.returncode == 5, done.stderr
    assert "truncated" in done.stderr
    assert "CONFIRMED" not in done.stdout
    assert "RELEASE: 6.1.192-crashkit" in done.stdout
    assert "LACKS" in done.stdout or percent == 99


def test_garbled_vmcoreinfo_cannot_be_opened(tmp_path: Path) -> None:
    data = bytearray(VMCORE.read_bytes())
    start = data.index(b"OSRELEASE=")
    data[start : start + 400] = bytes((7 * n + 13) & 0xFF for n in range(400))
    garbled = tmp_path / "vmcore"
    garbled.write_bytes(data)
    done = crashkit("triage", garbled)
    assert (done.returncode, done.stdout) == (3, "")
    assert "OSRELEASE" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("triage", "/nonexistent/vmcore"), 3, "does not exist"),
        (("conntrack", "samples/clash-ct-net/console.txt"), 3, "is a log without a dump"),
        (("triage", sys.executable), 3, "not a dump"),
        (("triage", "docs"), 3, "no dump"),
        (("triage", "/proc/kcore"), 2, "running kernel"),
        (("triage", VMCORE, "-o", "/nonexistent/report"), 2, "cannot be written"),
        (("triage", VMCORE, "--types", "dwarf"), 4, "no vmlinux with build id"),
        (("triage", VMCORE, "--format", "html"), 2, "not built yet"),
        (("run", "no-such-recipe", VMCORE), 2, "recipes list"),
        (("triage", VMCORE, "--recipes", "/nonexistent"), 2, "is not a directory"),
    ],
)
def test_bad_input_is_one_sentence(words: tuple[object, ...], code: int, says: str) -> None:
    done = crashkit(*words)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_directory_of_a_dump_is_searched() -> None:
    assert crashkit("run", "nf-conntrack-clash-stale-ct", VMCORE.parent).returncode == 0


def test_broken_recipe_is_shown_and_the_report_still_printed(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def broken(:\n")
    done = crashkit("triage", VMCORE, "--recipes", tmp_path)
    assert done.returncode == 1
    assert "CONFIRMED" in done.stdout
    assert "bad.py:1" in done.stdout


def test_bt_and_log() -> None:
    bt = crashkit("bt", VMCORE)
    assert bt.returncode == 0
    row = r"^ #7 \[[0-9a-f]{16}\] nf_confirm at [0-9a-f]{16} \[nf_conntrack\]$"
    assert re.search(row, bt.stdout, re.MULTILINE)
    assert "[exception RIP: nf_ct_deliver_cached_events+50]" in bt.stdout
    log = crashkit("log", VMCORE)
    assert log.returncode == 0
    assert "BUG: kernel NULL pointer dereference, address: 0000000000000910" in log.stdout
