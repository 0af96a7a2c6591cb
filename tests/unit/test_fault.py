"""Faults explained: the expression, its bad part, then and now, and honest gaps."""

from __future__ import annotations

import pytest
from drgn import Object, TypeKind, TypeMember

from crashkit.errors import Reason
from crashkit.fault import Fault, explain_fault
from crashkit.value import Certainty, Origin
from tests.unit import code_doubles as code
from tests.unit.code_doubles import BASE, Snippet, add_function, fault_frame
from tests.unit.kernel_doubles import Kernel

CT = 0xFFFF_893C_A41E_5140
ITEM = 0xFFFF_893C_4F52_7800
INIT_NET = 0xFFFF_FFFF_A031_5E40
SP = 0xFFFF_893C_4F52_7000


def conntrack(ct_net: int = 0xF0, event_cb: int = 0xA30) -> Kernel:
    """Types of el7's conntrack, with these offsets, and memory of one connection."""
    kernel = Kernel()
    prog = kernel.prog
    kernel.struct("netns_ct", 0x200, ("count", "int", 0), ("nf_conntrack_event_cb", "void *", 0x38))
    kernel.struct("net", 0xC00, ("other", "long", 0), ("ct", "struct netns_ct", event_cb - 0x38))
    net = TypeMember(kernel.type("struct net *"), "net", 0)
    wrapper = prog.typedef_type("possible_net_t", prog.struct_type(None, 8, (net,)))
    kernel._types[TypeKind.TYPEDEF, "possible_net_t"] = wrapper
    kernel.struct(
        "nf_conn", 0x138, ("use", "int", 0), ("status", "long", 0x80),
        ("ct_net", "possible_net_t", ct_net),
    )  # fmt: skip
    kernel.struct(
        "sk_buff", 0xE8, ("next", "struct sk_buff *", 0), ("_nfct", "unsigned long", 0x68),
    )  # fmt: skip
    kernel.put(CT, bytes(0x138))
    kernel.put(CT + ct_net, INIT_NET.to_bytes(8, "little"))
    kernel.symbol("init_net", INIT_NET, 0xC00)
    return kernel


@pytest.fixture
def kernel() -> Kernel:
    return conntrack()


def el7(kernel: Kernel, **options: object) -> Fault:
    snippet = code.EL7_DELIVER
    pc = snippet.at("mov 0xa30(%rax),%rdx")
    add_function(kernel, "nf_ct_deliver_cached_events", snippet, ("struct nf_conn *", "ct"))
    registers = {"rax": 0, "rdi": CT, "rbx": CT, "rsp": SP, "rdx": 7}
    return explain_fault(
        kernel.prog,
        fault_frame(snippet, pc, **registers),
        **{"fault_address": 0xA30, **options},  # type: ignore[arg-type]
    )


def test_the_articles_fault(kernel: Kernel) -> None:
    fault = el7(kernel)
    assert fault.expression == "ct->ct_net->ct.nf_conntrack_event_cb"
    assert fault.null_or_bad == "ct->ct_net"
    assert fault.certainty is Certainty.PROVED
    assert fault.diagnosis.kind == "null"
    assert (fault.symbol, fault.offset) == ("nf_ct_deliver_cached_events", 0x2D)
    assert fault.instruction == "mov 0xa30(%rax),%rdx"
    assert (fault.access, fault.address, fault.bad_register) == ("read", 0xA30, "rax")
    assert fault.alternatives == ()
    assert fault.conflict is None
    assert fault.absent == {}


def test_then_and_now_of_the_articles_fault(kernel: Kernel) -> None:
    fault = el7(kernel)
    ct, net = fault.chain
    assert (ct.expression, ct.ctype, ct.value) == ("ct", "struct nf_conn *", CT)
    assert (ct.origin, ct.certainty) == (Origin.REGISTER, Certainty.PROVED)
    assert (net.expression, net.ctype, net.value) == ("ct->ct_net", "struct net *", 0)
    assert (net.address, net.now, net.now_identity) == (CT + 0xF0, INIT_NET, "init_net")
    assert (net.register, net.now_certainty) == ("rax", Certainty.PROVED)
    assert fault.memory_disagrees is True


def test_steps_of_the_articles_fault(kernel: Kernel) -> None:
    steps = [(s.offset, s.instruction, s.expression, s.trapping) for s in el7(kernel).steps]
    assert steps == [
        (0x10, "mov %rdi,%rbx", "ct", False),
        (0x26, "mov 0xf0(%rdi),%rax", "ct->ct_net", False),
        (0x2D, "mov 0xa30(%rax),%rdx", "ct->ct_net->ct.nf_conntrack_event_cb", True),
    ]


