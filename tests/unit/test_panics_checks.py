"""Sections of panic.facts about checks that failed: what the log and the arguments tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from drgn import Program

from crashkit.crash import Crash
from crashkit.crash.panics import (
    bad_page,
    divide,
    init,
    linked,
    mce,
    nmi,
    refcount,
    root_fs,
    slab,
    stack,
    sysrq,
)
from crashkit.crash.panics import exec as exec_
from crashkit.crash.panics.canary import canary_offset
from crashkit.decode import slab_report
from crashkit.decode.list_links import ListNode
from crashkit.disasm import disassemble
from crashkit.errors import Reason, Unavailable
from crashkit.oops import parse_oops
from crashkit.symbols import SymbolAt
from crashkit.target import Target
from crashkit.unwind import Frame, RegisterValue
from crashkit.value import Certainty, Origin
from tests.unit.kernel_doubles import DIRECT_MAP, Kernel
from tests.unit.report_doubles import FakeCrash, frame

CODE = DIRECT_MAP + 0x70_0000


@dataclass
class Crashed(FakeCrash):
    """A crash over a kernel made by hand."""

    kernel: Kernel = field(default_factory=Kernel)

    @property
    def prog(self) -> Program:
        return self.kernel.prog


def crashed(log: str = "", *frames: Frame, **more: Any) -> Crash:
    fake = Crashed(
        target=Target(path="/dumps/vmcore", format="elf"),
        log_=log,
        oops=parse_oops(log),
        frames=frames,
        **more,
    )
    return cast(Crash, fake)


def registers(**values: int) -> Mapping[str, RegisterValue]:
    return {
        name: RegisterValue(value=value, origin=Origin.REGISTER, certainty=Certainty.PROVED)
        for name, value in values.items()
    }


def at_fault(code: bytes, **values: int) -> Crash:
    kernel = Kernel()
    kernel.put(CODE, code.ljust(32, b"\x90"))
    fault = frame(0, "divide", pc=CODE, interrupted=True, registers=registers(**values))
    return crashed("", fault, fault_frame=fault, kernel=kernel)


def test_a_division_by_zero_in_a_register() -> None:
    found = divide.read(at_fault(b"\x48\xf7\xf1", rax=70000, rdx=0, rcx=0))  # div %rcx
    assert found is not None
    assert (found.dividend, found.divisor, found.cause) == (70000, 0, "divisor is 0")
    assert (found.divisor_operand, found.divisor_address) == ("rcx", None)


def test_a_quotient_that_does_not_fit() -> None:
    # idiv %ecx: INT_MIN / -1 (SDM vol. 2, IDIV)
    values = {"rax": 0x8000_0000, "rdx": 0xFFFF_FFFF, "rcx": 0xFFFF_FFFF}
    found = divide.read(at_fault(b"\xf7\xf9", **values))
    assert found is not None
    assert (found.dividend, found.divisor) == (-(1 << 31), -1)
    assert found.cause == "quotient does not fit"


def test_numbers_that_divide_are_not_blamed() -> None:
    found = divide.read(at_fault(b"\x48\xf7\xf1", rax=9, rdx=0, rcx=3))
    assert found is not None
    assert found.cause == "not by these numbers"


def test_a_divisor_in_memory_is_read_there() -> None:
    crash = at_fault(b"\x48\xf7\x77\x50", rax=9, rdx=0, rdi=DIRECT_MAP + 0x1000)  # divq 0x50(%rdi)
    cast(Crashed, crash).kernel.put(DIRECT_MAP + 0x1050, bytes(8))
    found = divide.read(crash)
    assert found is not None
    assert found.divisor_address == DIRECT_MAP + 0x1050


def test_a_register_that_was_not_saved_is_not_zero() -> None:
    with pytest.raises(Unavailable) as missing:
        divide.read(at_fault(b"\x48\xf7\xf1", rax=1, rdx=0))
    assert missing.value.reason is Reason.NOT_SAVED


def test_an_instruction_that_divides_nothing_is_a_contradiction() -> None:
    with pytest.raises(Unavailable) as missing:
        divide.read(at_fault(b"\x90"))
    assert missing.value.reason is Reason.CORRUPTED


def stack_of(*names: str, size: int = 64) -> list[Frame]:
    return [frame(n, name, sp=DIRECT_MAP + n * size) for n, name in enumerate(names)]


def test_a_function_that_calls_itself_is_a_cycle() -> None:
    found = stack.find_cycle(stack_of("memset", *["descend"] * 5, "start"))
    assert found is not None
    assert (found.functions, found.rounds, found.bytes_per_round) == (("descend",), 5, 64)


def test_two_functions_in_turn_are_one_round() -> None:
    found = stack.find_cycle(stack_of("x", *["walk", "enter"] * 4, "start"))
    assert found is not None
    assert (found.functions, found.rounds, found.bytes_per_round) == (("walk", "enter"), 4, 128)


def test_words_at_one_distance_are_a_cycle_where_no_frame_could_be_walked() -> None:
    words = [(DIRECT_MAP + 272 * n, "descend") for n in range(12)]
    noise = [(DIRECT_MAP + 272 * n + 8 * n, "memset") for n in range(12)]
    found = stack.repeated_word(sorted(words + noise[:3]))
    assert found is not None
    assert (found.functions, found.rounds, found.bytes_per_round, found.origin) == (
        ("descend",), 11, 272, "words")  # fmt: skip
    assert stack.repeated_word(words[:5]) is None
    assert stack.repeated_word([]) is None


def test_two_rounds_are_no_cycle() -> None:
    assert stack.find_cycle(stack_of("a", "a", "b", "c", "d")) is None
    assert stack.find_cycle([]) is None


def test_the_largest_frames_are_added_up_by_function() -> None:
    frames = [frame(n, name, sp=DIRECT_MAP + sp) for n, (name, sp) in enumerate(
        (("leaf", 0), ("big", 16), ("leaf", 816), ("start", 900)))]  # fmt: skip
    first, second = stack.largest_frames(frames)
    assert (first.function, first.total, first.calls) == ("big", 800, 1)
    assert (second.function, second.total, second.bytes, second.calls) == ("leaf", 100, 84, 2)


def test_the_canary_lies_where_the_function_stores_it() -> None:
    # sub $0x20,%rsp; mov %gs:0x28,%rax; mov %rax,0x18(%rsp)
    code = bytes.fromhex("4883ec206548 8b0425 280000004889442418".replace(" ", ""))
    assert canary_offset(disassemble(code, CODE)) == 0x18
    with pytest.raises(Unavailable):
        canary_offset(disassemble(b"\x48\x89\x44\x24\x18", CODE))


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (0, "null"),
        (0x18, "small"),
        (0x7FFE_195E_8FA4, "user"),
        (0x4A11_C0DE_4A11_C0DE, "not-canonical"),
        (0xFFFF_FFFF_C02B_1000, "module-area"),
        (0xFFFF_8B38_878F_1C60, "kernel-data"),
    ],
)
def test_where_a_jump_went(target: int, kind: str) -> None:
    assert exec_.classify(Kernel().prog, target) == kind


ENTRY, PREV, NEXT, OTHER = (DIRECT_MAP + 0x100 * n for n in range(1, 5))


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[int | None, int | None]]:
    """Links by address, as memory has them."""
    held: dict[int, tuple[int | None, int | None]] = {}

    def read_node(_prog: object, role: str, address: int) -> ListNode:
        forward, back = held.get(address, (None, None))
        return ListNode(role=role, address=address, next=forward, prev=back, identity=None,
                        next_words=None, prev_words=None)  # fmt: skip

    monkeypatch.setattr(linked, "read_node", read_node)
    monkeypatch.setattr(linked, "identify", lambda _prog, _address: None)
    return held


@pytest.mark.parametrize(
    ("text", "operation", "wrong", "roles"),
    [
        ((f"list_add corruption. next->prev should be prev ({PREV:x}), but was {OTHER:x}."
         f" (next={NEXT:x})."), "add", "next->prev", {"prev": PREV, "next": NEXT}),
        ((f"list_add corruption. prev->next should be next ({NEXT:x}), but was {OTHER:x}."
         f" (prev={PREV:x})."), "add", "prev->next", {"prev": PREV, "next": NEXT}),
        (f"list_add double add: new={ENTRY:x}, prev={PREV:x}, next={ENTRY:x}.", "add", "entry",
         {"entry": ENTRY, "prev": PREV, "next": ENTRY}),
        (f"list_del corruption, {ENTRY:x}->next is LIST_POISON1 (dead000000000100)", "delete",
         "entry->next", {"entry": ENTRY}),
        (f"list_del corruption, {ENTRY:x}->prev is NULL", "delete", "entry->prev",
         {"entry": ENTRY}),
        (f"list_del corruption. prev->next should be {ENTRY:x}, but was {OTHER:x}", "delete",
         "prev->next", {"entry": ENTRY}),
        ((f"list_del corruption. next->prev should be {ENTRY:x}, but was {OTHER:x}."
         f" (next={NEXT:x})"), "delete", "next->prev", {"entry": ENTRY, "next": NEXT}),
    ],
)  # fmt: skip
def test_the_texts_of_the_list_checks(
    nodes: dict[int, Any], text: str, operation: str, wrong: str, roles: dict[str, int]
) -> None:
    found = linked.read(crashed(f"{text}\nkernel BUG at lib/list_debug.c:56!\n"))
    assert found is not None
    assert (found.operation, found.wrong) == (operation, wrong)
    assert {node.role: node.address for node in found.nodes} == roles


def test_the_wrong_link_is_compared_with_memory(nodes: dict[int, Any]) -> None:
    nodes |= {PREV: (OTHER, ENTRY), NEXT: (ENTRY, PREV)}
    text = (f"list_add corruption. prev->next should be next ({NEXT:x}), but was {OTHER:x}."
            f" (prev={PREV:x}).\n")  # fmt: skip
    found = linked.read(crashed(text))
    assert found is not None
    wrong, right = found.links
    assert (wrong.expression, wrong.now, wrong.printed, wrong.holds) == (
        "prev->next", OTHER, OTHER, False)  # fmt: skip
    assert right.holds is True


def test_the_neighbours_of_a_removed_entry_come_from_memory(nodes: dict[int, Any]) -> None:
    nodes |= {ENTRY: (NEXT, PREV), NEXT: (OTHER, OTHER), PREV: (ENTRY, OTHER)}
    text = f"list_del corruption. next->prev should be {ENTRY:x}, but was {OTHER:x}\n"
    found = linked.read(crashed(text))
    assert found is not None
    assert found.origin == {"entry": "log", "prev": "memory", "next": "memory"}
    assert {link.expression: link.holds for link in found.links} == {
        "prev->next": True, "next->prev": False}  # fmt: skip


def test_nothing_that_names_the_list_is_said_so(nodes: dict[int, Any]) -> None:
    with pytest.raises(Unavailable):
        linked.read(crashed(""))


REDZONE = """\
BUG kmalloc-64 (Tainted: G           OE     ): Right Redzone overwritten
-----------------------------------------------------------------------------

