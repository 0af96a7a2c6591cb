"""``crashkit doctor`` on a committed sample, whole and cut."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.samples.conftest import SAMPLES

VMCORE = SAMPLES / "clash-ct-net" / "vmcore"
ROOT = Path(__file__).parent.parent.parent


def doctor(path: Path) -> dict[str, Any]:
    code = "import sys; from crashkit.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "doctor", str(path), "--json", "-q"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode in (0, 4, 5), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_whole_dump_answers_all_but_what_was_left_out() -> None:
    found = doctor(VMCORE)
    assert found["schema"] == "crashkit.doctor/1"
    lacking = {a["question"]: a["lacks"] for a in found["answers"] if a["answered"] != "yes"}
    assert lacking == {
        "arguments of processes": ["user memory"],
        "source lines and inlined functions": ["DWARF"],
    }
    assert {h["what"]: h["reason"] for h in found["holds"] if h["state"] != "there"} == {
        "user memory": "not-in-dump"
    }
    assert found["left_out"][-1] == "free pages"
    build_id = found["target"]["build_id"]
    assert all(f"/buildid/{build_id}/" in url for url in found["offer"]["urls"])


def test_a_cut_dump_says_what_is_lost(tmp_path: Path) -> None:
    cut = tmp_path / "vmcore-incomplete"
    cut.write_bytes(VMCORE.read_bytes()[:300_000])
    found = doctor(cut)
    assert found["target"]["truncated"]
    by_question = {answer["question"]: answer for answer in found["answers"]}
    where = by_question["where it crashed (bt)"]
    assert where["answered"] == "no"
    assert "symbols" in where["lacks"]
    assert where["remedy"] == "a dump that is whole"


def test_the_log_beside_a_cut_dump_is_used(tmp_path: Path) -> None:
    (tmp_path / "vmcore-incomplete").write_bytes(VMCORE.read_bytes()[:300_000])
    console = (SAMPLES / "clash-ct-net" / "console.txt").read_text()
    (tmp_path / "vmcore-dmesg.txt").write_text(console)
    found = doctor(tmp_path)
    states = {holding["what"]: holding["state"] for holding in found["holds"]}
    assert (states["kernel log"], states["crash report in it"]) == ("there", "there")
    assert any("vmcore-dmesg.txt" in limit["what"] for limit in found["limits"])
    # The log of another kernel is not this dump's.
    (tmp_path / "vmcore-dmesg.txt").write_text(
        "[    0.000000] Linux version 5.10.0-1-amd64 (x@y) \n" + console.split("\n", 1)[1]
    )
    other = {h["what"]: h["state"] for h in doctor(tmp_path)["holds"]}
    assert other["kernel log"] == "absent"


@pytest.mark.parametrize("name", ["/proc/kcore", "nothing-here"])
def test_what_cannot_be_opened_is_one_sentence(name: str) -> None:
    code = "import sys; from crashkit.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "doctor", name]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode in (2, 3)
    assert done.stderr.startswith("crashkit: ")
    assert "Traceback" not in done.stderr
