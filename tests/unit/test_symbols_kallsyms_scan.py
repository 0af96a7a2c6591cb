"""The kernel's symbol table found in its image by what it is."""

from __future__ import annotations

import random
import struct
import time
from contextlib import suppress

import pytest
from drgn import Architecture, FaultError, Platform, Program

from crashkit.errors import Reason, Unavailable
from crashkit.symbols.kallsyms_scan import scan_kallsyms
from crashkit.symbols.kallsyms_tables import Search, Tables
from crashkit.target.vmcoreinfo import VmcoreInfo
from tests.unit.kallsyms_doubles import BASE, Entry, Form, entries, table

RELEASE = "5.10.0-9-test"
BANNER = f"Linux version {RELEASE} (builder)".encode()
TABLE_AT = 0x20_0000
IMAGE = 0x60_0000
FORMS = [
    Form(),
    Form(marker="Q"),
    Form(addresses="base"),
    Form(addresses="whole"),
    Form(addresses="whole", marker="Q"),
    Form(last=True),
    Form(last=True, addresses="base"),
    Form(order=True),
]


def kernel_entries(form: Form, count: int = 1100) -> list[Entry]:
    """Symbols for a form: offsets from one base have no room for per-CPU ones that count from 0."""
    made = entries(count)
    return made[2:] if form.addresses == "base" else made


def image(*tables: bytes) -> bytes:
    memory = bytearray(random.Random(1).randbytes(IMAGE))
    at = TABLE_AT
    for one in tables:
        memory[at : at + len(one)] = one
        at += len(one) + 0x1000 - len(one) % 8
    memory[0x40_0000 : 0x40_0000 + len(BANNER)] = BANNER
    return bytes(memory)


def program(memory: bytes, absent: range = range(0)) -> Program:
    made = Program(Platform(Architecture.X86_64))

    def read(_address: int, count: int, offset: int, _physical: bool) -> bytes:
        if set(range(offset >> 12, (offset + count - 1 >> 12) + 1)) & set(absent):
            raise FaultError("not in the dump", BASE + offset)
        return memory[offset : offset + count]

    made.add_memory_segment(BASE, len(memory), read, False)
    return made


def info(**lines: str) -> VmcoreInfo:
    return VmcoreInfo(
        {
            "OSRELEASE": RELEASE,
            "SYMBOL(_stext)": f"{BASE:x}",
            "SYMBOL(init_uts_ns)": f"{BASE + 0x50_0000:x}",
            "SYMBOL(swapper_pg_dir)": f"{BASE + 0x50_4000:x}",
            "SYMBOL(mem_section)": "ffff99a7893d7000",
            **{f"SYMBOL({name})": value for name, value in lines.items()},
        }
    )


def tables_in(data: bytes) -> list[Tables]:
    search = Search()
    search.add(data)
    return search.tables


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("count", [300, 1100, 1023, 1026])
def test_every_form_is_read(form: Form, count: int) -> None:
    symbols = kernel_entries(form, count)
    data = bytes(64) + table(symbols, form) + bytes(64)
    [found] = tables_in(data)
    assert list(found.names) == [symbol.name for symbol in symbols]
    assert list(found.addresses) == [symbol.address for symbol in symbols]
    assert found.letters == "".join(symbol.letter for symbol in symbols)


def test_a_name_longer_than_127_tokens() -> None:
    symbols = entries(300)
    symbols[20] = Entry(name="q" * 300, address=symbols[20].address)
    [found] = tables_in(table(symbols))
    assert found.names[20] == "q" * 300


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_symbols_of_an_image(form: Form) -> None:
    prog = program(image(table(kernel_entries(form), form)))
    index = scan_kallsyms(prog, info())
    [found] = index(prog, "function_7", None, True)
    assert (found.address, found.size) == (BASE + 0x10 + 7 * 16, 16)
    [at] = index(prog, None, BASE + 0x10 + 8 * 16 + 3, True)
    assert at.name == "function_8"


def test_a_page_elsewhere_that_is_not_in_the_dump_does_not_matter() -> None:
    prog = program(image(table(entries(1100))), absent=range(3, 90))
    assert scan_kallsyms(prog, info())(prog, "_stext", None, True)


def test_a_page_of_the_table_that_is_not_in_the_dump() -> None:
    page = TABLE_AT >> 12
    prog = program(image(table(entries(1100))), absent=range(page, page + 1))
    with pytest.raises(Unavailable, match="only a part of them") as raised:
        scan_kallsyms(prog, info())
    assert raised.value.reason is Reason.NOT_IN_DUMP


def test_no_table() -> None:
    prog = program(image())
    with pytest.raises(Unavailable, match="not found in the kernel's image") as raised:
        scan_kallsyms(prog, info())
    assert raised.value.reason is Reason.NOT_IN_DUMP


def test_two_tables_are_not_chosen_from() -> None:
    first = table(entries(1100))
    with pytest.raises(Unavailable, match="2 tables") as raised:
        scan_kallsyms(program(image(first, first)), info())
    assert raised.value.reason is Reason.AMBIGUOUS