def test_memory_that_still_holds_the_bad_value_does_not_disagree(kernel: Kernel) -> None:
    kernel.put(CT + 0xF0, bytes(8))
    assert el7(kernel).memory_disagrees is False


def test_without_the_objects_page_the_expression_stands_and_now_is_unknown(kernel: Kernel) -> None:
    kernel.drop(CT)
    fault = el7(kernel)
    assert fault.expression == "ct->ct_net->ct.nf_conntrack_event_cb"
    assert fault.chain[-1].now is None
    assert fault.chain[-1].absent["now"] is Reason.NOT_IN_DUMP
    assert fault.memory_disagrees is None
    assert fault.absent == {"memory_disagrees": Reason.NOT_IN_DUMP}


def test_an_address_the_registers_do_not_give_is_a_conflict(kernel: Kernel) -> None:
    fault = el7(kernel, fault_address=0xA38)
    assert fault.conflict is not None
    assert "0xa38" in fault.conflict
    assert "0xa30" in fault.conflict
    assert (fault.expression, fault.null_or_bad, fault.chain) == (None, None, ())
    assert fault.absent["expression"] is Reason.CORRUPTED
    assert fault.instruction == "mov 0xa30(%rax),%rdx"


def test_a_fault_on_the_accesss_second_page_is_no_conflict(kernel: Kernel) -> None:
    assert el7(kernel, fault_address=0xA34).conflict is None


@pytest.mark.parametrize(
    ("kept", "origin", "certainty"),
    [
        ({"rax": CT}, Origin.REGISTER, Certainty.PROVED),
        # No register keeps item->ct: what memory holds may be another value by now.
        ({}, Origin.MEMORY, Certainty.INFERRED),
    ],
)
def test_the_newer_kernels_form(kept: dict[str, int], origin: Origin, certainty: Certainty) -> None:
    kernel = conntrack(ct_net=0x88, event_cb=0xB38)
    kernel.struct("nf_ct_event", 24, ("ct", "struct nf_conn *", 0))
    kernel.put(ITEM, CT.to_bytes(8, "little"))
    snippet = code.EVENTMASK
    add_function(
        kernel, "__nf_conntrack_eventmask_report", snippet, ("void *", "e"),
        ("unsigned int", "events"), ("unsigned int", "missed"),
        ("const struct nf_ct_event *", "item"),
    )  # fmt: skip
    pc = snippet.at("mov 0xb38(%r15),%rax")
    frame = fault_frame(snippet, pc, rcx=ITEM, rbp=ITEM, r15=0, rsp=SP, **kept)
    fault = explain_fault(kernel.prog, frame, fault_address=0xB38)
    assert fault.expression == "item->ct->ct_net->ct.nf_conntrack_event_cb"
    assert fault.null_or_bad == "item->ct->ct_net"
    item, ct, net = fault.chain
    assert (item.value, item.certainty) == (ITEM, Certainty.PROVED)
    assert (ct.value, ct.origin, ct.certainty) == (CT, origin, certainty)
    assert (net.value, net.now, net.now_certainty) == (0, INIT_NET, certainty)
    assert fault.memory_disagrees is True


def simple(
    kernel: Kernel,
    snippet: Snippet,
    text: str,
    address: int | None,
    *parameters: tuple[str, str],
    **registers: int,
) -> Fault:
    add_function(kernel, "f", snippet, *parameters)
    pc = snippet.at(text)
    return explain_fault(
        kernel.prog, fault_frame(snippet, pc, **{"rsp": SP, **registers}), fault_address=address
    )


CT_PARAMETER = ("struct nf_conn *", "ct")


RAW = "*(u64 *)(*(u64 *)((%rdi on entry) + 0xf0) + 0xa30)"


def test_without_a_prototype_the_places_in_memory_are_said(kernel: Kernel) -> None:
    snippet = code.EL7_DELIVER
    add_function(kernel, "f", snippet, described=False)
    pc = snippet.at("mov 0xa30(%rax),%rdx")
    frame = fault_frame(snippet, pc, rax=0, rdi=CT, rsp=SP)
    fault = explain_fault(kernel.prog, frame, fault_address=0xA30)
    assert (fault.expression, fault.null_or_bad) == (RAW, RAW[len("*(u64 *)(") : -len(" + 0xa30)")])
    assert fault.certainty is Certainty.INFERRED
    assert [link.value for link in fault.chain] == [CT, 0]
    assert (fault.bad_register, fault.address, fault.diagnosis.kind) == ("rax", 0xA30, "null")
    assert fault.instruction == "mov 0xa30(%rax),%rdx"


