"""The reader of entry values: what it follows, and what it trusts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from crashkit.symbols.dwarf_frame import (
    CallSite,
    Constant,
    EntryValue,
    FrameAddress,
    Location,
    RegisterValue,
)
from tests.truth import comparators
from tests.truth.comparators import EntryValueReader

INNER, MIDDLE, OUTER = 0x1010, 0x2020, 0x3030


def frame(pc: int, *, interrupted: bool = False, **registers: int) -> Any:
    return SimpleNamespace(
        pc=pc, function=f"f{pc:x}", offset=0x10, size=0x100, module=None, interrupted=interrupted,
        sp=pc + 8, cfa=pc + 64,
        registers={name: SimpleNamespace(value=value) for name, value in registers.items()},
    )  # fmt: skip


def site(pc: int, *, tail: bool = False, **values: Any) -> CallSite:
    return CallSite(return_pc=pc, tail=tail, target=None, name=None, values=values, stack={})


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Any:
    def ask(location: Location, sites: list[CallSite], frames: list[Any]) -> int | None:
        monkeypatch.setattr(comparators, "parameter_locations", lambda *_: {"skb": location})
        known = {one.return_pc: one for one in sites}
        monkeypatch.setattr(comparators, "call_site", lambda _prog, pc: known.get(pc))
        crash, stack = SimpleNamespace(prog=None), SimpleNamespace(frames=frames)
        return EntryValueReader(cast(Any, crash), cast(Any, stack)).value(0, "skb")

    return ask


ENTRY = Location(kind="entry-value", register="rdi", value=EntryValue("rdi", 8))
FRAMES = [frame(INNER), frame(MIDDLE, rbx=0x700), frame(OUTER, r12=0x900)]


def test_a_location_at_the_pc_needs_no_caller(read: Any) -> None:
    here = Location(kind="register", register="rbx", value=RegisterValue("rbx"))
    assert read(here, [], [frame(INNER, rbx=5)]) == 5
    assert read(here, [], [frame(INNER)]) is None
    assert read(Location(kind="frame", value=FrameAddress(-8)), [], FRAMES) == INNER + 56


def test_an_entry_value_comes_from_the_call_site(read: Any) -> None:
    assert read(ENTRY, [site(MIDDLE, rdi=RegisterValue("rbx"))], FRAMES) == 0x708
    assert read(ENTRY, [site(MIDDLE, rsi=RegisterValue("rbx"))], FRAMES) is None
    assert read(ENTRY, [], FRAMES) is None


def test_an_entry_value_of_the_caller_leads_further_out(read: Any) -> None:
    sites = [site(MIDDLE, rdi=EntryValue("rsi", -1)), site(OUTER, rsi=RegisterValue("r12"))]
    assert read(ENTRY, sites, FRAMES) == 0x907


def test_tail_calls_and_interrupts_are_not_followed(read: Any) -> None:
    assert read(ENTRY, [site(MIDDLE, tail=True, rdi=Constant(1))], FRAMES) is None
    stopped = [FRAMES[0], frame(MIDDLE, interrupted=True, rbx=0x700)]
    assert read(ENTRY, [site(MIDDLE, rdi=Constant(1))], stopped) is None
