"""What the decoders answer about addresses, for tests of diagnoses by memory."""

from __future__ import annotations

import pytest
from drgn import Program

from crashkit.decode.address_facts import AddressFacts
from crashkit.decode.address_walk import PageEntry, PageWalk
from crashkit.decode.slab import SlabIdentity
from crashkit.decode.slab_damage import LostList
from crashkit.decode.slab_hidden import HiddenPointer
from crashkit.decode.slab_place import FreePlace
from crashkit.errors import Unavailable
from crashkit.fault.diagnosis import BadValue, diagnose
from crashkit.fault.diagnosis_memory import diagnose_in_memory
from crashkit.fault.model import Diagnosis, Link
from crashkit.value import Certainty, Origin
from tests.unit.kernel_doubles import Kernel

DIRECT = 0xFFFF_8D1B_0000_0000
OBJECT = DIRECT + 0x1_0000
PLACE = DIRECT + 0x2_0030
WILD = 0x8F3C_51E2_A947_D060
PARTS = "crashkit.fault.diagnosis_"


def slab_object(address: int, start: int, allocated: bool | None = True) -> AddressFacts:
    found = SlabIdentity(
        address=address, cache=0xFFFF_8D1B_0000_1000, cache_name="kmalloc-96", aliases=(),
        object_start=start, offset=address - start, object_size=96, allocated=allocated,
        absent={}, slab=0xFFFF_F8FB_C000_0000,
    )  # fmt: skip
    return AddressFacts(address=address, kind="slab", words="slab object", start=start, slab=found)


class Memory:
    """What the decoders answer about each address; everything else is a hole."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kernel = Kernel()
        self.facts: dict[int, AddressFacts] = {}
        self.free: dict[int, FreePlace | Unavailable] = {}
        self.walks: dict[int, PageWalk] = {}
        self.hidden: HiddenPointer | None = None
        self.lost: LostList | None = None
        self.last: str | None = None
        self.area: tuple[int, int] | None = None
        for part in ("case", "slab", "freed", "unmapped", "xarray"):
            monkeypatch.setattr(PARTS + f"{part}.classify_address", self.classify, raising=False)
        monkeypatch.setattr(PARTS + "slab.free_place_of", self.free_place)
        monkeypatch.setattr(PARTS + "freed.hidden_pointer", lambda _p, _v, _a: self.hidden)
        monkeypatch.setattr(PARTS + "freed.lost_list", lambda _p, _a: self.lost)
        monkeypatch.setattr(PARTS + "freed.freed_area_at", lambda _p, _a: self.area)
        monkeypatch.setattr(PARTS + "unmapped.last_unloaded_module", lambda _p: self.last)
        monkeypatch.setattr(PARTS + "unmapped.walk_page_tables", self.walk)

    def classify(self, _prog: Program, address: int, *, aliases: bool = True) -> AddressFacts:
        canonical = address >> 47 in (0, (1 << 17) - 1)
        kind = "hole" if canonical else "non-canonical"
        default = AddressFacts(address=address, kind=kind, words=kind)
        return self.facts.get(address, default)

    def free_place(self, _prog: Program, found: SlabIdentity) -> FreePlace | None:
        answer = self.free.get(found.object_start)
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    def walk(self, _prog: Program, address: int, *, pgd: int | None = None) -> PageWalk:
        if address in self.walks:
            return self.walks[address]
        return page(address, mapped=False)

    def diagnose(
        self, value: int, *, place: int | None = PLACE, at: int | None = None,
        access: str = "read", addend: int = 0,
    ) -> Diagnosis:  # fmt: skip
        bad = BadValue(name="a->b", value=value, faulted_at=at, five_level=False, addend=addend)
        chain = () if place is None else (link("a->b", value, place),)
        return diagnose_in_memory(self.kernel.prog, diagnose(bad), bad, access=access, chain=chain)


def page(address: int, *, mapped: bool, writable: bool = False) -> PageWalk:
    return PageWalk(
        address=address, entries=(PageEntry(level="pte", value=0x161 if mapped else 0),),
        physical=0x1000 if mapped else None, page_size=4096, writable=writable,
        executable=False, user=False,
    )  # fmt: skip


def link(expression: str, value: int, address: int | None, identity: str | None = None) -> Link:
    return Link(
        expression=expression, ctype="struct owner *", value=value, origin=Origin.REGISTER,
        certainty=Certainty.PROVED, identity=identity, address=address,
    )  # fmt: skip
