"""Dumps made by samples/lab, named by CRASHKIT_LAB_CORES (see .ci/lab-cores)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crashkit.crash import Crash, open_crash

FOLDER = "CRASHKIT_LAB_CORES"


def lab_folder() -> Path:
    """The folder of the lab's dumps; skips, saying why, when there is none."""
    named = os.environ.get(FOLDER)
    if not named:
        pytest.skip(f"{FOLDER} does not name dumps of samples/lab; .ci/lab-cores makes them")
    return Path(named)


def lab_vmcore(name: str) -> Path:
    """One dump; skips only if the lab's folder was made without it."""
    path = lab_folder() / name / "vmcore"
    if not path.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{FOLDER} has no {name}/vmcore, and CI skips nothing")
        pytest.skip(f"{FOLDER} has no {name}/vmcore")
    return path


def full_folder(name: str) -> Path:
    """The folder of a dump that only .ci/full has to make; skips, saying so, where it is not."""
    folder = lab_folder() / name
    if not (folder / "vmcore").is_file():
        pytest.skip(f"{name} is made by .ci/full")
    return folder


def made(opened: Callable[..., Crash], name: str) -> Crash:
    """Open a dump that only .ci/full has to make; skips, saying so, where it is not."""
    full_folder(name)
    return opened(name)


@pytest.fixture(scope="session")
def opened() -> Iterator[Callable[..., Crash]]:
    """Open a lab dump once for all tests of a session."""
    crashes: dict[tuple[str, str], Crash] = {}

    def open_one(name: str, types: str = "btf") -> Crash:
        key = (name, types)
        if key not in crashes:
            directory = debug_directory() if types == "dwarf" else None
            crashes[key] = open_crash(lab_vmcore(name), types=types, debug_directory=directory)
        return crashes[key]

    yield open_one
    for crash in crashes.values():
        crash.close()


def debug_directory() -> Path:
    """Where the lab unpacked the 6.1 kernel's -dbg package."""
    note = lab_folder() / "debuginfo-6.1"
    if not note.is_file():
        pytest.fail(f"{note} is missing; .ci/lab-cores writes it")
    return Path(note.read_text().strip())
