"""What the head of a report says: of memory without an expression, of panics by their sections."""

from __future__ import annotations

from typing import Any

import pytest

from crashkit.errors import in_brief
from crashkit.report.text_head import is_unread, match_line, what
from crashkit.report.text_open import standing_out
from crashkit.report.text_operand import accessed
from crashkit.report.text_places import source_line
from crashkit.report.text_what import told_by_section


def fault(instruction: str, **known: Any) -> dict[str, Any]:
    return {
        "instruction": instruction, "address": "0x38", "bad_register": "rdi", "access": "read",
        "registers": {"rdi": "0x0", "rcx": "0x10"}, **known,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        ("mov 0x38(%rdi),%rax", "8 bytes at 0x38 (%rdi + 0x38, rdi = 0)"),
        ("mov 0x38(%rdi),%eax", "4 bytes at 0x38 (%rdi + 0x38, rdi = 0)"),
        ("movzbl 0x38(%rdi),%eax", "1 byte at 0x38 (%rdi + 0x38, rdi = 0)"),
        ("mov -0x8(%rdi,%rcx,8),%dl",
         "1 byte at 0x38 (%rdi + %rcx * 8 - 0x8, rdi = 0, rcx = 0x10)"),
        ("lock incl 0x38(%rdi)", "4 bytes at 0x38 (%rdi + 0x38, rdi = 0)"),
        ("cmpb $0x0,(%rdi)", "1 byte at 0x38 (%rdi, rdi = 0)"),
        ("push %rax", "8 bytes at 0x38 (push %rax)"),
        ("rep movsb %ds:(%rsi),%es:(%rdi)", "1 byte at 0x38 (rep movsb %ds:(%rsi),%es:(%rdi))"),
        ("fxsave 0x38(%rdi)", "address 0x38 (%rdi + 0x38, rdi = 0)"),
        ("mov rax, qword ptr [rdi + 0x38]", "address 0x38 (mov rax, qword ptr [rdi + 0x38])"),
    ],
)  # fmt: skip
def test_memory_is_named_by_address_and_operand(instruction: str, words: str) -> None:
    assert accessed(fault(instruction)) == words


def test_an_address_that_is_not_known_is_said_to_be() -> None:
    said = accessed(fault("mov 0x38(%rdi),%rax", address=None, registers={}))
    assert said == "an unknown address (%rdi + 0x38)"


def test_the_longest_register_names_are_told_apart() -> None:
    assert accessed(fault("mov %r10d,0x38(%rdi)")).startswith("4 bytes")
    assert accessed(fault("mov %r10,0x38(%rdi)")).startswith("8 bytes")
    assert accessed(fault("mov %sil,0x38(%rdi)")).startswith("1 byte ")


def document(**facts: Any) -> dict[str, Any]:
    return {
        "panic": {"kind": "panic-other", "facts": facts, "message": None},
        "fault": None, "frames": [], "objects": [],
    }  # fmt: skip


SLAB = {
    "what": "Right Redzone overwritten", "double_free": None,
    "report": {"object": "0xffff888000001040", "cache_name": "kmalloc-64", "areas": [
        {"differences": []},
        {"differences": [{"length": 6, "offset": 64, "text": "EFGHIJ"}]},
    ]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "section", "words"),
    [
        ("slab", SLAB, ("Right Redzone overwritten: 6 bytes, 'EFGHIJ', at +64 of object"
         " ffff888000001040 of kmalloc-64")),
        ("slab", {**SLAB, "double_free": True}, ("object ffff888000001040 of kmalloc-64 was freed"
         " while a free list has it")),
        ("init", {"signal": None, "status": 3, "process": {"arguments": "/init", "comm": "init"}},
         "the first process, /init, exited by itself with status 3"),
        ("init", {"signal": "SIGSEGV", "status": None, "process": {"arguments": None,
                                                                  "comm": None}},
         "the first process was ended by SIGSEGV"),
        ("usercopy", {"object": {"cache_name": "kmalloc-64", "object_size": 64}, "size": 100,
                      "offset": 8, "beyond": 44, "direction": "to user"},
         ("a copy of 100 bytes to user space was refused: from offset 8 of a kmalloc-64 object of"
          " 64 bytes: 44 bytes too many")),
        ("usercopy", {"object": {"cache_name": "kmalloc-64", "object_size": 64}, "size": None,
                      "offset": 8, "beyond": None, "direction": "to user"}, None),
        ("refcount", {"message": "underflow; use-after-free.", "address": "0xffff888000001040",
                      "containing": []},
         "the reference counter refcount_t ffff888000001040: underflow; use-after-free"),
        ("refcount", {"message": None, "address": None, "containing": []}, None),
        ("nmi", {"settings": {"unknown_nmi_panic": 1, "absent": {}}, "cause": "unknown"},
         "its cause is unknown, and kernel.unknown_nmi_panic makes it a panic"),
        ("list", {"operation": "add", "nodes": [], "links": [
            {"expression": "prev->next", "now": "0x1", "expected": "0x2", "holds": False},
            {"expression": "next->prev", "now": "0x1", "expected": "0x1", "holds": True}]},
         ("an entry was to be added to a list whose links do not fit: prev->next is 0x1, should be"
         " 0x2")),
        ("list", {"operation": "add", "nodes": [], "links": []}, None),
        ("stack", {"canary": None}, None),
        ("stack", {"canary": {"function": "parse"}},
         ("a buffer in the stack frame of parse() was written past its end, by it or by a"
         " function it called")),
        ("oom", {"request": {"constraint": "memcg", "memcg": "/pod", "memcg_limit": 512},
                 "use": None, "processes": {"processes": [
                     {"comm": "a", "pid": 7, "rss": 256}]}},
         ("it is the memory of cgroup /pod, limited to 2.0 MiB; the largest process is a (7) with"
         " 1.0 MiB")),
        ("oom", {"request": None, "slabs": {"caches": [
            {"name": "orders", "pages": 400, "reclaimable": False}]}, "use": {
                "total_pages": 1000, "unaccounted_pages": 6,
                "consumers": [{"key": "slab_unreclaimable", "pages": 500, "name": "slab"}]}},
         "the largest part of 3.9 MiB is slab, most of it orders: 2.0 MiB (50 %)"),
        ("oom", {"request": None, "processes": None, "use": {
            "total_pages": 1000, "unaccounted_pages": 600,
            "consumers": [{"key": "free", "pages": 900, "name": "free"},
                          {"key": "anonymous", "pages": 10, "name": "anonymous"}]}},
         "the largest part of 3.9 MiB is pages that no counter has: 2.3 MiB (60 %)"),
    ],
)  # fmt: skip
def test_a_panic_in_a_sentence(key: str, section: dict[str, Any], words: str | None) -> None:
    assert told_by_section(document(**{key: section})) == words


