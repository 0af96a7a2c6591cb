"""Where bad values come from: loops, joins, indexes, containers, callers, checks, calls."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crashkit.errors import Reason
from crashkit.fault import Fault, explain_fault
from crashkit.fault.members import operand
from crashkit.unwind import Frame
from crashkit.value import Certainty
from tests.unit import fault_doubles as code
from tests.unit.code_doubles import BASE, Snippet, add_function, fault_frame
from tests.unit.kernel_doubles import Kernel

OBJECT = 0xFFFF_893C_A41E_5140
OTHER = 0xFFFF_893C_A41E_6140
SP = 0xFFFF_893C_4F52_7000
BAD = 0xDEAD_0000_0000_0100
CALLER = BASE + 0x4000


@pytest.fixture
def kernel() -> Kernel:
    """Types of a volume with files on a list, a table, and operations."""
    kernel = Kernel()
    kernel.struct(
        "link", 16, ("next", "struct link *", 0), ("prev", "struct link *", 8),
    )  # fmt: skip
    kernel.struct("ops", 16, ("open", "long", 0), ("submit", "long", 8))
    kernel.struct("file", 0x40, ("id", "int", 8), ("entry", "struct link", 0x18))
    kernel.struct(
        "row", 24, ("lba", "long", 0), ("ops", "struct ops *", 8), ("flags", "long", 16),
    )  # fmt: skip
    kernel.struct(
        "volume", 0x100, ("number", "long", 0), ("head", "struct link *", 8),
        ("mirror", "struct volume *", 0x10), ("rows", "struct row [6]", 0x18),
    )  # fmt: skip
    kernel.put(OBJECT, bytes(0x100))
    kernel.put(OTHER, bytes(0x100))
    kernel.put(SP - 0x100, bytes(0x200))
    return kernel


VOLUME = ("struct volume *", "v")


def fault_of(
    kernel: Kernel,
    snippet: Snippet,
    text: str,
    address: int | None,
    *parameters: tuple[str, str],
    frames: tuple[Frame, ...] = (),
    **registers: int,
) -> Fault:
    add_function(kernel, "f", snippet, *parameters)
    frame = fault_frame(snippet, snippet.at(text), **{"rsp": SP, **registers})
    outward = (frame, *frames) if frames else ()
    return explain_fault(kernel.prog, frame, fault_address=address, frames=outward)


def test_an_entry_of_a_list_is_one_of_its_origins(kernel: Kernel) -> None:
    kernel.struct("link", 16, ("next", "struct link *", 0), ("prev", "struct link *", 0x18))
    fault = fault_of(
        kernel, code.LIST_WALK, "mov -0x10(%rax),%edx", None, VOLUME, rdi=OBJECT, rax=BAD
    )
    assert [one.expression for one in fault.one_of] == ["v->head", "((struct link *)%rax)->prev"]
    assert fault.null_or_bad == "((struct link *)%rax)"
    assert fault.diagnosis.kind == "list-poison"
    assert fault.certainty is Certainty.INFERRED


def test_what_a_join_leaves_open_is_listed_with_its_memory(kernel: Kernel) -> None:
    kernel.put(OBJECT + 8, OTHER.to_bytes(8, "little"))
    fault = fault_of(
        kernel, code.SELECT, "mov 0x20(%rax),%ecx", 0x20, VOLUME, ("struct volume *", "w"),
        rdi=OBJECT, rsi=OTHER, rax=0,
    )  # fmt: skip
    assert [one.expression for one in fault.one_of] == ["v->head", "w->mirror"]
    assert [one.now for one in fault.one_of] == [OTHER, 0]
    assert [one.offset for one in fault.one_of] == [0, 8]
    # They are of different types: which it was decides what was read.
    assert fault.expression is None
    assert fault.absent["expression"] is Reason.AMBIGUOUS


def test_what_every_way_was_moved_by_is_no_part_of_the_value(kernel: Kernel) -> None:
    # Each way is an entry's container: the entry was NULL, and -24 is no error number.
    fault = fault_of(
        kernel, code.SELECT_CONTAINER, "mov 0x8(%rax),%ecx", (1 << 64) - 0x10, VOLUME,
        ("struct volume *", "w"), rdi=OBJECT, rsi=OTHER, rax=(1 << 64) - 0x18,
    )  # fmt: skip
    assert fault.diagnosis.kind == "container-of-null"
    assert "v->head or w->head" in fault.diagnosis.statement


def test_a_way_whose_value_is_known_to_be_another_is_left_out(kernel: Kernel) -> None:
    kernel.struct("volume", 0x100, ("head", "struct link *", 8))
    snippet = code.SELECT_PARAMETER
    fault = fault_of(
        kernel, snippet, "mov 0x8(%rax),%rcx", 8, ("struct link *", "first"),
        ("struct link *", "second"), rdi=OBJECT, rsi=0, rax=0,
    )  # fmt: skip
    assert (fault.expression, fault.null_or_bad) == ("second->prev", "second")
    assert fault.one_of == ()


def test_an_element_by_its_index(kernel: Kernel) -> None:
    fault = fault_of(
        kernel, code.TABLE, "mov 0x8(%rdx),%eax", 8, VOLUME, ("int", "i"),
        rdi=OBJECT, rsi=2, rax=6, rdx=0,
    )  # fmt: skip
    assert fault.null_or_bad == "v->rows[i].ops"
    assert fault.expression == "v->rows[i].ops->submit"
    assert fault.chain[-1].address == OBJECT + 0x18 + 2 * 24 + 8
    assert fault.memory_disagrees is False


def test_a_members_container_is_an_inferred_reading(kernel: Kernel) -> None:
    kernel.struct(
        "item", 0x30, ("size", "long", 0), ("peer", "struct item *", 8),
        ("entry", "struct link", 0x10),
    )  # fmt: skip
    fault = fault_of(
        kernel, code.CONTAINER_READ, "mov 0x8(%rax),%ecx", 8, ("struct link *", "n"),
        ("struct item *", "unused"), rdi=OBJECT, rax=0,
    )  # fmt: skip
    assert fault.null_or_bad == "container_of(n, struct item, entry)->peer"
    assert fault.certainty is Certainty.INFERRED


def test_without_a_structure_that_fits_nothing_is_guessed(kernel: Kernel) -> None:
    fault = fault_of(
        kernel, code.CONTAINER_READ, "mov 0x8(%rax),%ecx", 8, ("struct link *", "n"),
        rdi=OBJECT, rax=0,
    )  # fmt: skip
    assert fault.null_or_bad == "*(u64 *)((void *)n - 0x8)"
    assert fault.expression == "*(u32 *)(*(u64 *)((void *)n - 0x8) + 0x8)"


def called_by(kernel: Kernel, *parameters: tuple[str, str], **registers: int) -> Frame:
    """The frame of a caller that passes ``v->mirror``."""
    snippet = code.CALLER
    add_function(kernel, "caller", snippet, *parameters, address=CALLER)
    call = next(i for i in snippet.listing() if i.operation == "call")
    returns = call.end - BASE + CALLER
    frame = fault_frame(snippet, BASE, **{"rsp": SP + 8, **registers})
    return replace(
        frame, index=1, pc=returns, function="caller", offset=returns - CALLER,
        size=len(snippet.code), interrupted=False,
    )  # fmt: skip


def test_a_parameter_is_followed_into_its_caller(kernel: Kernel) -> None:
    target = next(i for i in code.CALLER.listing() if i.operation == "call").target
    assert target is not None
    callee = target - BASE + CALLER
    caller = called_by(kernel, VOLUME, rbx=OBJECT)
    add_function(kernel, "leaf", code.LEAF, ("struct volume *", "it"), address=callee)
    frame = replace(
        fault_frame(code.LEAF, BASE, rsp=SP, rdi=0), pc=callee, function="leaf", offset=0
    )
    fault = explain_fault(kernel.prog, frame, fault_address=0x10, frames=(frame, caller))
    # The caller computed it: its words say which object lacked what.
    assert (fault.expression, fault.null_or_bad) == ("v->mirror->mirror", "v->mirror")
    (step, root) = fault.origins
    assert (step.frame, step.function, step.parameter) == (1, "caller", "it")
    assert (step.expression, step.value) == ("v->mirror", 0)
    assert (step.certainty, step.address) == (Certainty.PROVED, OBJECT + 0x10)
    assert (root.expression, root.value) == ("v", OBJECT)


def test_a_call_through_null_is_explained_where_it_was_made(kernel: Kernel) -> None:
    snippet = code.CALL_OPS
    kernel.struct("object", 0x10, ("ops", "struct ops *", 0))
    add_function(kernel, "f", snippet, ("struct object *", "o"))
    call = next(i for i in snippet.listing() if i.operation == "call")
    kernel.put(SP, call.end.to_bytes(8, "little"))
    frame = fault_frame(snippet, 0, rsp=SP, rax=OTHER, rdi=OBJECT, rbx=OBJECT)
    fault = explain_fault(kernel.prog, frame, fault_address=0)
    assert (fault.access, fault.expression) == ("exec", "o->ops->submit")
    assert fault.null_or_bad == "o->ops->submit"
    assert (fault.diagnosis.kind, fault.certainty) == ("null", Certainty.PROVED)
    assert fault.called_from == f"f+{call.address - BASE:#x}"
    assert [link.value for link in fault.chain] == [OBJECT, OTHER, 0]


@pytest.mark.parametrize("now", [OTHER, None])
def test_a_call_is_an_inference_where_its_pointer_is_another_now(
    kernel: Kernel, now: int | None
) -> None:
    # What it called may have jumped on to the bad address with the same return address.
    snippet = code.CALL_OPS
    kernel.struct("object", 0x10, ("ops", "struct ops *", 0))
    add_function(kernel, "f", snippet, ("struct object *", "o"))
    call = next(i for i in snippet.listing() if i.operation == "call")
    kernel.put(SP, call.end.to_bytes(8, "little"))
    kernel.put(OTHER + 8, (now or 0).to_bytes(8, "little"))
    if now is None:
        kernel.drop(OTHER)
    frame = fault_frame(snippet, 0, rsp=SP, rax=OTHER, rdi=OBJECT, rbx=OBJECT)
    fault = explain_fault(kernel.prog, frame, fault_address=0)
    assert (fault.expression, fault.certainty) == ("o->ops->submit", Certainty.INFERRED)


def test_a_call_that_went_elsewhere_did_not_lead_to_the_fault(kernel: Kernel) -> None:
    snippet = code.CALL_ANY
    add_function(kernel, "f", snippet, VOLUME)
    call = next(i for i in snippet.listing() if i.operation == "call")
    kernel.put(SP, call.end.to_bytes(8, "little"))
    frame = fault_frame(snippet, 0, rsp=SP, rax=OTHER, rbx=OBJECT)
    fault = explain_fault(kernel.prog, frame, fault_address=0)
    assert (fault.expression, fault.null_or_bad) == (None, None)
    assert f"went to {OTHER:#x}" in fault.why["expression"]


def test_the_comparison_that_led_to_a_trap(kernel: Kernel) -> None:
    kernel.struct("queue", 0x20, ("limit", "unsigned int", 8))
    fault = fault_of(
        kernel, code.TRAP_IF, "ud2", None, ("struct queue *", "q"), ("unsigned int", "added"),
        rdi=OBJECT, rsi=45, rax=32,
    )  # fmt: skip
    condition = fault.condition
    assert condition is not None
    assert condition.text == "added > q->limit"
    assert (condition.left.value, condition.right.value) == (45, 32)
    assert condition.certainty is Certainty.PROVED
    assert "a check in the code failed" in fault.diagnosis.statement


@pytest.mark.parametrize(("rdi", "rsi", "text"), [(0, 3, "p == 0"), (OBJECT, 9, "n > 5")])
def test_of_two_ways_to_a_trap_the_values_choose(
    kernel: Kernel, rdi: int, rsi: int, text: str
) -> None:
    fault = fault_of(
        kernel, code.TRAP_OR, "ud2", None, ("void *", "p"), ("int", "n"), rdi=rdi, rsi=rsi
    )
    assert fault.condition is not None
    assert fault.condition.text == text


def test_a_warnings_own_flag_is_not_its_condition(kernel: Kernel) -> None:
    fault = fault_of(kernel, code.ONCE, "ud2", None, ("long", "p"), ("int", "n"), rsi=5)
    assert fault.condition is not None
    assert (fault.condition.text, fault.condition.left.value) == ("n == 5", 5)


def test_a_division_by_zero(kernel: Kernel) -> None:
    kernel.struct("rate", 0x10, ("total", "long", 0), ("count", "long", 8))
    fault = fault_of(
        kernel, code.DIVIDE, "idivq 0x8(%rdi)", None, ("struct rate *", "r"), ("long", "n"),
        rdi=OBJECT, rsi=70, rax=70, rdx=0,
    )  # fmt: skip
    assert (fault.expression, fault.null_or_bad) == ("n / r->count", "r->count")
    assert fault.diagnosis.statement == "r->count was 0: a division by zero"
    assert fault.access is None


def test_a_copy_that_stopped_half_way(kernel: Kernel) -> None:
    fault = fault_of(
        kernel, code.COPY, "rep movsb %ds:(%rsi),%es:(%rdi)", OTHER + 0x40, ("char *", "to"),
        ("char *", "from"), ("long", "n"), rdi=OBJECT + 0x40, rsi=OTHER + 0x40, rdx=0x100,
        rcx=0xC0,
    )  # fmt: skip
    assert fault.progress == "64 of 256 bytes were done"
    # The registers have moved on: none of them still has what was passed.
    assert fault.chain[0].value is None


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a->b[i + 1].c", "a->b[i + 1].c"),
        ("((struct a *)%rax)->b", "((struct a *)%rax)->b"),
        ("f(x, y)->z", "f(x, y)->z"),
        ("a + b", "(a + b)"),
        ("(a) + (b)", "((a) + (b))"),
        ("*p", "(*p)"),
        ("(u8)x", "((u8)x)"),
    ],
)
def test_operands_have_the_parentheses_they_need(text: str, written: str) -> None:
    assert operand(text) == written


@pytest.mark.parametrize("distance", [0x20, 0xFF8])
def test_of_a_pointer_and_an_offset_from_memory_the_pointer_is_bad(
    kernel: Kernel, distance: int
) -> None:
    kernel.put(OBJECT, distance.to_bytes(8, "little"))
    kernel.put(OBJECT + 8, BAD.to_bytes(8, "little"))
    fault = fault_of(
        kernel,
        code.POINTER_AND_OFFSET,
        "mov (%rcx),%rdx",
        None,
        VOLUME,
        rdi=OBJECT,
        rax=BAD,
        rcx=BAD + distance,
    )
    assert fault.null_or_bad == "v->head"
    assert fault.diagnosis.kind == "list-poison"
    assert fault.chain[-1].value == BAD


def test_a_sound_base_blames_its_index_and_says_where_it_led(kernel: Kernel) -> None:
    address = OBJECT + 0x20 + 900 * 8
    fault = fault_of(
        kernel,
        code.TABLE,
        "mov 0x20(%rdi,%rax,8),%rdx",
        address,
        VOLUME,
        ("long", "n"),
        rdi=OBJECT,
        rsi=300,
        rax=900,
    )
    assert fault.null_or_bad == "(s32)n"
    assert fault.diagnosis.kind != "null"
    assert f"{address:#x}" in fault.diagnosis.statement


def through_a_pointer(
    kernel: Kernel, snippet: Snippet, at: str, parameter: tuple[str, str], **registers: int
) -> Fault:
    """A fault below ``call *%rax`` whose pointer is lost: it may have jumped on to here."""
    outer = code.CALL_ANY
    add_function(kernel, "caller", outer, VOLUME, address=CALLER)
    returns = next(i for i in outer.listing() if i.operation == "call").end - BASE + CALLER
    caller = replace(
        fault_frame(outer, BASE, rsp=SP + 8, rbx=OBJECT), index=1, pc=returns, function="caller",
        offset=returns - CALLER, size=len(outer.code), interrupted=False,
    )  # fmt: skip
    return fault_of(
        kernel, snippet, at, None, parameter, frames=(caller,), rsp=SP, rax=BAD, **registers
    )


@pytest.mark.parametrize(
    ("ctype", "held", "said"),
    [
        ("struct volume *", OBJECT, True),
        ("struct row *", OBJECT, True),
        ("struct volume *", OTHER, False),  # it was passed another one
        ("struct row *", OTHER, False),
    ],
)
def test_what_a_caller_had_is_not_what_was_passed_if_it_was_another(
    kernel: Kernel, ctype: str, held: int, said: bool
) -> None:
    fault = through_a_pointer(kernel, code.KEPT, "mov 0x8(%rax),%ecx", (ctype, "it"), rdi=held)
    assert fault.chain[0].expression == "it"
    assert [step.function for step in fault.origins] == ["caller"] * said


@pytest.mark.parametrize(("ctype", "said"), [("struct volume *", True), ("struct row *", False)])
def test_across_a_call_to_an_unknown_function_only_the_same_type_is_followed(
    kernel: Kernel, ctype: str, said: bool
) -> None:
    fault = through_a_pointer(kernel, code.LOST, "mov 0x8(%rax),%ecx", (ctype, "it"), rdi=0)
    assert fault.chain[0].expression == "it"
    assert [step.function for step in fault.origins] == ["caller"] * said
    assert all(step.certainty is Certainty.INFERRED for step in fault.origins)


@pytest.mark.parametrize(("low", "name"), [(0x000, "%rsi"), (0x040, "from")])
def test_a_pointer_that_a_copy_may_have_moved_on_is_not_the_parameter(
    kernel: Kernel, low: int, name: str
) -> None:
    at = (OTHER & ~0xFFF) + low
    fault = fault_of(
        kernel, code.COPY_COUNTED, "rep movsb %ds:(%rsi),%es:(%rdi)", at, ("char *", "to"),
        ("char *", "from"), ("long", "n"), rdi=OBJECT + low, rsi=at, rdx=0, rcx=0xC0,
    )  # fmt: skip
    assert fault.progress == "192 bytes were left to do"
    assert fault.diagnosis.statement.startswith(f"{name} was ")
