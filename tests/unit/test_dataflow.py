"""Terms of registers and stack slots, on micro-functions with known answers."""

from __future__ import annotations

import pytest
from drgn import Architecture, Object, Platform, Program, TypeParameter
from hypothesis import given, settings
from hypothesis import strategies as st

from crashkit.dataflow import (
    UNKNOWN,
    Const,
    Dataflow,
    Entry,
    FrameAddress,
    Load,
    Masked,
    Part,
    PerCpu,
    Result,
    State,
    Sum,
    Term,
    Unknown,
    add,
    analyse,
    analyse_function,
    lineage,
    locations_of_entry,
    parameters_of,
    prologue_saves,
    prototype_of,
    saves_of_known_prologue,
    split,
    state_at,
)
from crashkit.disasm import disassemble
from crashkit.errors import Reason, Unavailable
from crashkit.symbols import SymbolAt
from crashkit.symbols.btf import Blob
from crashkit.symbols.btf_structures import CACHE_KEY
from crashkit.symbols.btf_types import BtfTypes
from crashkit.unwind import EntryLocation
from tests.unit import code_doubles as code
from tests.unit.btf_doubles import BtfWriter
from tests.unit.code_doubles import BASE, Snippet, add_function
from tests.unit.kernel_doubles import Kernel

RDI, RSI = Entry("rdi"), Entry("rsi")
ALL_SAVES = {"rbp": -16, "r14": -24, "r13": -32, "r12": -40, "rbx": -48}


def flow(snippet: Snippet) -> Dataflow:
    return analyse(snippet.listing())


def before(snippet: Snippet, text: str, occurrence: int = 0) -> State:
    return flow(snippet).state_before(snippet.at(text, occurrence))


def is_unknown(*terms: Term) -> bool:
    return all(isinstance(term, Unknown) for term in terms)


def test_the_articles_function() -> None:
    state = before(code.EL7_DELIVER, "mov 0xa30(%rax),%rdx")
    loaded_at = code.EL7_DELIVER.at("mov 0xf0(%rdi),%rax")
    assert state.register("rax") == Load(RDI, 0xF0, 8, loaded_at)
    assert state.register("rbx") == RDI
    assert state.register("rbp") == FrameAddress(-16)
    assert state.register("r15") == Entry("r15")
    canary = state.slots[-56].term
    assert canary == PerCpu(Const(0x28), 0, 8, code.EL7_DELIVER.at("mov %gs:0x28,%rax"), "gs")


def test_saves_of_the_articles_function_as_far_as_they_were_made() -> None:
    listing = code.EL7_DELIVER.listing()
    fault = code.EL7_DELIVER.at("mov 0xa30(%rax),%rdx")
    assert prologue_saves(listing, fault) == ALL_SAVES
    assert prologue_saves(listing, code.EL7_DELIVER.at("push %r12")) == {
        "rbp": -16,
        "r14": -24,
        "r13": -32,
    }
    assert prologue_saves(listing, BASE) == {}


def test_loads_nest_through_a_chain_of_pointers() -> None:
    state = before(code.EVENTMASK, "mov 0xb38(%r15),%rax")
    item_ct = Load(Entry("rcx"), 0, 8, code.EVENTMASK.at("mov (%rcx),%rax"))
    ct_net = Load(item_ct, 0x88, 8, code.EVENTMASK.at("mov 0x88(%rax),%r15"))
    assert state.register("r15") == ct_net
    assert list(lineage(ct_net)) == [ct_net, item_ct, Entry("rcx")]


def test_paths_that_agree_keep_the_value_and_paths_that_differ_lose_it() -> None:
    assert before(code.JOIN_EQUAL, "mov (%rax),%rcx").register("rax") == RDI
    different = before(code.JOIN_DIFFERENT, "mov (%rax),%rcx")
    assert is_unknown(different.register("rax"))
    assert different.register("rdi") == RDI