def test_who_called_panic_is_named_and_names_keep_their_case() -> None:
    known = document(panic_reason="panic_on_taint set ...", slab=SLAB)
    known["frames"] = [
        {"function": name, "inlined": False} for name in ("panic", "add_taint", "check_object")
    ]
    text = " ".join(line.strip() for line in what(known, None))
    assert "WHAT   Right Redzone overwritten: 6 bytes" in text
    assert text.endswith("add_taint() called panic(): panic_on_taint set.")
    known["panic"]["facts"] = {"stack": {"canary": {"function": "parse"}}, "panic_reason": "x"}
    assert "A buffer in the stack frame of parse() was written" in " ".join(what(known, None))


def finding(hold: int, why: str | None) -> dict[str, Any]:
    check = {"role": "necessary", "holds": None, "why_not": why, "statement": "s"}
    return {
        "recipe": "abba", "verdict": "inconclusive", "error": None, "claim": "c", "classes": [],
        "required": {"hold": hold, "fail": 0, "not_read": 2}, "checks": [check],
    }  # fmt: skip


def test_a_finding_of_which_nothing_was_read_says_why_in_one_line() -> None:
    unread = finding(0, "owner: not-applicable (a semaphore keeps no owner)")
    assert is_unread(unread)
    (line,) = match_line(unread)
    assert line.endswith("nothing of it could be read (owner: a semaphore keeps no owner):"
                         " INCONCLUSIVE")  # fmt: skip
    assert not is_unread(finding(1, None))
    assert len(match_line(finding(1, None))) == 2


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/build/reproducible-path/linux-6.1/arch/x86/entry/entry_64.S:295",
         "arch/x86/entry/entry_64.S:295"),
        ("kernel/panic.c:459", "kernel/panic.c:459"),
        ("/home/me/driver/orders.c:7", "/home/me/driver/orders.c:7"),
    ],
)  # fmt: skip
def test_a_source_line_is_that_of_the_kernels_tree(path: str, shown: str) -> None:
    assert source_line(path) == shown


@pytest.mark.parametrize(
    ("sentence", "brief"),
    [
        ("where (f->data)->x was read from: not-saved (no register)",
         "where (f->data)->x was read from: not-saved"),
        ("owner: not-applicable (a semaphore keeps no owner)",
         "owner: a semaphore keeps no owner"),
        ("the link: ambiguous (" + "x" * 80 + ")", "the link: ambiguous"),
        ("the lock: not-applicable", "the lock: not-applicable"),
        ("nothing says who (of them) ends it", "nothing says who (of them) ends it"),
    ],
)  # fmt: skip
def test_a_reason_in_brief(sentence: str, brief: str) -> None:
    assert in_brief(sentence) == brief


def explained(**known: Any) -> dict[str, Any]:
    return {
        "instruction": None, "access": "read", "expression": None, "chain": [], "registers": {},
        "null_or_bad": None, "alternatives": [], "why": {}, "absent": {}, "address": None,
        "diagnosis": {"kind": "other", "statement": "rax was 0x7: x", "evidence": ["seen there"]},
        **known,
    }  # fmt: skip


def stands(fault: dict[str, Any], *, brief: bool = False) -> str:
    known = {**document(), "fault": fault, "target": {"taint": [], "format": "kdump"}}
    known["panic"] |= {"earlier": [], "later": []}
    return "\n".join(standing_out(known, brief=brief))


def test_where_a_jump_could_not_go_is_no_open_question() -> None:
    why = {"instruction": "instruction at 0x31: not-in-dump (no way to translate)"}
    assert "OPEN   instruction" in stands(explained(why=why))
    assert "OPEN" not in stands(explained(why=why, access="exec"))


def test_what_does_not_apply_is_no_open_question() -> None:
    why = {"expression": "stack: not-applicable (unsigned long is no pointer)"}
    assert "OPEN" not in stands(explained(why=why, absent={"expression": "not-applicable"}))
    assert "OPEN   stack" in stands(explained(why=why, absent={"expression": "not-saved"}))


def test_a_statement_stands_with_what_it_rests_on() -> None:
    said = stands(explained(expression="p->x"))
    assert said == " 1  rax was 0x7: x\n    - seen there"
    assert stands(explained(expression="p->x"), brief=True) == " 1  rax was 0x7: x"
