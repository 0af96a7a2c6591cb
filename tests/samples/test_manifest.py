"""Every sample is whole, described, small enough, and nothing else that is large is in git."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from crashkit.recipe import load_recipes
from tests.samples.conftest import NAMES, SAMPLES, read_toml

LARGEST_SAMPLE = 10 << 20
LARGEST_OTHER = 256 << 10
FILES = {"vmcore", "console.txt", "sample.toml", "expected.toml"}


def test_there_is_a_sample() -> None:
    assert "clash-ct-net" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_sample_is_whole(name: str) -> None:
    described = read_toml(name, "sample.toml")
    is_made_of_numbers = "reconstructed" in described
    files = FILES | ({"vmlinux"} if is_made_of_numbers else set())
    assert {path.name for path in (SAMPLES / name).iterdir()} == files
    vmcore = (SAMPLES / name / "vmcore").read_bytes()
    assert described["name"] == name
    assert described["vmcore"]["size"] == len(vmcore) <= LARGEST_SAMPLE
    assert described["vmcore"]["sha256"] == hashlib.sha256(vmcore).hexdigest()
    guest = "reconstructed" if is_made_of_numbers else "guest"
    for key in ("command", "date", "kernel", guest, "licence", "tools"):
        assert described[key], f"sample.toml does not say its {key}"
    assert described["kernel"]["kaslr"] is True


@pytest.mark.parametrize("name", NAMES)
def test_expected_verdicts_name_known_recipes(name: str) -> None:
    known = {recipe.meta.id for recipe in load_recipes().recipes}
    assert set(read_toml(name, "expected.toml")["recipes"]) <= known


@functools.cache
def lab_scenarios() -> frozenset[str]:
    """Names of the crashes that the lab makes."""
    words = [sys.executable, str(SAMPLES / "lab"), "--list"]
    listed = subprocess.run(words, capture_output=True, check=True, text=True).stdout
    rows = [line for line in listed.splitlines() if line.startswith("  ")]
    return frozenset(line.split()[0] for line in rows)


def test_recipes_name_known_samples() -> None:
    for recipe in load_recipes().recipes:
        named = {*recipe.meta.matches, *recipe.meta.rejects}
        assert named <= {*NAMES, *lab_scenarios()}, recipe.meta.id
        for name in {*recipe.meta.matches} & {*NAMES}:
            assert read_toml(name, "expected.toml")["recipes"][recipe.meta.id] == "confirmed"


def test_no_other_large_file_is_in_git() -> None:
    top = SAMPLES.parent
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=top, capture_output=True, check=True, text=True
    ).stdout.split("\0")
    dumps = {f"samples/{name}/vmcore" for name in NAMES}
    large = [
        name
        for name in listed
        if name and name not in dumps and Path(top, name).is_file()
        and Path(top, name).stat().st_size > LARGEST_OTHER
    ]  # fmt: skip
    assert not large