def test_a_loop_keeps_what_it_does_not_change() -> None:
    state = before(code.LOOP, "mov 0x10(%rbx),%rcx")
    assert state.register("rdi") == RDI
    assert is_unknown(state.register("rbx"))
    # The list walk's own value names its latest load, which went through it.
    load = state.register("rax")
    assert isinstance(load, Load)
    assert load == Load(load.base, 0, 8, code.LOOP.at("mov (%rax),%rax"))
    assert load.base == state.register("rbx")  # the one before it in the list
    assert is_unknown(load.base)


def test_writes_of_less_than_a_register() -> None:
    state = before(code.PARTIAL, "ret")
    assert is_unknown(state.register("rax"))
    assert is_unknown(state.register("rcx"))
    assert state.register("rdx") == Part(RDI, 4, signed=False)
    assert state.register("r8") == Part(RSI, 4, signed=True)
    assert state.register("r9") == Part(RDI, 1, signed=False)
    assert state.register("r10") == Const(0)
    assert state.register("r11") == Const(0xFFFF_FFFF)
    assert state.register("rbx") == Const(0xFFFF_FFFF_FFFF_FFFF)


def test_cmpxchg_writes_the_accumulator_and_the_slot() -> None:
    state = before(code.CMPXCHG, "add $0x18,%rsp")
    assert is_unknown(state.register("rax"))
    assert state.register("rcx") == RDI
    assert state.register("rdx") == Load(
        FrameAddress(-24), 0, 8, code.CMPXCHG.at("mov 0x8(%rsp),%rdx")
    )


def test_cmpxchg16b_writes_sixteen_bytes_and_no_more() -> None:
    state = before(code.CMPXCHG16B, "add $0x18,%rsp")
    assert is_unknown(state.register("rax"), state.register("rdx"))
    assert state.register("rbx") == RDI
    assert isinstance(state.register("rcx"), Load)


def test_exchanges() -> None:
    state = before(code.XCHG, "ret")
    assert state.register("rdi") == Entry("rdx")
    assert state.register("rdx") == RDI
    assert state.register("rcx") == RSI
    assert state.register("rax") == Entry("rcx")
    assert is_unknown(state.register("r8"), state.register("r9"))


def test_spilled_values_come_back() -> None:
    state = before(code.SPILL, "ret")
    assert state.register("rcx") == RDI
    assert state.register("rax") == Part(RDI, 4, signed=False)
    assert state.register("rbx") == Entry("rbx")
    assert state.register("rsp") == FrameAddress(-8)
    assert state.slots == {}


def test_a_call_takes_the_caller_saved_registers_only() -> None:
    state = before(code.CALL, "add $0x10,%rsp")
    call = code.CALL.listing()[4]
    assert state.register("rcx") == RDI
    assert state.register("rdx") == Load(RSI, 0, 8, code.CALL.at("mov (%rbx),%rdx"))
    assert state.register("rsi") == Load(
        Result(call.address, call.target), 0x20, 8, code.CALL.at("mov 0x20(%rax),%rsi")
    )
    for name in ("rdi", "r8", "r9", "r10", "r11"):
        assert state.register(name) == UNKNOWN


def test_a_callee_may_change_locals_whose_address_it_can_know() -> None:
    state = before(code.ESCAPE, "add $0x20,%rsp")
    assert state.escaped
    assert state.register("rcx") != RDI
    assert isinstance(state.register("rdx"), Load)
    assert prologue_saves(code.ESCAPE.listing(), code.ESCAPE.at("add $0x20,%rsp")) == {"rbx": -16}


def test_a_store_through_a_pointer_hits_slots_only_after_their_address_got_out() -> None:
    snippet = code.ESCAPE_STORE
    reads = [i.address for i in snippet.listing() if i.text == "mov 0x8(%rsp),%rcx"]
    after = [flow(snippet).state_before(address + 5).register("rcx") for address in reads]
    assert after[0] == RSI  # nobody knows the frame yet
    assert after[1] == RSI  # got out just before, nothing stored since
    assert after[2] != RSI


def test_a_store_to_an_unknown_place_of_the_frame_takes_every_local() -> None:
    assert before(code.INDEXED_STORE, "add $0x28,%rsp").register("rax") != RDI


