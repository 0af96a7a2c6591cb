"""The kernel log by VMCOREINFO alone: each form of the buffer, whole and damaged."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import cast

import pytest
from drgn import Architecture, FaultError, Object, Platform, Program

from crashkit.decode import printk
from crashkit.decode.printk import read_log_without_types
from crashkit.errors import Unavailable
from crashkit.target import VmcoreInfo

PAGE = 4096
BASE = 0x100000
INFO, TEXT, HEAD = BASE + PAGE, BASE + 2 * PAGE, BASE + 3 * PAGE

RING = VmcoreInfo({
    "SYMBOL(prb)": f"{HEAD + 512:x}", "OFFSET(printk_ringbuffer.desc_ring)": "0",
    "OFFSET(printk_ringbuffer.text_data_ring)": "48", "OFFSET(atomic_long_t.counter)": "0",
    "OFFSET(prb_desc_ring.count_bits)": "0", "OFFSET(prb_desc_ring.descs)": "8",
    "OFFSET(prb_desc_ring.infos)": "16", "OFFSET(prb_desc_ring.head_id)": "24",
    "OFFSET(prb_desc_ring.tail_id)": "32", "OFFSET(prb_data_ring.size_bits)": "0",
    "OFFSET(prb_data_ring.data)": "8", "SIZE(prb_desc)": "24", "OFFSET(prb_desc.state_var)": "0",
    "OFFSET(prb_desc.text_blk_lpos)": "8", "OFFSET(prb_data_blk_lpos.begin)": "0",
    "OFFSET(prb_data_blk_lpos.next)": "8", "SIZE(printk_info)": "2048",
    "OFFSET(printk_info.ts_nsec)": "8", "OFFSET(printk_info.text_len)": "16",
})  # fmt: skip


def memory(pages: dict[int, bytes]) -> Program:
    """Make a program that has these pages and no names."""
    prog = Program(Platform(Architecture.X86_64))
    for address, content in pages.items():
        data = content.ljust(PAGE, b"\0")

        def read(at: int, count: int, offset: int, _physical: bool, data: bytes = data) -> bytes:
            if not data.strip(b"\xee"):
                raise FaultError("lost", at)
            return data[offset : offset + count]

        prog.add_memory_segment(address, PAGE, read)
    return prog


LOST = b"\xee" * PAGE


def ring(*, lost: int | None = None, tail: int = 0, head: int = 3) -> Program:
    """Make a ring of four records: plain, of two lines, without text, and one that wraps."""
    text = bytearray(64)
    places, at = [], 0
    for words in (b"first", b"two\nlines"):
        length = 8 + (len(words) + 7) // 8 * 8
        text[at + 8 : at + 8 + len(words)] = words
        places.append((at, at + length, len(words)))
        at += length
    places += [(3, 3, 0), (at, 64 + 24, 7)]
    wrapped = bytearray(text)
    wrapped[8:15] = b"wrapped"
    descriptors, infos = b"", {}
    for number, (begin, end, length) in enumerate(places):
        descriptors += struct.pack("<QQQ", (2 << 62) | number, begin, end)
        infos[number] = struct.pack("<QQH", number, (number + 1) * 1_500_000_000, length)
    kept = text if head < 3 else wrapped
    pages = {
        HEAD: struct.pack("<QQQQQQ", 2, BASE, INFO + PAGE * 10, head, tail, 0)
        + struct.pack("<QQ", 6, TEXT).ljust(464, b"\0")
        + struct.pack("<Q", HEAD),
        BASE: descriptors,
        TEXT: bytes(kept),
    }
    for pair in (0, 1):
        content = infos[2 * pair].ljust(2048, b"\0") + infos[2 * pair + 1]
        pages[INFO + PAGE * (10 + pair)] = LOST if lost == pair else content
    return memory(pages)


def test_records_of_the_ring() -> None:
    found = read_log_without_types(ring(head=2), RING)
    assert found.text == (
        "[    1.500000] first\n[    3.000000] two\n[    3.000000] lines\n[    4.500000] \n"
    )
    assert found.lost == 0


def test_a_record_that_wraps_lies_at_the_start() -> None:
    found = read_log_without_types(ring(tail=3), RING)
    assert found.text == "[    6.000000] wrapped\n"


def test_lost_records_are_counted_and_the_others_kept() -> None:
    found = read_log_without_types(ring(lost=0), RING)
    assert (found.text, found.lost) == ("[    4.500000] \n[    6.000000] wrapped\n", 2)


@pytest.mark.parametrize("gone", [HEAD, BASE])
def test_a_lost_ring_is_no_log(gone: int) -> None:
    whole = ring()
    whole.add_memory_segment(gone, PAGE, _fault)
    with pytest.raises(Unavailable):
        read_log_without_types(whole, RING)


def _fault(at: int, _count: int, _offset: int, _physical: bool) -> bytes:
    raise FaultError("lost", at)


def old(structure: str) -> VmcoreInfo:
    return VmcoreInfo({
        "SYMBOL(log_buf)": f"{HEAD:x}", "SYMBOL(log_buf_len)": f"{HEAD + 8:x}",
        "SYMBOL(log_first_idx)": f"{HEAD + 12:x}", "SYMBOL(log_next_idx)": f"{HEAD + 16:x}",
        f"SIZE({structure})": "16", f"OFFSET({structure}.ts_nsec)": "0",
        f"OFFSET({structure}.len)": "8", f"OFFSET({structure}.text_len)": "10",
    })  # fmt: skip


def record(seconds: int, words: bytes) -> bytes:
    """Make one ``struct printk_log`` and its text."""
    step = 16 + (len(words) + 3) // 4 * 4
    head = struct.pack("<QHHI", seconds * 10**9, step, len(words), 0)
    return (head + words).ljust(step, b"\0")


@pytest.mark.parametrize("structure", ["printk_log", "log"])
def test_records_before_5_10(structure: str) -> None:
    newer, older = record(7, b"newer"), record(6, b"older")
    start = 512
    buffer = newer.ljust(start, b"\0") + older + bytes(16)  # a length of 0: go on at the start
    head = struct.pack("<QIII", TEXT, PAGE, start, len(newer))
    found = read_log_without_types(memory({HEAD: head, TEXT: buffer}), old(structure))
    assert found.text == "[    6.000000] older\n[    7.000000] newer\n"


def test_lengths_of_zero_do_not_walk_for_ever() -> None:
    head = struct.pack("<QIII", TEXT, PAGE, 0, 512)
    with pytest.raises(Unavailable):
        read_log_without_types(memory({HEAD: head, TEXT: bytes(PAGE)}), old("log"))


def test_an_old_log_that_breaks_off_says_so() -> None:
    first = record(1, b"x" * 4080)
    head = struct.pack("<QIII", TEXT + 8 * PAGE, 2 * PAGE, 0, 6000)
    pages = {HEAD: head, TEXT + 8 * PAGE: first, TEXT + 9 * PAGE: LOST}
    found = read_log_without_types(memory(pages), old("log"))
    assert (len(found.text), found.lost) == (4096, 1)


def test_an_old_record_smaller_than_its_header_ends_the_log() -> None:
    broken = struct.pack("<QHHI", 10**9, 4, 5, 0) + b"never"
    head = struct.pack("<QIII", TEXT, PAGE, 0, 2000)
    pages = {HEAD: head, TEXT: record(1, b"first") + broken}
    found = read_log_without_types(memory(pages), old("log"))
    assert (found.text, found.lost) == ("[    1.000000] first\n", 1)


def test_records_that_all_have_one_text_do_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(printk, "_MAX_TEXT", 1000)
    records = b"".join(struct.pack("<QHHI", 10**9, 16, 200, 0) for _ in range(100))
    head = struct.pack("<QIII", TEXT, PAGE, 0, len(records))
    found = read_log_without_types(memory({HEAD: head, TEXT: records}), old("log"))
    assert 0 < len(found.text.encode()) < 4 * 1000  # escaped
    assert found.lost == 1


def test_characters_before_3_5() -> None:
    known = VmcoreInfo({
        "SYMBOL(log_buf)": f"{HEAD:x}", "SYMBOL(log_buf_len)": f"{HEAD + 8:x}",
        "SYMBOL(log_end)": f"{HEAD + 12:x}", "SYMBOL(logged_chars)": f"{HEAD + 16:x}",
    })  # fmt: skip
    text = b"<6>[    1.0] one\n<0>[    2.0] two\n"
    end = 64 + 10  # written once round a buffer of 64 bytes
    ring_ = bytearray(64)
    for number, byte in enumerate(text):
        ring_[(end - len(text) + number) % 64] = byte
    head = struct.pack("<QIII", TEXT, 64, end, len(text))
    found = read_log_without_types(memory({HEAD: head, TEXT: bytes(ring_)}), known)
    assert found.text == "[    1.0] one\n[    2.0] two\n"


@pytest.mark.parametrize("known", [VmcoreInfo(), VmcoreInfo({"SYMBOL(prb)": "zz"})])
def test_nothing_leads_to_it(known: VmcoreInfo) -> None:
    with pytest.raises(Unavailable):
        read_log_without_types(memory({}), known)


@pytest.mark.parametrize(
    ("head", "tail", "bits", "short"),
    [
        (8, 3, 13, True),
        (3, 8, 13, False),
        (1 << 13, 0, 13, False),
        (1 << 20, 0, 24, False),
        (1 << 62, 0, 200, False),
    ],
)
def test_drgn_does_not_walk_a_ring_of_any_length(
    head: int, tail: int, bits: int, short: bool
) -> None:
    ids = (SimpleNamespace(counter=number) for number in (head, tail))
    ring_ = SimpleNamespace(head_id=next(ids), tail_id=next(ids), count_bits=bits)
    assert printk._is_short(cast(Object, ring_)) is short
