"""Every global that crashkit asks for by name can be had without DWARF."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crashkit.crash import Crash
from crashkit.symbols.globals_table import GLOBALS, PER_CPU
from tests.samples.conftest import SAMPLES

pytestmark = pytest.mark.sample

TOP = SAMPLES.parent
# Names of kernels that the sample is not, each beside its alternative in the code.
OTHER_KERNELS = {"pcpu_hot"}


def names_asked_for() -> Iterator[tuple[str, str]]:
    """(name, file) of every ``prog["name"]`` in the library and the recipes."""
    for folder in ("crashkit", "recipes"):
        for path in sorted(Path(TOP, folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Constant):
                    continue
                owner = ast.unparse(node.value)
                if isinstance(node.slice.value, str) and owner.rsplit(".", 1)[-1] in (
                    "prog",
                    "prog_",
                    "_prog",
                ):
                    yield node.slice.value, str(path.relative_to(TOP))


def test_names_have_a_type_without_dwarf(sample: Callable[[str], Crash]) -> None:
    prog = sample("clash-ct-net").prog
    missing = []
    asked = sorted(set(names_asked_for()))
    assert len(asked) >= 8
    for name, file in asked:
        if name in GLOBALS or name in PER_CPU or name in OTHER_KERNELS:
            continue
        try:
            prog[name]  # an enumerator, a per-CPU variable, or drgn's own
        except KeyError:
            missing.append(f"{name} ({file})")
    assert not missing, "add a row to crashkit/symbols/globals_table.py"


def test_rows_of_this_kernel_have_their_types(sample: Callable[[str], Crash]) -> None:
    crash = sample("clash-ct-net")
    from crashkit.symbols import find_symbol

    untyped = []
    for name in GLOBALS:
        if find_symbol(crash.prog, name) is None:
            continue
        try:
            crash.prog[name]
        except KeyError:
            untyped.append(name)
    assert not untyped