def test_repeated_stores_to_the_frame_take_every_local_and_no_save() -> None:
    state = before(code.REP_STOS, "add $0x20,%rsp")
    assert state.register("rax") != RSI
    assert is_unknown(state.register("rdi"), state.register("rcx"))
    assert state.slots[-16].term == Entry("rbx")


def test_saves_hold_only_where_every_path_made_them() -> None:
    listing = code.SHRINK_WRAPPED.listing()
    assert prologue_saves(listing, code.SHRINK_WRAPPED.at("ret")) == {}
    call = next(i for i in listing if i.operation == "call")
    expected = {"r12": -16, "rbp": -24, "rbx": -32}
    assert prologue_saves(listing, call.address) == expected
    assert prologue_saves(listing, call.end, returning=True) == expected
    assert prologue_saves(listing, code.SHRINK_WRAPPED.at("pop %rbp")) == {"r12": -16, "rbp": -24}


@pytest.mark.parametrize(
    ("snippet", "saves"),
    [
        (code.OLD_SAVES, {"r12": -16, "rbp": -24, "rbx": -32}),
        (code.RBP_SAVES, {"rbp": -16, "r12": -24, "rbx": -32}),
    ],
)
def test_saves_by_mov_survive_an_escaped_frame(snippet: Snippet, saves: dict[str, int]) -> None:
    call = next(i for i in snippet.listing() if i.operation == "call")
    assert prologue_saves(snippet.listing(), call.end, returning=True) == saves


def test_masks_and_pointer_arithmetic_fold() -> None:
    state = before(code.MASKED, "ret")
    nfct = Load(RDI, 0x68, 8, code.MASKED.at("mov 0x68(%rdi),%rax"))
    assert state.register("rax") == Masked(nfct, 0xFFFF_FFFF_FFFF_FFF8)
    state = before(code.LEA, "ret")
    assert is_unknown(state.register("rbx")) or state.register("rbx") == Sum(RDI, 0x15)
    assert is_unknown(state.register("rcx"))
    assert state.register("rdx") == Part(Sum(RDI, 5), 4, signed=False)
    assert before(code.CONTAINER, "ret").register("rbx") == Sum(
        Load(RDI, 8, 8, code.CONTAINER.at("mov 0x8(%rdi),%rax")), -0x20
    )


def test_inc_is_an_addition() -> None:
    assert before(code.LEA, "ret").register("rax") == Load(
        RDI, 0x18, 8, code.LEA.at("mov 0x3(%rbx),%rax")
    )


def test_an_unresolved_jump_makes_the_analysis_incomplete() -> None:
    assert not flow(code.JUMP_TABLE).complete
    assert not flow(code.OVERLAP).complete
    assert flow(code.TAIL_CALL).complete
    assert flow(code.EL7_DELIVER).complete


def test_a_bug_ends_a_path_and_a_warning_joins() -> None:
    bug = analyse(code.TRAP.listing(is_warning=lambda _: False))
    warning = analyse(code.TRAP.listing(is_warning=lambda _: True))
    place = code.TRAP.at("mov (%rax),%rcx")
    assert bug.state_before(place).register("rax") == RDI
    assert is_unknown(warning.state_before(place).register("rax"))


def test_blocks_that_nothing_is_known_to_reach_may_run_all_the_same() -> None:
    assert is_unknown(before(code.FIXUP, "mov (%rax),%rcx").register("rax"))


def test_exception_edges_join_what_the_instruction_may_have_left() -> None:
    listing = code.TRAP.listing()
    place, load = code.TRAP.at("mov (%rax),%rcx"), code.TRAP.at("mov %rdi,%rax")
    known = analyse(listing, exception_edges={load: [place]})
    assert is_unknown(known.state_before(place).register("rax"))
    assert known.state_before(place).register("rdi") == RDI


def test_conditional_moves() -> None:
    state = before(code.CMOV, "ret")
    assert is_unknown(state.register("rax"))
    assert state.register("rcx") == RDI


