"""Functions that nothing describes: types that callers and callees prove, else plain memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drgn import TypeKind, TypeParameter

from crashkit.dataflow import Entry
from crashkit.errors import Reason, Unavailable
from crashkit.fault import Fault, explain_fault
from crashkit.fault.given import lent
from crashkit.fault.library import library_parameters, meant_by
from crashkit.fault.members import Reading, is_same, made_of, narrowed
from crashkit.fault.threads import thread_data
from crashkit.symbols import SymbolAt
from crashkit.unwind import Frame
from crashkit.value import Certainty
from tests.unit import fault_doubles as code
from tests.unit.code_doubles import BASE, Snippet, add_function, fault_frame
from tests.unit.kernel_doubles import Kernel
from tests.unit.test_fault_origins import CALLER, OBJECT, OTHER, SP, VOLUME, called_by

PLAIN = "*(u64 *)((%rdi on entry) + 0x10)"
TARGET = next(i for i in code.CALLER.listing() if i.operation == "call").target or 0
CALLEE = TARGET - BASE + CALLER


@pytest.fixture
def kernel() -> Kernel:
    """A volume, its mirror, and a look-alike of both."""
    kernel = Kernel()
    kernel.struct("volume", 0x100, ("number", "long", 8), ("mirror", "struct volume *", 0x10))
    kernel.struct("decoy", 0x100, ("wrong", "long", 8), ("bad", "struct decoy *", 0x10))
    kernel.put(OBJECT, bytes(0x100))
    kernel.put(OTHER, bytes(0x100))
    kernel.put(SP - 0x100, bytes(0x200))
    return kernel


def at(snippet: Snippet, address: int, name: str, offset: int, **registers: int) -> Frame:
    frame = fault_frame(snippet, BASE, **{"rsp": SP, **registers})
    return replace(frame, pc=address + offset, function=name, offset=offset, size=len(snippet.code))


def called(kernel: Kernel, *parameters: tuple[str, str], name: str = "leaf.constprop.0") -> Fault:
    """A fault in a function without a prototype, called with ``v->mirror``."""
    caller = called_by(kernel, *parameters, rbx=OBJECT)
    add_function(kernel, name, code.DEEP_LEAF, address=CALLEE, described=False)
    frame = at(code.DEEP_LEAF, CALLEE, name, 4, rdi=OTHER, rax=0)
    return explain_fault(kernel.prog, frame, fault_address=8, frames=(frame, caller))


@pytest.mark.parametrize("name", ["leaf", "leaf.constprop.0", "leaf.isra.0", "leaf.part.0"])
def test_a_register_has_the_type_of_what_the_caller_had_in_it(kernel: Kernel, name: str) -> None:
    # By its source's prototype the clone would read a decoy.
    if name != "leaf":
        decoy = ("struct decoy *", "it")
        add_function(kernel, "leaf", code.LEAF, decoy, address=BASE + 0x9000)
    kernel.put(OBJECT + 0x10, OTHER.to_bytes(8, "little"))
    fault = called(kernel, VOLUME, name=name)
    assert (fault.expression, fault.null_or_bad) == (
        "v->mirror->mirror->number", "v->mirror->mirror",
    )  # fmt: skip
    assert fault.certainty is Certainty.PROVED
    assert [(link.value, link.register) for link in fault.chain] == [(OTHER, "rdi"), (0, "rax")]
    (step, root) = fault.origins
    assert (step.parameter, step.expression, step.value) == ("rdi", "v->mirror", OTHER)
    assert (root.expression, root.value) == ("v", OBJECT)


def test_a_caller_without_types_leaves_the_places_in_memory(kernel: Kernel) -> None:
    kernel.put(OBJECT + 0x10, OTHER.to_bytes(8, "little"))
    fault = called(kernel, ("void *", "v"))
    assert fault.null_or_bad == "*(u64 *)(*(u64 *)(v + 0x10) + 0x10)"
    assert fault.certainty is Certainty.INFERRED


def described(kernel: Kernel, ctype: str, name: str, *, alone: bool = False) -> Fault:
    """A fault in a function with one parameter, called with ``v->mirror``."""
    caller = called_by(kernel, VOLUME, rbx=OBJECT)
    kernel.put(OBJECT + 0x10, OTHER.to_bytes(8, "little"))
    add_function(kernel, "leaf", code.DEEP_LEAF, (ctype, name), address=CALLEE)
    frame = at(code.DEEP_LEAF, CALLEE, "leaf", 4, rdi=OTHER, rax=0)
    frames = () if alone else (frame, caller)
    return explain_fault(kernel.prog, frame, fault_address=8, frames=frames)


def test_a_pointer_to_anything_is_what_the_caller_had(kernel: Kernel) -> None:
    assert described(kernel, "void *", "it").null_or_bad == "((struct volume *)it)->mirror"
    plain = described(kernel, "void *", "it", alone=True)
    assert plain.null_or_bad == "*(u64 *)(it + 0x10)"


def test_a_parameter_without_a_name_has_the_callers(kernel: Kernel) -> None:
    assert described(kernel, "struct volume *", "").null_or_bad == "v->mirror->mirror"
    alone = described(kernel, "struct volume *", "", alone=True)
    assert alone.null_or_bad == "((struct volume *)(%rdi on entry))->mirror"
    assert alone.certainty is Certainty.PROVED


def test_without_a_caller_there_is_no_type(kernel: Kernel) -> None:
    add_function(kernel, "f.isra.0", code.DEEP_LEAF, described=False)
    decoy = ("struct decoy *", "it")
    add_function(kernel, "f", code.LEAF, decoy, address=BASE + 0x9000)
    frame = at(code.DEEP_LEAF, BASE, "f.isra.0", 4, rdi=OTHER, rax=0)
    fault = explain_fault(kernel.prog, frame, fault_address=8)
    assert (fault.expression, fault.null_or_bad) == (f"*(u64 *)({PLAIN} + 0x8)", PLAIN)
    assert fault.certainty is Certainty.INFERRED


def hands_on(kernel: Kernel, *parameters: tuple[str, str]) -> Fault:
    call = next(i for i in code.HANDS_ON.listing() if i.operation == "call")
    add_function(kernel, "use", code.LEAF, *parameters, address=call.target or 0)
    add_function(kernel, "f.part.0", code.HANDS_ON, described=False)
    frame = at(code.HANDS_ON, BASE, "f.part.0", 4, rdi=OTHER, rax=0)
    return explain_fault(kernel.prog, frame, fault_address=8)


def test_a_register_that_is_handed_on_is_what_the_callee_takes(kernel: Kernel) -> None:
    fault = hands_on(kernel, VOLUME)
    assert fault.null_or_bad == "((struct volume *)(%rdi on entry))->mirror"
    assert fault.certainty is Certainty.INFERRED


@pytest.mark.parametrize("ctype", ["void *", "long", "struct gone *"])
def test_a_callee_that_takes_anything_gives_no_type(kernel: Kernel, ctype: str) -> None:
    kernel.declare("gone")
    assert hands_on(kernel, (ctype, "it")).null_or_bad == PLAIN


def test_the_other_functions_registers_are_not_spoken_of(kernel: Kernel) -> None:
    # What the caller has only in a register is, here, what came in.
    kernel.put(OBJECT + 0x10, OTHER.to_bytes(8, "little"))
    caller = called_by(kernel, rbx=OBJECT)
    del kernel._variables["caller"]
    add_function(kernel, "leaf.isra.0", code.DEEP_LEAF, address=CALLEE, described=False)
    frame = at(code.DEEP_LEAF, CALLEE, "leaf.isra.0", 4, rdi=OTHER, rax=0)
    fault = explain_fault(kernel.prog, frame, fault_address=8, frames=(frame, caller))
    assert (fault.expression, fault.null_or_bad) == (f"*(u64 *)({PLAIN} + 0x8)", PLAIN)
    assert fault.chain[0].value == OTHER
    (step, root) = fault.origins
    assert (step.expression, root.expression) == (PLAIN, "%rdi on entry")


def test_a_threads_argument_is_what_it_was_made_with(kernel: Kernel) -> None:
    snippet = code.CALL_OPS
    add_function(kernel, "kthread", snippet, ("void *", "_create"), address=CALLER)
    kernel.put(OBJECT, OTHER.to_bytes(8, "little"))
    kernel.put(OTHER + 8, CALLEE.to_bytes(8, "little"))
    call = next(i for i in snippet.listing() if i.operation == "call")
    offset = call.end - BASE
    caller = replace(
        at(snippet, CALLER, "kthread", offset, rsp=SP + 8, rbx=OBJECT), index=1, interrupted=False
    )
    add_function(kernel, "worker", code.DEEP_LEAF, address=CALLEE, described=False)
    frame = at(code.DEEP_LEAF, CALLEE, "worker", 0, rdi=0)
    fault = explain_fault(kernel.prog, frame, fault_address=0x10, frames=(frame, caller))
    assert fault.null_or_bad == "kthread_data(current)"
    assert [step.expression for step in fault.origins] == ["kthread_data(current)"]


def by_pointer(kernel: Kernel, snippet: Snippet, *parameters: tuple[str, str]) -> Fault:
    """A fault in what was called through a pointer to a function of a volume."""
    prog = kernel.prog
    volume = TypeParameter(kernel.type("struct volume *"))
    function = prog.pointer_type(prog.function_type(prog.void_type(), [volume]))
    kernel._types[TypeKind.TYPEDEF, "work_t"] = prog.typedef_type("work_t", function)
    kernel.struct("link", 16, ("next", "struct link *", 0), ("prev", "struct link *", 8))
    kernel.struct("item", 0x30, ("run", "work_t", 8), ("entry", "struct link", 0x10))
    kernel.struct("owner", 8, ("item", "struct item *", 0))
    add_function(kernel, "caller", snippet, *parameters, address=CALLER)
    kernel.put(OBJECT - 8, CALLEE.to_bytes(8, "little"))
    kernel.put(OBJECT, OTHER.to_bytes(8, "little"))
    kernel.put(OTHER + 8, CALLEE.to_bytes(8, "little"))
    offset = next(i for i in snippet.listing() if i.operation == "call").end - BASE
    frame = at(snippet, CALLER, "caller", offset, rsp=SP + 8, rbx=OBJECT)
    caller = replace(frame, index=1, interrupted=False)
    add_function(kernel, "work", code.DEEP_LEAF, address=CALLEE, described=False)
    leaf = at(code.DEEP_LEAF, CALLEE, "work", 4, rdi=OBJECT, rax=0)
    return explain_fault(prog, leaf, fault_address=8, frames=(leaf, caller))


def test_a_pointers_type_is_as_sure_as_the_pointer_was_read(kernel: Kernel) -> None:
    sure = by_pointer(kernel, code.CALL_OPS, ("struct owner *", "o"))
    assert sure.expression == "((struct volume *)o)->mirror->number"
    assert sure.certainty is Certainty.PROVED


def test_a_pointer_in_an_inferred_container_gives_an_inferred_type(kernel: Kernel) -> None:
    link, unused = ("struct link *", "n"), ("struct item *", "unused")
    fault = by_pointer(kernel, code.CALL_CONTAINERS, link, unused)
    assert fault.expression == "((struct volume *)n)->mirror->number"
    assert fault.certainty is Certainty.INFERRED


def test_arithmetic_on_an_inference_is_one(kernel: Kernel) -> None:
    guess = Reading(term=Entry("rdi"), text="g", type=kernel.type("long"), unsure=True)
    assert made_of(guess, Entry("rsi"), "g + 8", guess.type).unsure
    assert narrowed(guess, 4, False, Entry("rsi")).unsure
    assert not made_of(replace(guess, unsure=False), Entry("rsi"), "g + 8", guess.type).unsure


def test_types_of_one_name_and_two_forms_are_not_the_same(kernel: Kernel) -> None:
    one = kernel.type("struct volume *")
    kernel.struct("volume", 0x100, ("number", "long", 0), ("mirror", "struct volume *", 0x10))
    other = kernel.type("struct volume *")
    assert is_same(one, one)
    assert not is_same(one, other)
    readings = [Reading(term=Entry("rdi"), text="v", type=type_) for type_ in (one, other)]
    assert lent(readings, "rdi") is None
    assert lent(readings[:1], "rdi") is not None


@pytest.mark.parametrize(
    ("name", "registers"),
    [
        ("memcpy", {"rdi": "dest", "rsi": "src", "rdx": "count"}),
        ("rep_movs_alternative", {"rdi": "to", "rsi": "from", "rcx": "count"}),
        ("rep_stos_alternative", {"rdi": "to", "rcx": "count"}),
        ("copy_user_enhanced_fast_string", {"rdi": "to", "rsi": "from", "rdx": "count"}),
        ("find_it", {}),
    ],
)
def test_where_assembly_functions_have_their_parameters(
    kernel: Kernel, name: str, registers: dict[str, str]
) -> None:
    kernel.type("unsigned long")
    found = library_parameters(kernel.prog, SymbolAt(name=name, address=BASE, size=8, module=None))
    assert {
        term.register: p.name for term, p in found.items() if isinstance(term, Entry)
    } == registers


def undescribed(kernel: Kernel, snippet: Snippet, text: str, address: int, **had: int) -> Fault:
    add_function(kernel, "f", snippet, described=False)
    frame = at(snippet, BASE, "f", snippet.at(text) - BASE, **had)
    return explain_fault(kernel.prog, frame, fault_address=address)


def test_what_a_loop_moves_on_is_the_register_that_holds_it(kernel: Kernel) -> None:
    fault = undescribed(kernel, code.BELOW, "mov (%rax),%rcx", 0, rdi=OTHER, rax=0)
    assert fault.null_or_bad == "*(u64 *)(%rdi + 0x20)"
    assert (fault.chain[0].expression, fault.chain[0].value) == ("%rdi", OTHER)


def test_beside_a_value_that_is_lost_a_register_says_where(kernel: Kernel) -> None:
    fault = undescribed(kernel, code.SWAPPED, "mov 0x8(%rcx),%rdx", 8, rax=OTHER, rcx=0)
    assert (fault.expression, fault.null_or_bad) == (
        "*(u64 *)(*(u64 *)(%rax + 0x10) + 0x8)", "*(u64 *)(%rax + 0x10)",
    )  # fmt: skip
    assert fault.chain[0].value == OTHER


def test_a_register_alone_is_no_expression(kernel: Kernel) -> None:
    fault = undescribed(kernel, code.SWAPPED, "mov 0x10(%rax),%rcx", 0x10, rdi=OTHER, rax=0)
    assert (fault.expression, fault.null_or_bad) == (None, None)


def test_a_null_that_the_code_sets_itself_is_no_object(kernel: Kernel) -> None:
    fault = undescribed(kernel, code.OWN_NULL, "mov 0x8(%rax),%rcx", 8, rax=0)
    assert fault.expression is None
    assert "has set rax to 0 itself" in fault.why["expression"]


def reads_result(kernel: Kernel, opener: Snippet) -> Fault:
    call = next(i for i in code.READS_RESULT.listing() if i.operation == "call")
    inner = next(i for i in opener.listing() if i.operation == "call")
    at_opener = call.target or 0
    found = (inner.target or 0) - BASE + at_opener
    add_function(kernel, "open_it.constprop.0", opener, address=at_opener, described=False)
    add_function(kernel, "find_it", code.LEAF, result="struct volume *", address=found)
    add_function(kernel, "f", code.READS_RESULT)
    frame = at(code.READS_RESULT, BASE, "f", 10, rax=OTHER, rbx=0)
    return explain_fault(kernel.prog, frame, fault_address=8)


def test_a_result_has_the_type_of_what_it_was_got_from(kernel: Kernel) -> None:
    assert reads_result(kernel, code.RETURNS_CALL).null_or_bad == "open_it()->mirror"


def test_a_result_of_several_kinds_has_no_type(kernel: Kernel) -> None:
    fault = reads_result(kernel, code.RETURNS_CALL_OR_NUMBER)
    assert fault.null_or_bad == "*(u64 *)(open_it() + 0x10)"
    assert fault.certainty is Certainty.INFERRED


def test_a_thread_function_of_the_kernel_takes_what_it_is_known_to(kernel: Kernel) -> None:
    kernel.struct("worker", 0x40, ("id", "int", 8))
    worker = SymbolAt(name="worker_thread", address=BASE, size=8, module=None)
    found = meant_by(kernel.prog, worker, "__worker")
    assert found is not None
    assert found.type_name() == "struct worker *"
    assert meant_by(kernel.prog, worker, "other") is None
    # A module's function may be called so, too.
    assert meant_by(kernel.prog, replace(worker, module="kinds"), "__worker") is None
    kernel.forget("worker")
    assert meant_by(kernel.prog, worker, "__worker") is None


def test_without_a_crashed_thread_its_argument_is_not_known(kernel: Kernel) -> None:
    with pytest.raises(Unavailable) as missing:
        thread_data(kernel.prog, CALLEE)
    assert missing.value.reason is Reason.NO_DEBUGINFO