def test_of_two_tables_none_is_taken_be_one_of_them_contradicted_or_not() -> None:
    symbols = entries(1100)
    other = [*symbols[:-1], Entry(name="init_uts_ns", address=BASE + 0x50_0008, letter="D")]
    with pytest.raises(Unavailable, match="2 tables") as raised:
        scan_kallsyms(program(image(table(other), table(symbols))), info())
    assert raised.value.reason is Reason.AMBIGUOUS


def test_a_table_that_contradicts_vmcoreinfo() -> None:
    prog = program(image(table(entries(1100))))
    with pytest.raises(Unavailable, match="function_3 is at") as raised:
        scan_kallsyms(prog, info(function_3=f"{BASE + 0x18:x}"))
    assert raised.value.reason is Reason.CORRUPTED


def test_a_table_of_another_release() -> None:
    memory = image(table(entries(1100))).replace(BANNER, BANNER.replace(b"5.10", b"5.11"))
    with pytest.raises(Unavailable, match="linux_banner"):
        scan_kallsyms(program(memory), info())


def test_a_table_without_stext() -> None:
    symbols = [symbol for symbol in entries(1100) if symbol.name != "_stext"]
    with pytest.raises(Unavailable, match="lacks _stext"):
        scan_kallsyms(program(image(table(symbols))), info())


def test_vmcoreinfo_without_the_start_of_the_kernel() -> None:
    with pytest.raises(Unavailable, match="_stext"):
        scan_kallsyms(program(image()), VmcoreInfo({}))


def test_a_garbled_line_of_vmcoreinfo_is_none() -> None:
    prog = program(image(table(entries(1100))))
    assert scan_kallsyms(prog, info(prb="nothing"))(prog, "_stext", None, True)


def test_addresses_that_fall_are_no_table() -> None:
    symbols = entries(300)
    symbols[30], symbols[31] = symbols[31], symbols[30]
    assert not tables_in(table(symbols))


def test_a_letter_that_nm_does_not_know() -> None:
    symbols = entries(300)
    symbols[30] = Entry(name=symbols[30].name, address=symbols[30].address, letter="q")
    assert not tables_in(table(symbols))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_table_cut_anywhere_is_none(form: Form) -> None:
    whole = table(kernel_entries(form, 300), form)
    for size in range(0, len(whole) - 8, 56):
        assert not tables_in(whole[:size])
        start = (len(whole) - size) // 8 * 8
        if start:
            assert not tables_in(whole[start:])


def test_damage_never_makes_another_table() -> None:
    """One changed byte: the same table but for that name or address, or none."""
    symbols = entries(300)
    whole = table(symbols)
    chance = random.Random(5)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        for found in tables_in(bytes(damaged)):
            assert len(found.names) == len(symbols)


def test_digits_alone_are_no_tokens() -> None:
    digits = b"".join(b"%d\0" % n for n in range(10))
    for data in (digits, bytes(100) + digits * 300, digits + struct.pack("<256H", *range(256))):
        search = Search()
        search.add(data)
        assert (search.candidates, search.tables) == (0, [])


def looks_like_tables(kind: str) -> bytes:
    whole = table(entries(300))
    digits = b"".join(b"%d\0" % n for n in range(10))
    [before_digits] = struct.unpack_from("<H", whole, len(whole) - 512 + 2 * ord("0"))
    tokens_at = whole.find(digits) - before_digits
    if kind == "digits":
        return digits * 100_000
    if kind == "tokens":
        return whole[tokens_at:-512] * 2000
    if kind == "tables":
        return whole[len(whole) // 4 // 8 * 8 :] * 400
    # Each name holds the number of names: they can be read from each of 8000 on, to the end.
    count = 1 << 16
    markers = struct.pack("<256I", *(4096 * n for n in range(256)))
    return (b"\x0fAAAAAAA" + struct.pack("<Q", count)) * count + markers + whole[tokens_at:]


@pytest.mark.parametrize("kind", ["digits", "tokens", "tables"])
def test_memory_full_of_what_looks_like_tables_takes_no_time(kind: str) -> None:
    search = Search()
    started = time.process_time()
    with suppress(Unavailable):
        search.add(looks_like_tables(kind) + bytes(1 << 20))
    assert search.tables == []
    assert time.process_time() - started < 10


@pytest.mark.parametrize("kind", ["digits", "names"])
def test_a_search_that_costs_too_much_says_so(kind: str) -> None:
    with pytest.raises(Unavailable) as raised:
        scan_kallsyms(program(image(looks_like_tables(kind))), info())
    assert raised.value.reason is Reason.BUDGET


@pytest.mark.parametrize("planted_first", [True, False])
def test_a_planted_table_is_not_taken_for_one_that_is_damaged(planted_first: bool) -> None:
    """Tokens without the rest are what a damaged table leaves: then nothing is chosen."""
    planted = table(entries(1100)[:40])  # of no name that VMCOREINFO has but _stext
    assert scan_kallsyms(program(image(planted)), info())
    damaged = bytearray(table(entries(1100)))
    damaged[len(damaged) // 3] ^= 0x40
    both = (planted, bytes(damaged)) if planted_first else (bytes(damaged), planted)
    with pytest.raises(Unavailable, match="2 tables") as raised:
        scan_kallsyms(program(image(*both)), info())
    assert raised.value.reason is Reason.AMBIGUOUS