def test_where_an_entry_value_lies() -> None:
    fault = code.EL7_DELIVER.at("mov 0xa30(%rax),%rdx")
    assert locations_of_entry(flow(code.EL7_DELIVER), fault, "rdi") == (
        EntryLocation(register="rbx"),
        EntryLocation(register="rdi"),
    )
    call = next(i for i in code.CALL.listing() if i.operation == "call")
    during = locations_of_entry(flow(code.CALL), call.end, "rdi", returning=True)
    assert during == (EntryLocation(cfa_offset=-24),)


def test_a_slot_the_function_never_reads_may_be_its_callees() -> None:
    call = next(i for i in code.OUTGOING.listing() if i.operation == "call")
    analysed = flow(code.OUTGOING)
    assert locations_of_entry(analysed, call.end, "rdi", returning=True) == ()
    assert locations_of_entry(analysed, call.end, "rsi", returning=True) == (
        EntryLocation(cfa_offset=-24),
    )


def test_a_realigned_stack_forgets_the_frame() -> None:
    state = before(code.ALIGNED_STACK, "ret")
    assert is_unknown(state.register("rsp"))
    assert state.register("rax") != RDI


def test_no_state_between_instructions() -> None:
    with pytest.raises(Unavailable):
        flow(code.EL7_DELIVER).state_before(BASE + 1)
    with pytest.raises(Unavailable):
        analyse([])


def test_terms_have_one_normal_form() -> None:
    assert add(add(RDI, 8), -8) == RDI
    assert add(Const(0xFFFF_FFFF_FFFF_FFFF), 1) == Const(0)
    assert add(add(RDI, 2**63), 2**63) == RDI
    assert split(add(add(RDI, 8), 8)) == (RDI, 16)
    assert add(UNKNOWN, 4) == Unknown()


def test_a_function_is_analysed_with_its_cold_part() -> None:
    kernel = Kernel()
    # mov %rdi,%rax; test %rsi,%rsi; je cold; 1: mov (%rax),%rcx; ret
    hot = bytes.fromhex("48 89 f8 48 85 f6 0f 84 f4 00 00 00 48 8b 08 c3")
    cold = bytes.fromhex("48 89 f0 e9 04 ff ff ff")  # mov %rsi,%rax; jmp 1b
    kernel.put(BASE, hot)
    kernel.put(BASE + 0x100, cold)
    kernel.symbol("f", BASE, len(hot))
    kernel.symbol("f.cold", BASE + 0x100, len(cold))
    function = SymbolAt("f", BASE, len(hot), None)
    state = analyse_function(kernel.prog, function).state_before(BASE + 12)
    assert is_unknown(state.register("rax"))
    assert state.register("rdi") == RDI
    part = SymbolAt("f.cold", BASE + 0x100, len(cold), None)
    inside = analyse_function(kernel.prog, part).state_before(BASE + 0x103)
    assert inside.register("rax") == RSI


# push %rbp; push %rbx; sub $0x18,%rsp; mov %rdi,%rbx; test %rsi,%rsi; je 1f;
# mov (%rdi),%rax; mov %rax,%r13; mov %r13,%rsi; lea 0x10(%r13),%rdx; call . + 0x1000;
# 1: mov %rbx,%rdi; call . + 0x1000; add $0x18,%rsp; pop %rbx; pop %rbp; ret
LARGE = bytes.fromhex(
    "55 53 48 83 ec 18 48 89 fb 48 85 f6 74 12 48 8b 07 49 89 c5 4c 89 ee 49 8d 55 10 "
    "e8 fb 0f 00 00 48 89 df e8 fb 0f 00 00 48 83 c4 18 5b 5d c3"
)
FIRST_CALL, JOIN, SECOND_CALL = BASE + 0x1B, BASE + 0x20, BASE + 0x23


def partly(first: int, end: int) -> Dataflow:
    """The function above without the bytes in between."""
    known = disassemble(LARGE[:first], BASE) + disassemble(LARGE[end:], BASE + end)
    return analyse(known, entry=BASE, gaps=True)