0xffff8cf187a3d680-0xffff8cf187a3d685 @offset=1664. First byte 0x45 instead of 0xcc
Slab 0xfffffbb1401e8f40 objects=16 used=16 fp=0x0000000000000000 flags=0xfffffc0000200
Object 0xffff8cf187a3d640 @offset=1600 fp=0x0000000000000000
"""


def test_a_report_of_slub_debug_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, bool | None]] = []

    def read_slab_report(_prog: object, address: int, *, free: bool | None) -> Any:
        asked.append((address, free))
        raise Unavailable("the object", Reason.NOT_IN_DUMP, "dropped")

    monkeypatch.setattr(slab, "read_slab_report", read_slab_report)
    newer = REDZONE.replace("Right Redzone overwritten", "Object corrupt").replace(
        "0xffff8cf187a3d680-", "[Poison overwritten] 0xffff8cf187a3d680-"
    )
    poison = REDZONE.replace("Right Redzone", "Poison")
    for text, free in ((REDZONE, None), (poison, True), (newer, True)):
        with pytest.raises(Unavailable):
            slab.read(crashed(text))
        assert asked.pop() == (0xFFFF_8CF1_87A3_D640, free)


@pytest.mark.parametrize(
    ("next_free", "told"),
    [(0, (None, False)), (None, (None, False)), (ENTRY + 0x40, (True, False))],
)
def test_after_a_list_that_ends_early_nothing_is_proved_allocated(
    monkeypatch: pytest.MonkeyPatch, next_free: int | None, told: tuple[bool | None, ...]
) -> None:
    beside = (
        slab_report.Neighbour(where="before", address=ENTRY - 0x40, allocated=True),
        slab_report.Neighbour(where="after", address=ENTRY + 0x40, allocated=False),
    )
    report = slab_report.SlabReport(
        object=ENTRY, cache=OTHER, cache_name="jobs", aliases=(), object_size=64, size=64,
        allocated=False, debug=(), areas=(), tracks=(), neighbours=beside, begins="00",
    )  # fmt: skip
    link = None if next_free is None else SimpleNamespace(next_free=next_free)
    cache = SimpleNamespace(offset=SimpleNamespace(value_=lambda: 32))
    for name, answer in {
        "_is_slub_bug": lambda _crash: True,
        "_argument": lambda _crash: ENTRY,
        "read_slab_report": lambda _prog, _address, free: report,
        "Object": lambda _prog, _type, _address: cache,
        "read_u64": lambda _prog, address, _what: address,
        "hidden_pointer": lambda _prog, held, place: link if held == place == ENTRY + 32 else 1,
    }.items():
        monkeypatch.setattr(slab, name, answer)
    found = slab.read(crashed("kernel BUG at mm/slub.c:419!\n"))
    assert found is not None
    assert found.double_free is True
    assert tuple(one.allocated for one in found.report.neighbours) == told


def test_a_crash_that_is_no_check_of_the_allocator_has_no_section() -> None:
    assert slab.read(crashed("BUG: unable to handle page fault for address: ffff\n")) is None


@pytest.mark.parametrize(
    ("value", "state"),
    [(0, "0"), (-0x4000_0000, "saturated"), (-0x3FFF_FFF0, "saturated"), (5, "in use"),
     (-1, "in use")],
)  # fmt: skip
def test_the_state_of_a_counter(value: int, state: str) -> None:
    assert refcount.state(value) == state


def test_a_counter_that_no_argument_tells_is_not_guessed() -> None:
    found = refcount.read(crashed("refcount_t: underflow; use-after-free.\n"))
    assert found is not None
    assert (found.message, found.address) == ("underflow; use-after-free.", None)
    assert found.absent["address"] is Reason.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("code", "status", "signal", "core"),
    [("00000300", 3, None, False), ("0000000b", None, "SIGSEGV", False),
     ("00000086", None, "SIGABRT", True), ("00000100", 1, None, False)],
)  # fmt: skip
def test_why_init_ended(
    monkeypatch: pytest.MonkeyPatch, code: str, status: int | None, signal: str | None, core: bool
) -> None:
    def task_of_pid(*_: object) -> Any:
        raise Unavailable("PID 1", Reason.NOT_IN_DUMP, "dropped")

    monkeypatch.setattr(init, "task_of_pid", task_of_pid)
    text = f"Kernel panic - not syncing: Attempted to kill init! exitcode=0x{code}\n"
    found = init.read(crashed(text))
    assert found is not None
    assert (found.status, found.signal, found.core_dumped) == (status, signal, core)
    assert (found.origin, found.absent["process"]) == ("log", Reason.NOT_IN_DUMP)


def test_another_panic_is_not_about_init() -> None:
    assert init.read(crashed("Kernel panic - not syncing: Fatal exception\n")) is None


@pytest.mark.parametrize(
    ("functions", "way"),
    [(("sysrq_handle_crash", "write_sysrq_trigger"), "/proc/sysrq-trigger"),
     (("sysrq_handle_crash", "sysrq_filter"), "keyboard"),
     (("sysrq_handle_crash",), None)],
)  # fmt: skip
def test_by_what_way_a_crash_was_asked_for(functions: tuple[str, ...], way: str | None) -> None:
    frames = tuple(frame(n, name) for n, name in enumerate(functions))
    found = sysrq.read(crashed("sysrq: Trigger a crash\n", *frames))
    assert found is not None
    assert found.way == way


def test_nobody_asked_for_an_oops() -> None:
    assert sysrq.read(crashed("kernel BUG at mm/slub.c:1!\n")) is None


def test_an_unknown_nmi() -> None:
    text = ("Uhhuh. NMI received for unknown reason 21 on CPU 3.\n"
            "Kernel panic - not syncing: NMI: Not continuing\n")  # fmt: skip
    found = nmi.read(crashed(text))
    assert found is not None
    assert (found.cause, found.code, found.cpu) == ("unknown", 0x21, 3)
    assert found.settings == {}


MCE = """\
mce: [Hardware Error]: CPU 2: Machine Check Exception: 5 Bank 4: b200000000070f0f
mce: [Hardware Error]: RIP !INEXACT! 10:<ffffffff81234567>
mce: [Hardware Error]: TSC 1234567 ADDR fe00 MISC 86
Kernel panic - not syncing: Fatal machine check
"""


def test_a_machine_check_from_the_log() -> None:
    found = mce.read(crashed(MCE))
    assert found is not None
    (record,) = found.records
    assert (record.cpu, record.bank, record.global_status, record.origin) == (2, 4, 5, "log")
    assert (record.address, record.misc, record.ip) == (0xFE00, 0x86, 0xFFFF_FFFF_8123_4567)
    assert found.corroborated is None


def test_no_record_anywhere_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        mce.read(crashed("Kernel panic - not syncing: Fatal machine check\n"))


ROOT = """\
VFS: Cannot open root device "sda9" or unknown-block(0,0): error -6
Please append a correct "root=" boot option; here are the available partitions:
fe00         1048576 vda
 driver: virtio_blk
  fe01         1047552 vda1 1b2c-01
