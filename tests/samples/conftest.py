"""The committed samples, opened once; and the same dumps with pages taken away."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import drgn
import pytest

from crashkit.crash import Crash, open_crash
from crashkit.finding import Finding, Role

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
NAMES = sorted(path.parent.name for path in SAMPLES.glob("*/sample.toml"))
PAGE = 4096
_RUN = "import sys; from crashkit.cli import main; sys.exit(main())"


def read_toml(name: str, file: str) -> dict[str, Any]:
    """One of a sample's description files."""
    return tomllib.loads((SAMPLES / name / file).read_text())


def open_sample(name: str, masked: tuple[int, ...] = ()) -> Crash:
    """Open a sample, with the pages of these addresses taken out of the dump."""
    vmlinux = SAMPLES / name / "vmlinux"  # of a reconstructed kernel, which has no BTF
    if vmlinux.exists():
        crash = open_crash(SAMPLES / name / "vmcore", symbols=[vmlinux])
    else:
        crash = open_crash(SAMPLES / name / "vmcore", types="btf")
    for address in masked:
        mask(crash.prog, address)
    return crash


def required_pages(found: Finding) -> set[int]:
    """The pages that the values of a finding's required checks were read from."""
    return {
        value.address & ~(PAGE - 1)
        for check in found.checks
        if check.role is Role.NECESSARY
        for value in check.values
        if value.address is not None
    }


def run_command(*words: object) -> subprocess.CompletedProcess[str]:
    """Run ``crashkit`` as a person would, in the checkout's folder."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=SAMPLES.parent,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def mask(prog: drgn.Program, address: int) -> None:
    """Make the page of ``address`` unreadable, as if the dump had not kept it."""
    page = address & ~(PAGE - 1)

    def read(at: int, count: int, offset: int, physical: bool) -> bytes:
        raise drgn.FaultError("page taken out by the test", at)

    prog.add_memory_segment(page, PAGE, read)


@pytest.fixture(scope="session")
def sample() -> Iterator[Callable[[str], Crash]]:
    """Open a sample once for all tests of a session."""
    crashes: dict[str, Crash] = {}

    def open_one(name: str) -> Crash:
        if name not in crashes:
            crashes[name] = open_sample(name)
        return crashes[name]

    yield open_one
    for crash in crashes.values():
        crash.close()