def test_behind_a_gap_a_copy_is_still_a_copy() -> None:
    found = partly(0, 0x14)
    assert not found.complete
    state = found.state_before(FIRST_CALL)
    assert is_unknown(state.register("r13"), state.register("rsp"))
    assert state.register("r13") == state.register("rsi") != UNKNOWN
    assert split(state.register("rdx")) == (state.register("r13"), 0x10)
    assert state.register("rbx") not in (UNKNOWN, RDI, state.register("r13"))
    assert saves_of_known_prologue(found) == {}


def test_what_ran_before_a_gap_is_forgotten_behind_it() -> None:
    found = partly(0xE, 0x14)
    assert not found.complete
    state = found.state_before(FIRST_CALL)
    assert state.register("rbx") != RDI  # what is missing may have changed it
    assert state.slots == {}
    assert found.state_before(BASE + 0xC).register("rbx") == RDI
    after = found.state_before(SECOND_CALL)
    assert after.register("rdi") == after.register("rbx") != RDI


def test_a_block_behind_a_gap_that_is_also_jumped_to() -> None:
    # mov %rdi,%rbx is known on the way by the jump, not on the one through the gap.
    state = partly(0xE, 0x20).state_before(SECOND_CALL)
    assert state.register("rdi") == state.register("rbx") != RDI
    whole = analyse(disassemble(LARGE, BASE)).state_before(SECOND_CALL)
    assert whole.register("rdi") == RDI


def test_pushes_of_a_prologue_whose_function_is_missing() -> None:
    found = partly(4, 0x28)
    assert saves_of_known_prologue(found) == {"rbp": -16, "rbx": -24}
    assert found.call_before(JOIN) is None
    with pytest.raises(Unavailable):
        found.state_before(FIRST_CALL)
    assert saves_of_known_prologue(partly(1, 0x28)) == {"rbp": -16}
    # push %rbp; test %rdi,%rdi; je 1f; push %rbx; 1: push %r12; mov %rdi,%r13; push %r13
    branches = analyse(disassemble(bytes.fromhex("55 48 85 ff 74 01 53 41 54"), BASE))
    assert saves_of_known_prologue(branches) == {"rbp": -16}
    changed = analyse(disassemble(bytes.fromhex("41 54 48 89 fb 53 41 55 57"), BASE))
    assert saves_of_known_prologue(changed) == {"r12": -16, "r13": -32}


def test_a_function_is_analysed_as_far_as_the_dump_has_it() -> None:
    kernel = Kernel()
    start = BASE + 0x1000 - 0x14
    kernel.put(start, LARGE)
    kernel.symbol("f", start, len(LARGE))
    function = SymbolAt("f", start, len(LARGE), None)
    assert analyse_function(kernel.prog, function).complete
    kernel.prog.cache.clear()
    kernel.drop(start)
    found = analyse_function(kernel.prog, function)
    assert (found.complete, found.entry) == (False, start)
    state = found.state_before(start + 0x1B)
    assert state.register("rsi") == state.register("r13") != UNKNOWN
    assert locations_of_entry(found, start + 0x1B, "rdi") == ()
    kernel.prog.cache.clear()
    kernel.drop(BASE + 0x1000)
    with pytest.raises(Unavailable) as missing:
        analyse_function(kernel.prog, function)
    assert missing.value.reason is Reason.NOT_IN_DUMP


def test_a_function_without_its_cold_part_is_not_complete() -> None:
    kernel = Kernel()
    hot = bytes.fromhex("48 89 f8 48 85 f6 0f 84 f4 0f 00 00 48 8b 08 c3")
    cold = bytes.fromhex("48 89 f0 e9 04 ef ff ff")  # mov %rsi,%rax; jmp back
    kernel.put(BASE, hot)
    kernel.put(BASE + 0x1000, cold)
    kernel.symbol("f", BASE, len(hot))
    kernel.symbol("f.cold", BASE + 0x1000, len(cold))
    function = SymbolAt("f", BASE, len(hot), None)
    assert analyse_function(kernel.prog, function).complete
    kernel.prog.cache.clear()
    kernel.drop(BASE + 0x1000)
    found = analyse_function(kernel.prog, function)
    assert not found.complete
    assert found.state_before(BASE + 12).register("rax") == RDI


