"""Micro-functions with known answers: one for every rule of the analysis."""

from __future__ import annotations

import pytest

from crashkit.dataflow import Dataflow, analyse, saves_at
from crashkit.dataflow.extents import Variables
from crashkit.disasm import disassemble, recognise
from tests.soundness.functions_file import (
    Function,
    all_functions,
    assemble,
    can_assemble,
    written,
)

BASE = 0xFFFF_FFFF_8100_0000
FUNCTIONS = all_functions()


def by_name(function: Function) -> str:
    return function.name


def analysed(function: Function) -> tuple[Dataflow, list[int]]:
    """The analysis, and the address of each line of source."""
    names = {BASE + int(at, 16): name for at, name in function.said("name")}
    warns = function.has("warn")
    decoded = disassemble(function.code, BASE)
    listing = recognise(decoded, name_at=names.get, is_warning=lambda _: warns, entry=BASE)
    addresses = [instruction.address for instruction in listing]
    assert len(addresses) == len(function.source)
    edges = {
        addresses[function.labels[start]]: [addresses[function.labels[end]]]
        for start, end in function.said("edge")
    }
    sizes = {register: int(size) for register, size in function.said("pointee")}
    extents, unplaced = (
        [(int(first), int(end)) for first, end in function.said(word)]
        for word in ("variable", "local")
    )
    known = Variables.of(extents, unplaced) if extents or unplaced else None
    flow = analyse(
        listing,
        exception_edges=edges,
        find_variables=lambda: known,
        pointee=lambda _, register: sizes.get(register),
    )
    return flow, addresses


@pytest.mark.parametrize("function", FUNCTIONS, ids=by_name)
def test_known_answers(function: Function) -> None:
    flow, addresses = analysed(function)
    assert flow.complete is not function.has("incomplete")
    for number, answer in function.answers:
        assert holds(flow, addresses[number], answer), f"{function.source[number]}: {answer}"


def holds(flow: Dataflow, address: int, answer: str) -> bool:
    """Whether an answer holds before an instruction."""
    word, *rest = answer.split()
    if word in ("save", "nosave"):
        return (rest[0] in saves_at(flow, address)) is (word == "save")
    relation, term = rest
    if relation not in ("=", "!="):
        raise ValueError(answer)
    found = written(flow.state_before(address).register(word))
    # What has a name only of this analysis ("?") equals nothing known.
    return (found == term) is (relation == "=")


@pytest.mark.parametrize("function", FUNCTIONS, ids=by_name)
@pytest.mark.skipif(not can_assemble(), reason="GNU as is not here")
def test_bytes_are_of_their_source(function: Function) -> None:
    assert assemble(function) == function.code


def test_every_function_has_an_answer() -> None:
    silent = [f.name for f in FUNCTIONS if not f.answers and not f.has("incomplete")]
    assert silent == []
    assert len({f.name for f in FUNCTIONS}) == len(FUNCTIONS) > 90