List of all bdev filesystems:
 ext4
Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)
"""


def test_what_there_was_instead_of_a_root_file_system() -> None:
    found = root_fs.read(crashed(ROOT))
    assert found is not None
    assert found.error_words == "no such device"
    assert found.partitions == ("fe00         1048576 vda", "fe01         1047552 vda1 1b2c-01")
    assert found.absent["parameters"] is Reason.NO_DEBUGINFO


def test_a_bad_page_that_is_not_in_the_dump() -> None:
    text = ("BUG: Bad page state in process orders  pfn:07a00\n"
            "page:000000005b5d3a3c refcount:0 mapcount:0 mapping:00000000aa index:0x0 pfn:0x7a00\n"
            "page dumped because: non-NULL mapping\n")  # fmt: skip
    found = bad_page.read(crashed(text))
    assert found is not None
    assert (found.what, found.why) == ("state", "non-NULL mapping")
    assert (found.page, found.corroborated) == (None, None)
    assert found.absent["page"] is Reason.NO_DEBUGINFO


def test_a_name_of_a_place_that_returns_is_of_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    from crashkit.crash.panics import call_sites

    inner = SymbolAt("parse_name", CODE, 0x75, "kinds")
    after = SymbolAt("next_function", CODE + 0x75, 0x10, "kinds")
    monkeypatch.setattr(
        call_sites, "symbol_at", lambda _prog, pc: inner if pc < CODE + 0x75 else after
    )
    prog = Kernel().prog
    assert call_sites.name_at(prog, CODE + 0x75, returned=True) == "parse_name+0x75 [kinds]"
    assert call_sites.name_at(prog, CODE + 0x75) == "next_function+0x0 [kinds]"