def test_parameters_by_position_stop_where_the_abi_does() -> None:
    kernel = Kernel()
    kernel.struct("pair", 16, ("a", "long", 0), ("b", "long", 8))
    kernel.struct("id", 4, ("value", "int", 0))
    kernel.struct("three", 24, ("a", "long", 0), ("b", "long", 8), ("c", "long", 16))
    kernel.struct("packed", 16, ("a", "int", 0), ("b", "long", 4), ("c", "int", 12))
    kernel.struct("real", 8, ("a", "double", 0))
    words = [(f"p{n}", "long") for n in range(7)]
    types = [("ctype", name) for name, _ in words]
    assert len(types) == 7
    add_function(kernel, "f", code.SPILL, *[("long", name) for name, _ in words])
    add_function(
        kernel, "g", code.SPILL, ("long", "a"), ("struct pair", "b"), ("long", "c"), address=BASE
    )
    prog = kernel.prog
    found = parameters_of(prog.function("f").type_)
    assert found[Entry("r9")].name == "p5"
    assert found[FrameAddress(0)].name == "p6"
    assert parameters_named(prog, "g") == {"a": Entry("rdi"), "c": Entry("rcx")}
    six = [("long", f"p{n}") for n in range(5)]
    for name, types in {
        "by_id": [("struct id", "a"), ("long", "b")],
        "on_stack": [("struct three", "a"), ("long", "b")],
        "no_room": [*six, ("struct pair", "a"), ("long", "b"), ("long", "c")],
        "packed": [("long", "a"), ("struct packed", "b"), ("long", "c")],
        "real": [("long", "a"), ("struct real", "b"), ("long", "c")],
    }.items():
        add_function(kernel, name, code.SPILL, *types, address=BASE + 0x1000)
    assert parameters_named(prog, "by_id") == {"a": Entry("rdi"), "b": Entry("rsi")}
    assert parameters_named(prog, "on_stack") == {"b": Entry("rdi")}
    no_room = parameters_named(prog, "no_room")
    assert (no_room["b"], no_room["c"]) == (Entry("r9"), FrameAddress(16))
    assert "a" not in no_room
    assert parameters_named(prog, "packed") == parameters_named(prog, "real")
    assert parameters_named(prog, "packed") == {"a": Entry("rdi")}


def parameters_named(prog: Program, function: str) -> dict[str, object]:
    found = parameters_of(prog.function(function).type_)
    return {parameter.name: place for place, parameter in found.items()}


def test_prototypes_of_clones_and_of_namesakes_are_refused() -> None:
    kernel = Kernel()
    add_function(kernel, "f", code.SPILL, ("long", "a"))
    prog = kernel.prog
    assert prototype_of(prog, SymbolAt("f", BASE, 9, None)).parameters[0].name == "a"
    assert prototype_of(prog, SymbolAt("f.cold", BASE + 99, 9, None)).parameters[0].name == "a"
    for name, address, reason in (
        ("f.constprop.0", BASE, Reason.OPTIMIZED_OUT),
        ("f.isra.0.cold", BASE, Reason.OPTIMIZED_OUT),
        ("f", BASE + 0x100, Reason.AMBIGUOUS),
        ("g", BASE, Reason.NO_DEBUGINFO),
    ):
        with pytest.raises(Unavailable) as refused:
            prototype_of(prog, SymbolAt(name, address, 9, None))
        assert refused.value.reason is reason


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=300))
def test_any_code_is_analysed_to_an_end(junk: bytes) -> None:
    listing = disassemble(junk, BASE)
    analysed = analyse(listing)
    for instruction in listing:
        state = analysed.state_before(instruction.address)
        moved = instruction.writes if instruction.repeats else frozenset()
        stopped = state_at(analysed, instruction.address).registers
        assert {k: v for k, v in stopped.items() if k not in moved} == {
            k: v for k, v in state.registers.items() if k not in moved
        }


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=60)), min_size=1))
def test_any_pieces_of_code_are_analysed_to_an_end(pieces: list[tuple[int, bytes]]) -> None:
    listing, at = [], BASE
    for gap, junk in pieces:
        listing += disassemble(junk, at + gap)
        at += gap + len(junk)
    found = analyse(listing, entry=BASE, gaps=True)
    assert not found.complete
    for instruction in listing:
        found.state_before(instruction.address)


