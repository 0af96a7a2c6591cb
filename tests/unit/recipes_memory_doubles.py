"""A fault through a pointer that was read from a slab object, for the recipes of recipes/memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from drgn import Program

from crashkit.decode.slab import SlabIdentity
from crashkit.decode.slab_hidden import HiddenPointer
from crashkit.decode.slab_place import FreePlace
from crashkit.errors import Reason, Unavailable
from crashkit.fault.model import Diagnosis, Fault, Link
from crashkit.finding import Finding, Verdict
from crashkit.recipe import Recipes, load_recipes, run_recipe
from crashkit.value import Certainty, Origin
from tests.unit.kernel_doubles import Kernel
from tests.unit.report_doubles import FakeCrash, as_crash, empty, frame

OBJECT = 0xFFFF_8880_0020_0040
PLACE = OBJECT + 0x20
OTHER = 0xFFFF_8880_0030_0000
CACHE = 0xFFFF_8880_0001_0000
WILD = 0x8F3C_51E2_A947_D060
POISON1, POISON2 = 0xDEAD_0000_0000_0100, 0xDEAD_0000_0000_0122
ON_CPU = FreePlace(kind="cpu", words="the free list of CPU 1", number=1)
LOST = Unavailable("free list", Reason.NOT_IN_DUMP)


@dataclass
class MemoryCrash(FakeCrash):
    """A crash with a kernel's memory."""

    kernel: Kernel = field(default_factory=Kernel)

    @property
    def prog(self) -> Program:
        return self.kernel.prog


@cache
def all_recipes() -> Recipes:
    return load_recipes()


def run(recipe_id: str, crash: FakeCrash) -> Finding | None:
    recipe = all_recipes().find(recipe_id)
    assert recipe is not None
    found = run_recipe(recipe, as_crash(crash))
    assert found is None or found.error is None, found and found.error
    return found


def verdict(recipe_id: str, crash: FakeCrash) -> Verdict:
    found = run(recipe_id, crash)
    assert found is not None, "the recipe does not apply"
    return found.verdict


def held(recipe_id: str, crash: FakeCrash) -> dict[str, bool | None]:
    found = run(recipe_id, crash)
    assert found is not None, "the recipe does not apply"
    return {check.id: check.holds for check in found.checks}


def link(expression: str, value: int, register: str, **more: Any) -> Link:
    return Link(
        expression=expression, ctype="struct lease *", value=value, origin=Origin.REGISTER,
        certainty=Certainty.PROVED, register=register, **more,
    )  # fmt: skip


def fault_of(value: int, kind: str, **more: Any) -> Fault:
    """``lease->next`` was read from PLACE into rax, and followed."""
    base = link("lease", OBJECT, "rdi", identity="slab object kmalloc-64")
    given: dict[str, Any] = {
        "ip": 1, "symbol": "lease_time", "offset": 9, "size": 32, "module": None, "source": None,
        "instruction": "mov 0x30(%rax),%rax", "access": "read", "address": value + 0x30,
        "bad_register": "rax", "expression": "lease->next->time", "null_or_bad": "lease->next",
        "alternatives": (), "certainty": Certainty.PROVED,
        "diagnosis": Diagnosis(kind=kind, statement=""),
        "chain": (base, link("lease->next", value, "rax", address=PLACE)),
        "steps": (), "memory_disagrees": False, "registers": {"rax": value, "rdi": OBJECT},
        "conflict": None, "absent": {}, "why": {},
    }  # fmt: skip
    return Fault(**{**given, **more})


def crash_of(value: int, kind: str, **more: Any) -> MemoryCrash:
    crash = MemoryCrash(
        target=empty().target,
        fault=fault_of(value, kind, **more),
        fault_frame=frame(0, "lease_time"),
        faulting_function="lease_time",
        log_="",
    )
    crash.kernel.put(OBJECT, bytes(64))
    crash.kernel.put(PLACE, value.to_bytes(8, "little"))
    return crash


def object_at(address: int, *, allocated: bool | None) -> SlabIdentity:
    return SlabIdentity(
        address=address, cache=CACHE, cache_name="kmalloc-64", aliases=(), object_start=OBJECT,
        offset=address - OBJECT, object_size=64, allocated=allocated,
        absent={} if allocated is not None else {"allocated": LOST},
    )  # fmt: skip


@dataclass
class Allocator:
    """What the slab decoders answer; only OBJECT is an object."""

    free: FreePlace | Unavailable | None = None
    is_link: bool = False
    next_free: int = 0
    allocated: bool | None = None
    unread: bool = False

    def identity(self, _prog: Program, address: int, *, aliases: bool = True) -> SlabIdentity:
        if 0 <= address - OBJECT < 64:
            return object_at(address, allocated=self.allocated)
        reason = Reason.NOT_IN_DUMP if self.unread else Reason.NOT_APPLICABLE
        raise Unavailable("slab object", reason)

    def place(self, _prog: Program, _found: SlabIdentity) -> FreePlace | None:
        if isinstance(self.free, Unavailable):
            raise self.free
        return self.free

    def hidden(self, _prog: Program, _value: int, _place: int) -> HiddenPointer | None:
        link = HiddenPointer(cache=CACHE, object_start=OBJECT, next_free=self.next_free)
        return link if self.is_link else None
