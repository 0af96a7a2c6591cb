"""The declared functions are declared as the sample kernel's BTF has them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drgn import Program, Type

from crashkit.crash import Crash
from crashkit.symbols.prototypes_table import PROTOTYPES

pytestmark = pytest.mark.sample

ASKED_FOR_ALONE = {"vmemmap_populate"}  # its parameters changed; nobody reads them


def test_rows_are_what_btf_says(sample: Callable[[str], Crash]) -> None:
    prog = sample("clash-ct-net").prog
    checked = 0
    for name, (returned, parameters) in PROTOTYPES.items():
        if name in ASKED_FOR_ALONE:
            continue
        try:
            found = prog.function(name).type_
        except LookupError:
            continue  # inlined, or not built
        assert same(prog, found.type, returned), name
        told = found.parameters
        assert [parameter.name for parameter in told] == [shown for _, shown in parameters], name
        for parameter, (type_name, _) in zip(told, parameters, strict=True):
            assert same(prog, parameter.type, type_name), name
        checked += 1
    assert checked >= 5


def same(prog: Program, found: Type, name: str) -> bool:
    declared = prog.void_type() if name == "void" else prog.type(name)
    return str(found.type_name()) == str(declared.type_name())