_OPCODES = [
    "4889f8", "488b00", "4889c3", "75%02x", "eb%02x", "e800100000", "53", "5b", "4883ec18",
    "4889442408", "488b442408", "488d4c2408", "c3", "0f0b", "ffe0", "f0480fb137",
]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(_OPCODES), st.integers(0, 255)), min_size=1, max_size=60))
def test_tangled_control_flow_ends(parts: list[tuple[str, int]]) -> None:
    junk = bytes.fromhex("".join(p % n if "%" in p else p for p, n in parts))
    analysed = analyse(disassemble(junk, BASE))
    assert analysed.state_before(BASE).register("rsp") in (FrameAddress(-8), UNKNOWN)


def test_a_repeated_instruction_that_was_stopped_half_way_moved_its_pointers() -> None:
    code_ = bytes.fromhex("f348abc3")
    listing = analyse(disassemble(code_, BASE))
    assert listing.state_before(BASE).register("rdi") == RDI
    stopped = state_at(listing, BASE)
    assert is_unknown(stopped.register("rdi"), stopped.register("rcx"))
    assert stopped.register("rax") == Entry("rax")
    # Behind it nothing is half done.
    assert state_at(listing, BASE + 3).register("rax") == Entry("rax")


def test_a_prototype_without_an_address_is_not_a_modules() -> None:
    prog = Program(Platform(Architecture.X86_64))
    number = prog.int_type("int", 4, True)
    made = prog.function_type(number, (TypeParameter(number, "inlined"),))
    prog.register_object_finder(
        "double",
        lambda prog, name, flags, filename: Object(prog, made) if name == "f" else None,
        enable_index=0,
    )
    assert prototype_of(prog, SymbolAt("f", BASE, 9, None)).parameters[0].name == "inlined"
    with pytest.raises(Unavailable) as why:
        prototype_of(prog, SymbolAt("f", BASE, 9, "fs_driver"))
    assert why.value.reason is Reason.AMBIGUOUS


def with_btf(prog: Program) -> None:
    """Make the program one whose types are from BTF, which is empty."""
    prog.cache[CACHE_KEY] = BtfTypes(prog, Blob("vmlinux", BtfWriter().data()))


@pytest.mark.parametrize(("name", "address"), [("f", BASE), ("f.cold", BASE + 0x900)])
def test_of_several_functions_of_a_name_btf_does_not_say_which_it_describes(
    name: str, address: int
) -> None:
    kernel = Kernel()
    add_function(kernel, "f", code.SPILL, ("long", "a"))
    kernel.symbol("f", BASE, 0x40)
    with_btf(kernel.prog)
    function = SymbolAt(name, address, 9, None)
    # One of that name: it is described.
    assert prototype_of(kernel.prog, function).parameters[0].name == "a"
    kernel.symbol("f", BASE + 0x400, 0x40)
    kernel.prog.cache.clear()
    with_btf(kernel.prog)
    with pytest.raises(Unavailable) as why:
        prototype_of(kernel.prog, function)
    assert why.value.reason is Reason.AMBIGUOUS


def test_a_cold_part_is_of_one_of_the_functions_of_its_name() -> None:
    kernel = Kernel()
    add_function(kernel, "f", code.SPILL, ("long", "a"))
    kernel.symbol("f", BASE, 0x40)
    kernel.symbol("f", BASE + 0x400, 0x40)
    # The function itself is told by the address that other debug information has.
    assert prototype_of(kernel.prog, SymbolAt("f", BASE, 9, None)).parameters[0].name == "a"
    with pytest.raises(Unavailable) as why:
        prototype_of(kernel.prog, SymbolAt("f.cold", BASE + 0x900, 9, None))
    assert why.value.reason is Reason.AMBIGUOUS
