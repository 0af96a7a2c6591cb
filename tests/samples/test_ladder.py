"""How far a damaged dump leads: each rung by itself, and what the kernel printed instead."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import drgn
import pytest

from crashkit.crash import Crash, open_crash, opening
from crashkit.doctor import Rung
from crashkit.pipeline import triage
from crashkit.recipe import Recipes
from crashkit.report import build_bt, render_bt
from crashkit.symbols import find_symbol
from crashkit.target import Target, open_program
from tests.samples.conftest import SAMPLES, mask

pytestmark = pytest.mark.sample

VMCORE = SAMPLES / "clash-ct-net" / "vmcore"
RUN = "import sys; from crashkit.cli import main; sys.exit(main())"
NO_RECIPES = Recipes(recipes=())
OK = {"log": "yes", "system": "yes", "stacks": "yes", "types": "yes"}


def at(name: str) -> Callable[[Crash], int]:
    def find(crash: Crash) -> int:
        symbol = find_symbol(crash.prog, name)
        assert symbol is not None
        return symbol.address

    return find


def stack_page(crash: Crash) -> int:
    return crash.outer_frames[1].slot or 0


LOSSES: tuple[tuple[str, Callable[[Crash], int], dict[str, str]], ...] = (
    ("the log's head", at("prb"), {"log": "no"}),
    ("the crashed task", lambda crash: crash.thread.task or 0, {"stacks": "no"}),
    ("BTF", at("__start_BTF"), {"stacks": "no", "types": "partly"}),
    ("the stack above the fault", stack_page, {"stacks": "partly"}),
    ("one slab cache", at("slab_caches"), {}),
)


@pytest.fixture(scope="module")
def whole() -> Crash:
    return open_crash(VMCORE, types="btf")


def damaged(monkeypatch: pytest.MonkeyPatch, *pages: int) -> Crash:
    """Open the sample without these pages."""

    def open_damaged(target: Target) -> drgn.Program:
        prog = open_program(target)
        for page in pages:
            mask(prog, page)
        return prog

    monkeypatch.setattr(opening, "open_program", open_damaged)
    return open_crash(VMCORE, types="btf")


def crashkit(*words: object, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", RUN, *map(str, words)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
        text=True, timeout=120, cwd=SAMPLES.parent, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("what", "find", "lost"), LOSSES, ids=[loss[0] for loss in LOSSES])
def test_each_rung_by_itself(
    whole: Crash,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    find: Callable[[Crash], int],
    lost: dict[str, str],
) -> None:
    told: list[Rung] = []
    with damaged(monkeypatch, find(whole)) as crash:
        report = triage(crash, recipes=NO_RECIPES, reached=told.append)
        text = report.text()
    assert {rung["what"]: rung["reached"] for rung in report["ladder"]} == OK | lost
    assert [rung.what for rung in told] == ["log", "system", "stacks", "types"]
    for rung in report["ladder"]:
        assert rung["detail"]
        assert (rung["reason"] is None) == (rung["reached"] == "yes")
        assert rung["remedy"] or rung["reached"] == "yes"
    assert ("REACHED" in text) == ("no" in lost.values())
    printed = lost.get("stacks") == "no"
    assert ("STACK as the kernel printed it" in text) == printed
    if printed:
        assert "#1   nf_confirm+0xd2 [nf_conntrack]" in text
    assert ("beyond it, as the kernel printed it: nf_confirm" in text) == (
        lost.get("stacks") == "partly"
    )


def test_bt_prints_the_trace_of_the_log(whole: Crash, monkeypatch: pytest.MonkeyPatch) -> None:
    from crashkit.crash import FoldedStack

    with damaged(monkeypatch, whole.thread.task or 0) as crash:
        stacks = (FoldedStack(stacks=(crash.crashed_stack,)),)
        text = render_bt(build_bt(crash, stacks))
    assert "(no stack trace: " in text
    assert "(as the kernel printed it" in text
    assert " #1 nf_confirm+0xd2 [nf_conntrack]" in text


def test_a_whole_dump_prints_no_ladder(whole: Crash) -> None:
    report = triage(whole, recipes=NO_RECIPES)
    assert {rung["what"]: rung["reached"] for rung in report["ladder"]} == OK
    assert report["printed_rest"] == []
    assert "REACHED" not in report.text()


def test_types_demanded_and_not_to_be_had() -> None:
    done = crashkit("triage", VMCORE, "--types", "dwarf")
    assert done.returncode == 4
    assert "no vmlinux with build id" in done.stderr
    rows = [
        line.split()[:2] for line in done.stdout.splitlines() if line[5:7] in ("+ ", "~ ", "- ")
    ]
    assert rows == [["+", "log"], ["+", "system"], ["-", "stacks"], ["-", "types"]]
    assert "/debuginfo" in done.stdout
    assert "nf_confirm+0xd2 [nf_conntrack]" in done.stdout


def test_a_dump_that_cannot_be_opened_and_the_log_beside_it(tmp_path: Path) -> None:
    (tmp_path / "vmcore").write_bytes(VMCORE.read_bytes()[:2000])
    alone = crashkit("triage", tmp_path / "vmcore")
    assert (alone.returncode, alone.stdout) == (3, "")
    console = (SAMPLES / "clash-ct-net" / "console.txt").read_text()
    (tmp_path / "vmcore-dmesg.txt").write_text(console)
    for path in (tmp_path, tmp_path / "vmcore"):
        done = crashkit("triage", path)
        assert done.returncode == 3
        assert "going on with vmcore-dmesg.txt" in done.stderr
        assert done.stdout.startswith(
            "BUG: unable to handle kernel NULL pointer dereference in nf_"
        )


@pytest.mark.parametrize(
    ("words", "told"),
    [((), True), (("-q",), False), (("--json",), True), (("-q", "-v"), False)],
)
def test_progress_on_a_terminal(words: tuple[str, ...], told: bool) -> None:
    main, side = pty.openpty()
    done = crashkit("triage", VMCORE, *words, stderr=side)
    os.close(side)
    shown = b""
    while True:
        try:
            piece = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(main)
    lines = shown.decode().splitlines()
    assert done.returncode == 0
    heads = [line.split(":")[1].strip() for line in lines]
    assert heads == (["log", "system", "stacks", "types"] if told else [])


def test_no_progress_off_a_terminal_unless_asked() -> None:
    assert crashkit("triage", VMCORE).stderr == ""
    asked = crashkit("triage", VMCORE, "-v").stderr.splitlines()
    assert [line.split(":")[1] for line in asked] == [" log", " system", " stacks", " types"]
    doctor = crashkit("doctor", VMCORE, "-v")
    assert doctor.stderr.splitlines() == asked
