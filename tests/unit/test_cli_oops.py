"""crashkit oops: every report of a log, from a file, a directory or standard input."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from crashkit.cli import oops
from crashkit.cli.app import app
from crashkit.report import oops_schema
from tests.unit.test_report_text_alone import LOG

RUNNER = CliRunner()
WARNING = """\
[    0.100000] ------------[ cut here ]------------
[    0.100001] WARNING: CPU: 0 PID: 1 at drivers/x.c:7 early+0x1/0x10
[    0.100002] CPU: 0 PID: 1 Comm: init Not tainted 6.1.0 #1
[    0.100003] Call Trace:
[    0.100004]  start_kernel+0x1/0x10
[    0.100005] ---[ end trace 0000000000000000 ]---
"""
PANIC = "[    1.600000] Kernel panic - not syncing: Fatal exception\n"


@pytest.fixture(autouse=True, scope="module")
def registered() -> None:
    if not any(one.name == "oops" for one in app.registered_commands):
        oops.register()


def document(*words: str, given: bytes | None = None) -> dict[str, Any]:
    result = RUNNER.invoke(app, ["oops", "--json", *words], input=given)
    assert result.exit_code == 0, result.output
    made: dict[str, Any] = json.loads(result.stdout)
    jsonschema.validate(made, oops_schema())
    return made


def titles(made: dict[str, Any]) -> list[str]:
    return [one["title"] for one in made["reports"]]


CAUSE = "BUG: unable to handle kernel paging request in owner_rate"


def test_the_first_cause_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(WARNING + LOG.replace("    1.5", "   40.5") + PANIC)
    made = document(str(path))
    assert titles(made) == [CAUSE, "WARNING in early"]
    assert made["ended"] == 0
    first = made["reports"][0]
    assert first["panic_reason"] == "Fatal exception"
    assert first["line"] == 8
    assert first["fault"]["instruction"] == "mov 0x1c(%rax),%eax"
    assert first["trace"][0]["function"] == "owner_rate"
    assert first["registers"]["rax"] == "0x7000003f6"
    assert first["modules"][0] == {"name": "shop", "taint": ["O", "E"]}


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input(packed: bool) -> None:
    given = gzip.compress(LOG.encode()) if packed else LOG.encode()
    made = document("-", given=given)
    assert titles(made) == [CAUSE]
    assert made["path"] == "-"


def test_a_dump_on_standard_input_is_refused() -> None:
    result = RUNNER.invoke(app, ["oops", "-"], input=b"KDUMP   " + bytes(5000))
    assert result.exit_code == 3


def test_records_of_pstore(tmp_path: Path) -> None:
    lines = LOG.splitlines(keepends=True)
    for part, piece in ((3, lines[:8]), (2, lines[8:16]), (1, lines[16:])):
        text = f"Oops#1 Part{part}\n" + "".join(piece)
        (tmp_path / f"dmesg-efi-17000000000{part}001").write_text(text)
    made = document(str(tmp_path))
    assert titles(made) == [CAUSE]
    assert made["reports"][0]["trace"][-1]["function"] == "entry_SYSCALL_64_after_hwframe"


def test_a_log_without_a_report(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("[    0.000000] Linux version 6.1.0\n")
    assert document(str(path))["reports"] == []
    result = RUNNER.invoke(app, ["oops", str(path)])
    assert result.stdout.startswith("No report")


def test_a_cut_file_is_partial(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(LOG.encode() * 20)[:-9])
    assert RUNNER.invoke(app, ["oops", str(path)]).exit_code == 5


def test_a_missing_file(tmp_path: Path) -> None:
    assert RUNNER.invoke(app, ["oops", str(tmp_path / "none")]).exit_code == 3


def test_text(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(LOG + "\x1b[31m\n")
    short = RUNNER.invoke(app, ["oops", str(path)]).stdout
    assert short.startswith(f"{CAUSE}\n  page-fault, line 2, 1.500000 s, key ")
    assert "    RIP owner_rate+0x9/0x20 [shop]\n" in short
    assert "RAX" not in short
    assert "\x1b" not in short
    assert "left_over" not in short
    long = RUNNER.invoke(app, ["oops", "-v", str(path)]).stdout
    assert "RAX: 00000007000003f6" in long
    assert "  modules  shop(OE) nf_conntrack" in long
    assert "? left_over" in long
