"""Values that a recipe's checks rest on, made of what the sections found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

from drgn import Object, Program

from crashkit.crash.panics import read_section
from crashkit.errors import Reason, Unavailable
from crashkit.unwind import Frame
from crashkit.value import Certainty, Origin, Reread, Value

if TYPE_CHECKING:
    from crashkit.crash.core import Crash
    from crashkit.crash.panics.places import Place
    from crashkit.crash.panics.waits import WaitingTask
    from crashkit.crash.panics.waits_parts import Wait
    from crashkit.finding import Check

T = TypeVar("T")


def find_section(crash: Crash, key: str, kind: type[T]) -> T | None:
    """Give a section of ``panic.facts``, read once for a program; None: it does not apply.

    :param kind: its class
    :raises Unavailable: the dump does not hold it
    """
    found = read_section(crash, key)
    return found if isinstance(found, kind) else None


def section_of(crash: Crash, key: str, kind: type[T]) -> T:
    """Give a section of ``panic.facts`` that must be there.

    :param kind: its class
    :raises Unavailable: the dump does not hold it, or it does not apply to this crash
    """
    found = find_section(crash, key, kind)
    if found is None:
        raise Unavailable(f"panic.facts.{key}", Reason.NOT_APPLICABLE, "nothing of it is there")
    return found


def kind_of(crash: Crash) -> str | None:
    """Give the kind of panic of a dump; None for text, which has no lock and no stack."""
    return None if crash.oops is None or crash.target.format == "text" else crash.oops.kind


def jumped_wild(crash: Crash) -> bool:
    """Whether the CPU of a dump was sent to where no code is."""
    if crash.target.format == "text":
        return False
    return crash.fault is not None and crash.fault.access == "exec"


def holds(checks: Iterable[Check], id_: str) -> bool:
    """Whether a check was evaluated and is true."""
    return any(check.id == id_ and check.holds is True for check in checks)


def place_words(place: Place | None) -> str:
    """Name a place: ``function+0x1f [module]``."""
    if place is None or place.function is None:
        return "a place without a name"
    module = f" [{place.module}]" if place.module else ""
    return f"{place.function}+{place.offset or 0:#x}{module}"


def who(line: WaitingTask) -> str:
    """Name a task: ``comm (pid)``."""
    return f"{line.comm or '?'} ({line.pid})"


def fact(name: str, value: int | str, crash: str, crashkit: str, **more: object) -> Value:
    """Make a Value that no one word of memory holds.

    :param crash: command of crash that shows it
    :param crashkit: expression that gives it
    :param more: other parts of :class:`Value`; its origin is memory unless said
    """
    parts: dict[str, object] = {"origin": Origin.MEMORY, **more}
    return Value(name=name, value=value, reread=Reread(crash=crash, crashkit=crashkit), **parts)  # type: ignore[arg-type]


def word_value(name: str, address: int, value: int, **more: object) -> Value:
    """Make a Value of a 64-bit word of memory.

    :param more: other parts of :class:`Value`
    """
    look = f"prog.read_u64({address:#x})"
    return fact(name, value, f"rd {address:016x}", look, **{"address": address, **more})


def task_value(name: str, line: WaitingTask) -> Value:
    """Make a Value of a task."""
    look = f"crash.stack_of({line.pid})"
    more = {"ctype": "struct task_struct *", "identity": who(line)}
    return fact(name, line.task, f"bt {line.task:016x}", look, **more)


def state_value(prog: Program, task: int) -> Value:
    """Make a Value of a task's state.

    :raises Unavailable: it is not in the dump
    """
    from crashkit.decode.fields import has_member
    from crashkit.decode.values import member_value
    from crashkit.decode.waits import task_state

    pointer = Object(prog, "struct task_struct *", task)
    # Renamed by 2f064a59a11f ("sched: Change task_struct::state") (in v5.14).
    member = "__state" if has_member(pointer, "__state") else "state"
    return member_value(f"task->{member}", pointer, member, task_state(pointer).value)


def owner_value(wait: Wait) -> Value:
    """Make a Value of the task that a lock says has it, or had it last.

    :raises Unavailable: it is not known, or nothing of the lock can be read
    """
    from crashkit.decode.locks import LOCK_TYPES

    if wait.lock is None or wait.kind is None or wait.owner is None:
        why = Unavailable("the owner", Reason.NOT_SAVED, "nothing tells who has it")
        raise wait.absent.get("owner") or wait.absent.get("lock") or why
    ctype, address = LOCK_TYPES[wait.kind].ctype, wait.lock.address
    return fact(
        f"owner of {wait.kind} {wait.lock.name or f'{address:016x}'}",
        wait.owner,
        f"{ctype.removesuffix(' *')} {address:016x}",
        f"Object(prog, {ctype!r}, {address:#x}).owner",
        certainty=wait.owner_certainty or Certainty.INFERRED,
        ctype="struct task_struct *",
        address=address,
    )


def return_value(frame: Frame) -> Value:
    """Make a Value of the return address that makes a frame."""
    name = f"return into {frame.function or '?'}"
    if frame.slot is None:
        return fact(name, frame.pc, "bt", "crash.frames", origin=Origin.REGISTER)
    return word_value(name, frame.slot, frame.pc)
