"""Bug tables, red zones and poison, list links, machine check codes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crashkit.decode import bug_table, list_links, slab_report, slab_tracks
from crashkit.decode.bug_table import find_bug
from crashkit.decode.list_links import poison_words, read_node
from crashkit.decode.mce_status import decode_status, error_words
from crashkit.decode.slab import SlabIdentity
from crashkit.decode.slab_report import SlabReport, read_slab_report
from crashkit.errors import Reason, Unavailable
from crashkit.symbols import ModuleRange, SymbolAt
from tests.unit.kernel_doubles import DIRECT_MAP, Kernel

TABLE = DIRECT_MAP + 0x20_0000
TEXT = DIRECT_MAP + 0x30_0000


@pytest.fixture
def bugs(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A core table of three entries, the second for TEXT + 0x10."""
    kernel = Kernel()
    kernel.struct("bug_entry", 12, ("bug_addr_disp", "int", 0), ("file_disp", "int", 4),
                  ("line", "unsigned short", 8), ("flags", "unsigned short", 10))  # fmt: skip
    kernel.put(TABLE + 0x100, b"mm/slub.c\0")
    for number, (offset, line, flags) in enumerate(((0, 1, 0), (0x10, 419, 0), (0x20, 7, 0xB))):
        entry = TABLE + 12 * number
        kernel.put(entry, (TEXT + offset - entry).to_bytes(4, "little", signed=True))
        kernel.put(entry + 4, (TABLE + 0x100 - entry - 4).to_bytes(4, "little", signed=True))
        kernel.put(entry + 8, line.to_bytes(2, "little") + flags.to_bytes(2, "little"))
    symbols = {
        "__start___bug_table": SymbolAt("__start___bug_table", TABLE, 36, None),
        "__stop___bug_table": SymbolAt("__stop___bug_table", TABLE + 36, 0, None),
    }
    monkeypatch.setattr(bug_table, "find_symbol", lambda _prog, name: symbols.get(name))
    monkeypatch.setattr(bug_table, "module_at", lambda _prog, _address: None)
    return kernel


def test_a_bug_is_found_by_its_address(bugs: Kernel) -> None:
    found = find_bug(bugs.prog, TEXT + 0x10)
    assert found is not None
    assert (found.file, found.line, found.warning) == ("mm/slub.c", 419, False)


def test_the_flags_of_a_warning(bugs: Kernel) -> None:
    found = find_bug(bugs.prog, TEXT + 0x20)
    assert found is not None
    assert (found.warning, found.once, found.done, found.with_message) == (True, True, False, True)


def test_another_instruction_has_no_entry(bugs: Kernel) -> None:
    assert find_bug(bugs.prog, TEXT + 0x11) is None


def test_a_table_that_is_not_in_the_dump_is_unavailable(bugs: Kernel) -> None:
    bugs.drop(TABLE)
    with pytest.raises(Unavailable) as missing:
        find_bug(bugs.prog, TEXT)
    assert missing.value.reason is Reason.NOT_IN_DUMP