def test_a_clone_is_never_read_by_position(kernel: Kernel) -> None:
    snippet = code.EL7_DELIVER
    add_function(kernel, "f", snippet, CT_PARAMETER, address=BASE + 0x1000)
    kernel.put(BASE, snippet.code)
    kernel.symbol("f.isra.0", BASE, len(snippet.code))
    pc = snippet.at("mov 0xa30(%rax),%rdx")
    frame = fault_frame(snippet, pc, rax=0, rdi=CT, rsp=SP)
    fault = explain_fault(kernel.prog, frame, fault_address=0xA30)
    assert fault.expression == RAW


def test_a_value_that_two_paths_may_have_made_is_one_of_them(kernel: Kernel) -> None:
    fault = simple(
        kernel, code.JOIN_DIFFERENT, "mov (%rax),%rcx", 0,
        CT_PARAMETER, ("struct nf_conn *", "other"), rax=0, rdi=CT, rsi=CT,
    )  # fmt: skip
    assert [one.expression for one in fault.one_of] == ["ct", "other"]
    assert fault.null_or_bad == "((struct nf_conn *)%rax)"
    assert fault.certainty is Certainty.INFERRED


@pytest.mark.parametrize("event_cb", [0xA28, 0xA20])
def test_an_offset_that_is_no_member_is_not_explained(event_cb: int) -> None:
    fault = el7(conntrack(event_cb=event_cb))
    assert fault.expression is None
    assert fault.absent["expression"] is Reason.NOT_APPLICABLE
    # What was bad does not depend on what was to be read through it.
    assert fault.null_or_bad == "ct->ct_net"


def test_a_null_parameter(kernel: Kernel) -> None:
    fault = simple(
        kernel, code.EL7_DELIVER, "mov 0xf0(%rdi),%rax", 0xF0, CT_PARAMETER, rdi=0, rbx=0
    )
    assert (fault.expression, fault.null_or_bad) == ("ct->ct_net", "ct")
    assert fault.diagnosis.kind == "null"
    assert fault.memory_disagrees is None
    assert fault.absent == {"memory_disagrees": Reason.NOT_APPLICABLE}


def test_flags_in_a_pointers_low_bits(kernel: Kernel) -> None:
    skb = CT + 0x1000
    kernel.put(skb, bytes(0xE8))
    kernel.put(skb + 0x68, (2).to_bytes(8, "little"))
    fault = simple(
        kernel, code.MASKED, "mov 0x80(%rax),%rdx", 0x80,
        ("struct sk_buff *", "skb"), rax=0, rdi=skb,
    )  # fmt: skip
    assert fault.null_or_bad == "(skb->_nfct & ~0x7)"
    assert fault.expression == "(skb->_nfct & ~0x7)->status"
    assert [link.expression for link in fault.chain] == ["skb", "skb->_nfct", "(skb->_nfct & ~0x7)"]
    assert fault.chain[1].certainty is Certainty.INFERRED


def test_the_container_of_nothing(kernel: Kernel) -> None:
    kernel.struct("node", 16, ("prev", "struct node *", 0), ("next", "struct node *", 8))
    fault = simple(
        kernel, code.CONTAINER, "mov 0x18(%rbx),%rcx", (1 << 64) - 8,
        ("struct node *", "head"), rbx=(1 << 64) - 0x20, rax=0, rdi=CT,
    )  # fmt: skip
    assert fault.null_or_bad == "head->next"
    assert fault.diagnosis.kind == "container-of-null"
    assert fault.expression == "*(u64 *)((void *)head->next - 0x8)"


def test_the_result_of_a_call(kernel: Kernel) -> None:
    call = next(i for i in code.CALL_RESULT.listing() if i.operation == "call")
    assert call.target is not None
    add_function(kernel, "find_it", code.SPILL, result="struct nf_conn *", address=call.target)
    fault = simple(
        kernel, code.CALL_RESULT, "mov 0xa30(%rbx),%rcx", 0xA30, CT_PARAMETER, rbx=0, rax=CT
    )
    assert fault.expression == "find_it()->ct_net->ct.nf_conntrack_event_cb"
    assert [link.value for link in fault.chain] == [CT, 0]


def test_a_global_variable(kernel: Kernel) -> None:
    address = code.GLOBAL.listing()[1].address + 0x1000
    pointer = kernel.type("struct nf_conn *")
    kernel._variables["the_ct"] = Object(kernel.prog, pointer, address=address)
    kernel.symbol("the_ct", address, 8)
    kernel.put(address, bytes(8))
    fault = simple(kernel, code.GLOBAL, "mov 0xf0(%rax),%rax", 0xF0, rax=0)
    assert (fault.expression, fault.null_or_bad) == ("the_ct->ct_net", "the_ct")
    assert fault.memory_disagrees is False


