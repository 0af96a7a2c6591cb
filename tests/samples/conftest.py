"""The committed samples, opened once; and the same dumps with pages taken away."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import drgn
import pytest

from crashkit.crash import Crash, open_crash

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
NAMES = sorted(path.parent.name for path in SAMPLES.glob("*/sample.toml"))
PAGE = 4096


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