def test_a_module_that_claims_endless_entries_is_corrupt(
    bugs: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs.struct("module", 16, ("num_bugs", "unsigned int", 0), ("bug_table", "void *", 8))
    owner = bugs.allocate("struct module", num_bugs=0xFFFF_FFFF, bug_table=TABLE)
    module = ModuleRange(
        name="m", ranges=((TEXT, TEXT + 64),), object_address=owner.value_(), build_id=None
    )
    monkeypatch.setattr(bug_table, "module_at", lambda _prog, _address: module)
    with pytest.raises(Unavailable) as missing:
        find_bug(bugs.prog, TEXT)
    assert missing.value.reason is Reason.CORRUPTED


# Objects of 64 bytes with all of slub_debug=FZPU: 64 left red zone, 8 right, 8 free pointer.
LEFT, SIZE, OBJECT = 64, 256, 64
STORE = DIRECT_MAP + 0x40_0040
Report = Callable[..., SlabReport]


@pytest.fixture
def slab(monkeypatch: pytest.MonkeyPatch) -> tuple[Kernel, Report]:
    kernel = Kernel()
    kernel.struct("kmem_cache", 64, ("size", "unsigned int", 0), ("object_size", "unsigned int", 4),
                  ("inuse", "unsigned int", 8), ("offset", "unsigned int", 12),
                  ("red_left_pad", "unsigned int", 16), ("flags", "unsigned int", 20),
                  ("name", "char *", 24))  # fmt: skip
    kernel.struct("track", 32, ("addr", "unsigned long", 0), ("cpu", "int", 8), ("pid", "int", 12),
                  ("when", "unsigned long", 16))  # fmt: skip
    cache = kernel.allocate(
        "struct kmem_cache", size=SIZE, object_size=OBJECT, inuse=OBJECT + 8, offset=OBJECT + 8,
        red_left_pad=LEFT, flags=0x10C00, name=STORE - 0x1000)  # fmt: skip
    kernel.put(STORE - 0x1000, b"kmalloc-64\0")
    kernel.put(STORE - LEFT, b"\xcc" * LEFT + b"\x01" * OBJECT + b"\xcc" * 8 + bytes(8))
    tracks = (TEXT, 1, 95), (0, 0, 0)
    for number, (address, cpu, pid) in enumerate(tracks):
        place = STORE + 80 + 32 * number
        kernel.put(place, address.to_bytes(8, "little") + cpu.to_bytes(4, "little")
                   + pid.to_bytes(4, "little") + bytes(16))  # fmt: skip
    kernel.put(STORE + 144, b"\x5a" * (SIZE - LEFT - 144))

    def read(free: bool | None = None, allocated: bool | None = True) -> SlabReport:
        def identity(_prog: object, address: int, **_: object) -> SlabIdentity:
            if address != STORE:
                raise Unavailable("object", Reason.NOT_APPLICABLE, "in no slab page")
            return SlabIdentity(
                address=address, cache=cache.value_(), cache_name="kmalloc-64", aliases=(),
                object_start=STORE, offset=0, object_size=OBJECT, allocated=allocated,
                absent={})  # fmt: skip

        monkeypatch.setattr(slab_report, "slab_identity", identity)
        caller = SymbolAt("overflow", TEXT - 11, 64, "m")
        monkeypatch.setattr(slab_tracks, "symbol_at", lambda _prog, _pc: caller)
        return read_slab_report(kernel.prog, STORE, free=free)

    return kernel, read


def test_an_intact_object_has_no_difference(slab: tuple[Kernel, Report]) -> None:
    _kernel, read = slab
    report = read()
    assert report.damaged == ()
    assert {area.name for area in report.areas} == {"left red zone", "right red zone", "padding"}
    assert report.debug == ("RED_ZONE", "POISON", "STORE_USER")


def test_bytes_past_the_end_are_found_with_offset_and_text(slab: tuple[Kernel, Report]) -> None:
    kernel, read = slab
    kernel.put(STORE + OBJECT, b"EFGHIJ")
    (area,) = read().damaged
    (one,) = area.differences
    assert area.name == "right red zone"
    assert (one.offset, one.length, one.expected, one.text) == (OBJECT, 6, 0xCC, "EFGHIJ")


def test_bytes_before_the_object_have_a_negative_offset(slab: tuple[Kernel, Report]) -> None:
    kernel, read = slab
    kernel.put(STORE - 2, b"\0\0")
    (area,) = read().damaged
    assert [(one.offset, one.found) for one in area.differences] == [(-2, "0000")]


def test_poison_of_a_free_object_is_compared(slab: tuple[Kernel, Report]) -> None:
    kernel, read = slab
    kernel.put(STORE - LEFT, b"\xbb" * LEFT + b"\x6b" * (OBJECT - 1) + b"\xa5" + b"\xbb" * 8)
    assert read(free=True).damaged == ()
    kernel.put(STORE + 16, b"A")
    (area,) = read(free=True).damaged
    assert (area.name, area.differences[0].offset) == ("poison", 16)
    assert read(free=False).damaged == ()  # an allocated object holds what it likes


def test_a_track_names_the_caller_and_one_never_written_is_left_out(
    slab: tuple[Kernel, Report],
) -> None:
    _kernel, read = slab
    (track,) = read().tracks
    assert (track.what, track.caller, track.cpu, track.pid) == (
        "allocated", "overflow+0xb [m]", 1, 95,
    )  # fmt: skip


def test_a_cache_of_impossible_sizes_is_corrupt(slab: tuple[Kernel, Report]) -> None:
    kernel, read = slab
    cache = read().cache
    kernel.put(cache, (1 << 30).to_bytes(4, "little"))
    with pytest.raises(Unavailable) as missing:
        read()
    assert missing.value.reason is Reason.CORRUPTED


def test_poison_in_a_link_says_what_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_links, "identify", lambda _prog, _address: "slab object x")
    kernel = Kernel()
    place = DIRECT_MAP + 0x50_0000
    kernel.put(place, (0xDEAD_0000_0000_0100).to_bytes(8, "little") + place.to_bytes(8, "little"))
    node = read_node(kernel.prog, "entry", place)
    assert node.next_words == "LIST_POISON1: removed from its list"
    assert (node.prev, node.prev_words, node.identity) == (place, None, "slab object x")
    lost = read_node(kernel.prog, "prev", 0x4141)
    assert (lost.next, lost.next_words) == (None, None)


def test_a_link_into_nowhere_was_overwritten() -> None:
    assert poison_words(0x4141_4141_4141_4141) == "no kernel address: overwritten"
    assert poison_words(DIRECT_MAP) is None


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x0005, "internal parity"),
        (0x0400, "internal timer"),
        (0x0090, "memory controller, read, channel 0"),
        (0x00AF, "memory controller, write, channel not given"),
        (0x0134, "data cache, level 0, data read"),
        (0x0151, "instruction cache, level 1, instruction fetch"),
        (0x0011, "instruction TLB, level 1"),
        (0x0E0B, "bus, generic, generic error of I/O, generic level"),
        (0x7000, "not described by the architecture"),
    ],
)
def test_machine_check_codes_are_read_by_the_manual(code: int, words: str) -> None:
    assert error_words(code) == words


def test_the_flags_of_a_machine_check() -> None:
    status = decode_status(0xB200_0000_0007_0F0F)
    assert status.flags == ("valid", "uncorrected", "enabled", "processor context corrupt")
    assert (status.error_code, status.model_code) == (0x0F0F, 7)