def test_a_global_that_nothing_describes_is_its_symbol_and_a_distance(kernel: Kernel) -> None:
    address = code.GLOBAL.listing()[1].address + 0x1000
    kernel.symbol("table", address - 0x18, 0x40)
    kernel.put(address - 0x18, bytes(0x40))
    fault = simple(kernel, code.GLOBAL, "mov 0xf0(%rax),%rax", 0xF0, rax=0)
    assert fault.null_or_bad == "*(u64 *)((void *)&table + 0x18)"
    assert fault.expression == "*(u64 *)(*(u64 *)((void *)&table + 0x18) + 0xf0)"


def test_an_index_register(kernel: Kernel) -> None:
    table = ("struct nf_conn **", "table")
    bad = simple(kernel, code.INDEXED_READ, "mov (%rdi,%rsi,8),%rax", 24, table, rdi=0, rsi=3)
    assert (bad.expression, bad.null_or_bad, bad.bad_register) == ("table[3]", "table", "rdi")
    index = 1 << 40
    far = simple(
        kernel, code.INDEXED_READ, "mov (%rdi,%rsi,8),%rax", CT + 8 * index, table,
        ("long", "i"), rdi=CT, rsi=index,
    )  # fmt: skip
    assert (far.bad_register, far.null_or_bad) == ("rsi", "i")


def test_a_stack_parameter(kernel: Kernel) -> None:
    words = [("long", f"p{n}") for n in range(6)]
    fault = simple(
        kernel, code.STACK_ARGUMENT, "mov 0x8(%rax),%rcx", 8, *words,
        ("struct sk_buff *", "seventh"), rax=0,
    )  # fmt: skip
    assert fault.null_or_bad == "seventh"


def test_per_cpu_memory_needs_its_base(kernel: Kernel) -> None:
    frame = fault_frame(code.PER_CPU, code.PER_CPU.at("mov %gs:0x1fbc0,%rax"), rsp=SP)
    add_function(kernel, "f", code.PER_CPU)
    fault = explain_fault(kernel.prog, frame, fault_address=0x1FBC0)
    assert fault.bad_register is None
    assert fault.conflict is None
    wrong = explain_fault(
        kernel.prog, frame, fault_address=0x1FBC0, segment_bases={"gs": 0xFFFF_8880_0000_0000}
    )
    assert wrong.conflict is not None


@pytest.mark.parametrize(
    ("member_of_conn", "expression", "alternatives"),
    [
        (0x80, "ct->links.net->ct.nf_conntrack_event_cb", ()),
        (0xA30, "ct->links.next->status", ("ct->links.net->ct.nf_conntrack_event_cb",)),
    ],
)
def test_readings_of_a_union_are_kept_while_they_fit(
    member_of_conn: int, expression: str, alternatives: tuple[str, ...]
) -> None:
    kernel = conntrack()
    kernel.union("links", 8, ("next", "struct nf_conn *", 0), ("net", "struct net *", 0))
    kernel.struct(
        "nf_conn", 0xB00, ("links", "union links", 0xF0), ("status", "long", member_of_conn)
    )
    fault = el7(kernel)
    assert (fault.expression, fault.alternatives) == (expression, alternatives)
    assert fault.null_or_bad is not None
    assert expression.startswith(fault.null_or_bad + "->")
    assert (fault.certainty is Certainty.INFERRED) == bool(alternatives)


def test_a_refused_address_has_no_cr2(kernel: Kernel) -> None:
    poison = 0xDEAD_0000_0000_0100
    snippet = code.EL7_DELIVER
    add_function(kernel, "f", snippet, CT_PARAMETER)
    pc = snippet.at("mov 0xa30(%rax),%rdx")
    frame = fault_frame(snippet, pc, rax=poison, rdi=CT, rsp=SP)
    fault = explain_fault(kernel.prog, frame, fault_address=None)
    assert fault.address == poison + 0xA30
    assert fault.diagnosis.kind == "list-poison"
    assert fault.null_or_bad == "ct->ct_net"


def test_a_jump_to_nowhere(kernel: Kernel) -> None:
    frame = fault_frame(code.SPILL, 0x10, rsp=SP)
    fault = explain_fault(kernel.prog, frame, fault_address=0x10)
    assert (fault.access, fault.address, fault.diagnosis.kind) == ("exec", 0x10, "null")
    assert (fault.instruction, fault.symbol) == (None, None)
    assert fault.absent["instruction"] is Reason.NOT_IN_DUMP


def test_code_that_is_not_in_the_dump(kernel: Kernel) -> None:
    frame = fault_frame(code.SPILL, BASE + 0x5000, rsp=SP)
    fault = explain_fault(kernel.prog, frame, fault_address=0xA30)
    assert fault.instruction is None
    assert fault.address == 0xA30
    assert fault.absent["instruction"] is Reason.NOT_IN_DUMP
    assert set(fault.absent) == set(fault.why)
