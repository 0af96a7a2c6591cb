"""One odd thing seen on the way to a crash, and the objects such things are looked for in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from drgn import Object, Program, Type, TypeKind

from crashkit.errors import Unavailable
from crashkit.layout import pointee, strip
from crashkit.memory import is_kernel_address
from crashkit.symbols.btf_structures import module_structures
from crashkit.value import Certainty, Value, facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

_MOST_FRAMES = 32


@facts
class Oddity:
    """Something that should not be so, or need not be and is worth a look."""

    kind: str
    """``second-object``, ``free-object``, ``broken-list``, ``count``, ``return-address``."""
    statement: str
    """One sentence."""
    values: tuple[Value, ...]
    certainty: Certainty
    """Of what is said, not of what it means."""


@facts
class Met:
    """A pointer to a structure that the crashed code had in hand."""

    name: str
    """``ct``, ``skb of nf_iterate()``."""
    function: str | None
    address: int
    tag: str
    """Of the structure it points at."""
    certainty: Certainty
    identity: str | None
    in_chain: bool
    """It is on the way to the faulting operand."""
    module: str | None = None
    """Of the function that had it; None: the core kernel."""
    member: str | None = None
    """A member that the structure has, as the fault's expression says."""


def met_objects(crash: Crash) -> tuple[Met, ...]:
    """List the structures that the fault's chain and the frames' arguments point at.

    Each address and structure once: the chain's first, then from the innermost frame out.
    """
    found: dict[tuple[int, str], Met] = {}
    for met in (*_in_chain(crash), *_in_frames(crash)):
        found.setdefault((met.address, met.tag), met)
    return tuple(found.values())


def structure(prog: Program, met: Met) -> Object:
    """Make the object that was met.

    :returns: ``struct T *``
    :raises LookupError: its type is not known, or another structure has its name
    """
    type_ = _structure_type(prog, met)
    if met.member is not None and not type_.has_member(met.member):
        raise LookupError(f"another struct {met.tag}")
    return Object(prog, prog.pointer_type(type_), met.address)


def _structure_type(prog: Program, met: Met) -> Type:
    # A module may have a structure of its own with the name of the kernel's, or of another's.
    if met.module is not None:
        own = [t for t in module_structures(prog, met.module) if t.tag == met.tag]
        if len(own) == 1:
            return own[0]
    return prog.type(f"struct {met.tag}")


def _in_chain(crash: Crash) -> Iterator[Met]:
    fault = crash.fault
    if fault is None or not fault.chain:
        return
    later = [*(link.expression for link in fault.chain[1:]), fault.expression or ""]
    for link, following in zip(fault.chain, later, strict=True):
        tag = _tag_named(crash.prog, link.ctype or "")
        if tag is None or link.value is None or not is_kernel_address(link.value):
            continue
        yield Met(
            name=link.expression,
            function=fault.symbol,
            module=fault.module,
            member=_member_of(link.expression, following),
            address=link.value,
            tag=tag,
            certainty=link.certainty,
            identity=link.identity,
            in_chain=True,
        )


def _member_of(pointer: str, expression: str) -> str | None:
    # "port" and "port->ops->send": ops.
    if not expression.startswith(f"{pointer}->"):
        return None
    found = re.match(r"\w+", expression[len(pointer) + 2 :])
    return found[0] if found else None


def _in_frames(crash: Crash) -> Iterator[Met]:
    for frame in crash.outer_frames[:_MOST_FRAMES]:
        if frame.inlined:
            continue
        try:
            arguments, _missing = crash.arguments(frame)
        except Unavailable:
            continue  # the report's stack says why
        for argument in arguments:
            tag = _tag_named(crash.prog, argument.ctype)
            if tag is None or argument.conflict or not is_kernel_address(argument.value):
                continue
            yield Met(
                name=f"{argument.name} of {frame.function}()",
                function=frame.function,
                module=frame.module,
                address=argument.value,
                tag=tag,
                certainty=argument.certainty,
                identity=argument.identity,
                in_chain=False,
            )


def _tag_named(prog: Program, ctype: str) -> str | None:
    # "struct nf_conn *" to nf_conn; None for what points at no structure.
    words = ctype.replace("const ", "").replace("volatile ", "").strip()
    if not words.endswith("*") or words.count("*") != 1:
        return None
    name = words[:-1].strip()
    if name.startswith("struct "):
        return name.removeprefix("struct ")
    try:
        return tag_of(prog.type(name)) if name.isidentifier() else None
    except LookupError:
        return None


def tag_of(type_: Type) -> str | None:
    """Tag of a structure type, through typedefs; None for others."""
    bare = strip(type_)
    return bare.tag if bare.kind is TypeKind.STRUCT else None


def pointed_tag(type_: Type) -> str | None:
    """Tag of the structure that a pointer type points at; None for others."""
    if strip(type_).kind is not TypeKind.POINTER:
        return None
    target = pointee(type_)
    return tag_of(target) if target is not None else None
