"""``crashkit explain`` and ``crashkit dis`` on a committed sample."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.samples.conftest import SAMPLES

VMCORE = SAMPLES / "clash-ct-net" / "vmcore"
FUNCTION = "nf_ct_deliver_cached_events"


def run(*words: object) -> subprocess.CompletedProcess[str]:
    code = "import sys; from crashkit.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent.parent,
    )


@pytest.fixture(scope="module")
def listing() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run("dis", VMCORE, FUNCTION, "--json").stdout)
    return document


def test_a_function_is_listed_with_members_and_the_trapping_line(listing: dict[str, Any]) -> None:
    trapping = [line for line in listing["lines"] if line["trapping"]]
    assert [line["offset"] for line in trapping] == [0x32]
    assert trapping[0]["comments"] == ["ct->ct_net->ct.nf_conntrack_event_cb"]
    assert listing["missing_bytes"] == 0
    ends = [int(x["address"], 16) + len(x["bytes"].split()) for x in listing["lines"]]
    starts = [int(x["address"], 16) for x in listing["lines"]]
    assert ends[:-1] == starts[1:]


def test_the_text_marks_it_as_decodecode_does() -> None:
    text = run("dis", VMCORE, FUNCTION).stdout
    (line,) = [x for x in text.splitlines() if x.endswith("<-- trapping instruction")]
    assert line.startswith("* 0x")
    assert "mov 0x910(%rax),%rax" in line
    assert "# ct->ct_net->ct.nf_conntrack_event_cb" in line


def test_up_to_an_address(listing: dict[str, Any]) -> None:
    done = run("dis", VMCORE, f"nf_conntrack:{FUNCTION}+0x32/0xcc", "-r")
    lines = done.stdout.splitlines()
    assert len(lines) == [line["offset"] for line in listing["lines"]].index(0x32) + 1
    assert f"<{FUNCTION}+0x32>" in lines[-1]
    assert lines[-1].startswith("*>")


def test_in_the_other_syntax() -> None:
    text = run("dis", VMCORE, FUNCTION, "--syntax", "intel").stdout
    assert "mov rax, qword ptr [rax + 0x910]" in text


@pytest.mark.parametrize(
    ("place", "code", "words"),
    [
        ("no_such_function", 4, "no symbol of that name"),
        ("???", 2, "neither a symbol"),
        (f"{FUNCTION}+0x33 -r", 2, "neither a symbol"),
        ("ffffffffffff0000", 4, "no symbol is there"),
    ],
)
def test_a_place_that_is_none_is_said(place: str, code: int, words: str) -> None:
    done = run("dis", VMCORE, place)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_middle_of_an_instruction_is_said() -> None:
    done = run("dis", VMCORE, f"{FUNCTION}+0x33", "-r")
    assert done.returncode == 2
    assert "no instruction of the function starts at" in done.stderr


def test_explain_gives_the_fault_of_the_report() -> None:
    explained = json.loads(run("explain", VMCORE, "--json").stdout)
    report = json.loads(run("triage", VMCORE, "--json").stdout)
    assert explained["schema"] == "crashkit.explain/1"
    assert explained["fault"] == report["fault"]
    text = run("explain", VMCORE, "-v").stdout
    assert "ct->ct_net was 0 at the fault" in " ".join(text.split())
    assert "REGISTERS" in text
