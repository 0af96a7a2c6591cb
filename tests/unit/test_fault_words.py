"""A fault in words: what the instruction did, and where its bad value came from."""

from __future__ import annotations

from typing import Any

from crashkit.report.text_access import (
    at_address,
    came_from,
    conflicting,
    did,
    held_by,
    who,
)


def document(**keys: Any) -> dict[str, Any]:
    """A ``fault`` object with these keys."""
    return {
        "instruction": None, "access": None, "address": None, "expression": None,
        "symbol": "g", "null_or_bad": None, "bad_register": None,
        "diagnosis": {"kind": "other", "statement": ""},
        **keys,
    }  # fmt: skip


def sentence(fault: dict[str, Any]) -> str:
    return conflicting(fault) or f"{who(fault)} {did(fault)}{at_address(fault)}"


def test_a_failed_check_touches_no_address() -> None:
    fault = document(
        instruction="ud2",
        condition={"text": "n > 5"},
        diagnosis={"kind": "other", "statement": "a check in the code failed: n > 5: n was 9"},
    )
    assert sentence(fault) == "g() failed a check of its own: n > 5: n was 9"
    fault["diagnosis"]["statement"] = "a check in the code failed"
    assert sentence(fault) == "g() failed a check of its own"


def test_a_jump_names_no_instruction_of_its_target() -> None:
    fault = document(instruction="push %rbx", access="exec", address="0x0")
    assert sentence(fault) == "It jumped to address 0"
    called = document(
        instruction="push %rbx", access="exec", address="0x0", expression="o->ops->submit",
        called_from="f+0x10 [m]",
    )  # fmt: skip
    assert did(called) == "called o->ops->submit"
    assert sentence(called) == "f+0x10 [m] called o->ops->submit (0)"


def test_a_division_divides() -> None:
    fault = document(instruction="idivq 0x8(%rdi)", expression="n / r->count")
    assert sentence(fault) == "g() divided n / r->count"


def test_an_access_is_said_as_before() -> None:
    fault = document(
        instruction="mov 0x8(%rax),%rcx", access="read", address="0x8", expression="p->x"
    )
    assert did(fault) == "read p->x"
    assert sentence(fault) == "g() read p->x (0x8)"
    assert sentence({**fault, "symbol": None}) == "It read p->x (0x8)"


def test_origins_are_said_in_order_and_changed_memory_with_them() -> None:
    step = {
        "frame": 5, "function": "caller", "parameter": "it", "expression": "v->mirror",
        "value": "0x0", "now": "0xffff888000001000", "certainty": "inferred", "one_of": [],
    }  # fmt: skip
    handed = {**step, "frame": 6, "function": "outer", "expression": "it", "value": None}
    lines = came_from(document(origins=[step, handed]))
    assert lines == ["caller (#5) passed v->mirror = 0, ffff888000001000 now ~"]


def test_ways_and_progress_and_holders() -> None:
    fault = document(
        null_or_bad="p",
        one_of=[{"expression": "a->x"}, {"expression": None}],
        progress="64 of 256 bytes were done",
        held_by=[
            {"stack": "CPU 1", "frame": 3, "function": "g", "place": "rbx", "certainty": "proved"}
        ],
    )
    assert came_from(fault) == ["p: one of a->x, ? ~", "64 of 256 bytes were done"]
    assert held_by(fault) == ["CPU 1 has the object: g (#3), rbx"]


def test_registers_that_disagree_with_the_cpu_are_no_execution() -> None:
    fault = document(instruction="mov 0x1c(%rax),%eax", address="0x5c", conflict="none goes there")
    assert sentence(fault) == (
        "mov 0x1c(%rax),%eax: address 0x5c is not where its registers point (CONFLICT)"
    )
    privileged = document(instruction="wrmsr", address=None)
    assert sentence(privileged) == "g() ran wrmsr"
    assert sentence({**privileged, "address": "0x10"}).endswith("which faulted at address 0x10")
