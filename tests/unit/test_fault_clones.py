"""Clones, list entries, results and tail calls: what no type says must not be said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drgn import Type

from crashkit.fault import BadValue, Fault, diagnose, explain_fault
from crashkit.fault.access import find_faulting_access
from crashkit.fault.containers import Candidates, Use
from crashkit.fault.joins import as_entry
from crashkit.fault.members import Reading
from crashkit.fault.variables import Variable
from crashkit.report.text_access import came_from
from crashkit.symbols.lookup import names_of
from crashkit.value import Certainty
from tests.unit import clone_doubles as code
from tests.unit.code_doubles import BASE, Snippet, add_function
from tests.unit.fault_doubles import DEEP_LEAF, RETURNS_CALL
from tests.unit.kernel_doubles import Kernel
from tests.unit.test_fault_given import CALLEE, at
from tests.unit.test_fault_origins import CALLER, OBJECT, OTHER, SP, VOLUME, called_by, fault_of

MINUS_40 = (1 << 64) - 0x28
QUEUE = ("struct queue *", "q")
REQUEST = ("struct request *", "unused")


@pytest.fixture
def kernel() -> Kernel:
    """Queues with two lists of requests."""
    kernel = Kernel()
    kernel.struct("link", 16, ("next", "struct link *", 0), ("prev", "struct link *", 8))
    kernel.struct(
        "request", 0x40, ("node", "struct link", 0), ("volume", "struct volume *", 0x10),
        ("recent", "struct link", 0x28),
    )  # fmt: skip
    kernel.struct("queue", 0x40, ("pending", "struct link", 8), ("recent", "struct link", 0x18))
    kernel.struct(
        "volume", 0x100, ("state", "int", 8), ("cursor", "struct link *", 8),
        ("mirror", "struct volume *", 0x10),
    )  # fmt: skip
    kernel.put(OBJECT, bytes(0x100))
    kernel.put(OTHER, bytes(0x100))
    kernel.put(SP - 0x100, bytes(0x200))
    return kernel


def test_half_of_a_pointer_is_no_member(kernel: Kernel) -> None:
    fault = fault_of(
        kernel, code.HALF_A_LINK, "mov 0xc(%rdi),%eax", 0xC, ("struct link *", "n"), rdi=0
    )
    assert "prev" not in (fault.expression or "")
    assert fault.diagnosis.kind == "null"


def reads_entry(kernel: Kernel, *parameters: tuple[str, str]) -> Fault:
    return fault_of(
        kernel, code.READS_ENTRY, "mov 0x8(%rcx),%edx", 8, *parameters,
        rdi=OBJECT, rax=OTHER, rcx=0,
    )  # fmt: skip


def test_what_a_list_head_leads_to_is_an_entry(kernel: Kernel) -> None:
    fault = reads_entry(kernel, QUEUE, REQUEST)
    assert fault.null_or_bad == "container_of(q->recent.next, struct request, node)->volume"
    assert fault.certainty is Certainty.INFERRED


def test_another_of_what_has_the_head_is_an_inference_only(kernel: Kernel) -> None:
    # As a tree's children are; with nothing else that fits.
    fault = reads_entry(kernel, QUEUE)
    assert fault.null_or_bad == "container_of(q->recent.next, struct queue, pending)->recent.next"
    assert fault.certainty is Certainty.INFERRED


def test_from_an_entrys_node_the_same_member_leads_to_the_next(kernel: Kernel) -> None:
    kernel.struct(
        "queue", 0x40, ("pending", "struct link", 8), ("recent", "struct link", 0x18),
        ("owner", "struct volume *", 0x28),
    )  # fmt: skip
    fault = reads_entry(kernel, QUEUE)
    assert fault.null_or_bad == "container_of(q->recent.next, struct queue, recent)->owner"
    assert fault.certainty is Certainty.INFERRED


def reading(kernel: Kernel, text: str, ctype: str) -> Reading:
    return Reading(term=code.HALF_A_LINK, text=text, type=kernel.prog.type(ctype))  # type: ignore[arg-type]


def variable(name: str, type_: Type) -> Variable:
    return Variable(name=name, type=type_, register="rbx", addend=0, inlined=0)


def test_a_variable_says_which_entry_begins_with_the_node(kernel: Kernel) -> None:
    link = reading(kernel, "((struct link *)%rbx)", "struct link *")
    request = variable("r", kernel.prog.type("struct request *"))
    queue = variable("q", kernel.prog.type("struct queue *"))
    found = as_entry([link], [queue, request])
    assert found is not None
    assert (found.text, found.type.type_name()) == ("r", "struct request *")
    assert as_entry([link], [queue]) is None
    # Of other structures the caller's own words stay.
    assert as_entry([reading(kernel, "v->mirror", "struct volume *")], [request]) is None


def calls_accessor(kernel: Kernel, callee: Snippet, *, described: bool = False) -> Fault:
    """A fault on what ``f`` got of ``accessor(v->cursor)``."""
    kernel.put(OBJECT + 8, bytes(8))
    call = next(i for i in code.CALLS_ACCESSOR.listing() if i.operation == "call")
    add_function(
        kernel, "accessor" if described else "accessor.isra.0", callee,
        result="struct volume *", address=call.target or 0, described=described,
    )  # fmt: skip
    return fault_of(
        kernel, code.CALLS_ACCESSOR, "mov 0x10(%rax),%rcx", MINUS_40 + 0x10, VOLUME, REQUEST,
        rax=MINUS_40, rbx=OBJECT,
    )  # fmt: skip


def test_a_clones_result_is_what_it_made_of_its_arguments(kernel: Kernel) -> None:
    fault = calls_accessor(kernel, code.CONTAINER_OF)
    assert fault.diagnosis.kind == "container-of-null"
    assert fault.expression == "container_of(v->cursor, struct request, recent)->volume"
    assert fault.null_or_bad == "v->cursor"
    assert fault.chain[-1].value == 0


@pytest.mark.parametrize("described", [False, True])
def test_a_function_that_returns_numbers_returns_errors(kernel: Kernel, described: bool) -> None:
    fault = calls_accessor(kernel, code.RETURNS_ERROR, described=described)
    assert fault.diagnosis.kind == "err-ptr"
    assert " or " not in fault.diagnosis.statement


def test_a_described_function_that_subtracts_gives_a_container(kernel: Kernel) -> None:
    fault = calls_accessor(kernel, code.CONTAINER_OF, described=True)
    assert fault.diagnosis.kind == "container-of-null"
    assert fault.null_or_bad == "accessor()"


@pytest.mark.parametrize(
    ("value", "made", "kind", "both"),
    [
        (-40, None, "err-ptr", True),
        (-40, "error", "err-ptr", False),
        (-40, "container", "container-of-null", False),
        (-19, None, "err-ptr", False),  # members of structures are aligned
        (-0x400, None, "container-of-null", False),  # no error has that number
    ],
)
def test_what_may_be_either_is_said_to_be(
    value: int, made: str | None, kind: str, both: bool
) -> None:
    found = diagnose(BadValue(name="p", value=value % (1 << 64), made=made))
    assert found.kind == kind
    assert (", or NULL" in found.statement) is both


@pytest.mark.parametrize("unmapped", [True, False])
def test_a_base_at_which_nothing_is_mapped_is_to_blame(unmapped: bool) -> None:
    instruction = code.COPY_END.listing()[0]
    found = find_faulting_access(
        instruction, {"rdi": OTHER, "rsi": 0x28}, {}, OTHER + 0x20, lambda _: unmapped
    )
    assert found.bad_register == ("rdi" if unmapped else "rsi")


def through(kernel: Kernel, between: Snippet) -> Fault:
    """A fault below a function that jumped on to the faulting one."""
    kernel.put(OBJECT + 0x10, OTHER.to_bytes(8, "little"))
    caller = called_by(kernel, VOLUME, rbx=OBJECT)
    add_function(kernel, "between.constprop.0", between, address=CALLEE, described=False)
    jump = next(i for i in between.listing() if i.operation == "jmp")
    leaf = (jump.target or 0) - BASE + CALLEE
    names_of(kernel.prog).text = (BASE, BASE + 0x10000)
    add_function(kernel, "leaf", DEEP_LEAF, VOLUME, address=leaf)
    frame = at(DEEP_LEAF, leaf, "leaf", 4, rdi=OTHER, rax=0)
    return explain_fault(kernel.prog, frame, fault_address=8, frames=(frame, caller))


def test_a_caller_did_not_pass_what_a_function_without_a_frame_computed(kernel: Kernel) -> None:
    kernel.put(OTHER + 0x10, OTHER.to_bytes(8, "little"))
    step = through(kernel, code.JUMPS_ON).origins[0]
    assert (step.expression, step.through) == ("v->mirror->mirror", ("between.constprop.0",))


def test_what_was_only_handed_on_the_caller_passed(kernel: Kernel) -> None:
    step = through(kernel, code.HANDS_STRAIGHT_ON).origins[0]
    assert (step.expression, step.through) == ("v->mirror", ())


def test_the_text_names_the_functions_that_left_no_frame() -> None:
    step = {
        "expression": "wl->lower", "one_of": [], "parameter": "dev", "value": None, "now": None,
        "certainty": "proved", "function": "arm", "frame": 4, "through": ["go", "up.isra.0"],
    }  # fmt: skip
    plain = {**step, "through": []}
    assert came_from({"origins": [step, plain]}) == [
        "arm (#4), by way of go, up.isra.0 (tail calls), passed wl->lower",
        "arm (#4) passed wl->lower",
    ]


def test_another_parameters_structure_is_no_guess_for_a_void_pointer(kernel: Kernel) -> None:
    types = [kernel.prog.type("struct queue *"), kernel.prog.type("void *")]
    near = [kernel.prog.type("struct queue")]
    pointer = reading(kernel, "v", "void *")
    uses = frozenset({Use(offset=0x10, size=8)})
    assert Candidates(kernel.prog, None, types, near).of(pointer, uses, None) == []
    found = Candidates(kernel.prog, None, types[1:], near).of(pointer, uses, None)
    assert [guess.text for guess, _ in found] == ["((struct queue *)v)"]


def test_an_index_that_counts_bytes_is_read_by_its_value(kernel: Kernel) -> None:
    kernel.struct("row", 24, ("lba", "long", 0), ("peer", "struct volume *", 8))
    kernel.struct("volume", 0x100, ("state", "int", 8), ("rows", "struct row [6]", 0x18))
    fault = fault_of(
        kernel, code.BYTES_INDEX, "mov 0x8(%rax),%ecx", 8, VOLUME, ("long", "i"),
        rdi=OBJECT, rsi=48, rax=0,
    )  # fmt: skip
    assert (fault.null_or_bad, fault.expression) == ("v->rows[2].peer", "v->rows[2].peer->state")
    assert fault.certainty is Certainty.INFERRED
    assert fault.chain[-1].address == OBJECT + 0x20 + 48


def test_a_result_that_was_passed_on_says_what_returned_it(kernel: Kernel) -> None:
    kernel.struct("ops", 16, ("open", "long", 0), ("next", "long", 8))
    kernel.struct("volume", 0x100, ("ops", "struct ops *", 0), ("state", "int", 8))
    next_at, find_at = BASE + 0x8000, BASE + 0x9004
    kernel.put(OBJECT, OTHER.to_bytes(8, "little"))
    kernel.put(OTHER + 8, next_at.to_bytes(8, "little"))
    add_function(kernel, "next", RETURNS_CALL, address=next_at)
    add_function(kernel, "find", code.RETURNS_ERROR, address=find_at)
    add_function(kernel, "caller", code.PASSES_RESULT, VOLUME, address=CALLER)
    *_, call = (i for i in code.PASSES_RESULT.listing() if i.operation == "call")
    callee = (call.target or 0) - BASE + CALLER
    add_function(kernel, "show", code.HALF_A_LINK, ("void *", "v"), address=callee)
    frame = at(code.HALF_A_LINK, callee, "show", 0, rdi=0x2B)
    offset = call.end - BASE
    outer = replace(
        at(code.PASSES_RESULT, CALLER, "caller", offset, rsp=SP + 8, rbx=OBJECT),
        index=1, interrupted=False,
    )  # fmt: skip
    fault = explain_fault(kernel.prog, frame, fault_address=0x37, frames=(frame, outer))
    (step,) = fault.origins
    assert (step.value, step.returned_by) == (0x2B, ("next", "find"))
