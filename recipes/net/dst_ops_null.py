"""A call through an skb's route that has no such function: NULL was called.

``skb_dst(skb)`` is not always a route. A tunnel's metadata_dst, a bridge's fake rtable
and a blackhole have a ``struct dst_ops`` with most members NULL; code that calls one
without a look jumps to address 0.

Recognised by: the call before the return address on the stack takes its target from a
member of ``struct dst_ops``, reached through ``dst_entry.ops`` from the dst that the
path's skb has, and that member is NULL in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from drgn import FaultError, Object, Program, TypeKind

from crashkit.crash import Crash
from crashkit.dataflow import (
    Const,
    Load,
    Masked,
    Part,
    State,
    Sum,
    Term,
    add,
    analyse_function,
)
from crashkit.decode import decode_skb
from crashkit.decode.fields import has_member, member
from crashkit.decode.values import member_value, pointer_value
from crashkit.disasm import Instruction, MemoryOperand
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Fix, Observation, necessary, seen, supporting
from crashkit.layout import member_at, offset_of, pointee, strip
from crashkit.memory import is_kernel_address, read_u64
from crashkit.recipe import Meta
from crashkit.symbols import SymbolAt, symbol_at
from crashkit.value import Certainty, Origin, Reread, Value

META = Meta(
    id="dst-ops-null",
    claim="a member of skb_dst(skb)->ops was called that this kind of dst leaves NULL",
    references=(
        "f15ca723c1eb net: don't call update_pmtu unconditionally",
        "f9ff7665cd12 netfilter: br_netfilter: fix panic with metadata_dst skb (CVE-2024-50045)",
    ),
    matches=("recipe-dst-ops-null",),
    rejects=("recipe-dst-ops-null-lookalike",),
    classes=("metadata dst", "no metadata"),
    told_apart_from=(
        "a call through another structure: its target comes from elsewhere, by type",
        "a freed or damaged dst: the member is not NULL, or the skb has another dst",
    ),
)

_REFDST_MASK = ~1  # SKB_DST_PTRMASK: bit 0 says that no reference was taken (linux/skbuff.h)
_DST_METADATA = 0x80  # include/net/dst.h, since v4.3
_U64 = (1 << 64) - 1
_DEEPEST = 8


def applies(crash: Crash) -> bool:
    """Whether address 0 was called, where there is a packet."""
    fault = crash.fault
    if fault is None or fault.ip != 0 or fault.address not in (0, None):
        return False
    return crash.target.format == "text" or bool(crash.skbs)


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("null-call", "the call's target was NULL", lambda: _was_null(scene))
    yield necessary(
        "dst-ops", "it is a function of struct dst_ops, reached as dst->ops", lambda: _ops(scene)
    )
    yield necessary("skb-dst", "that dst is an skb's of this path", lambda: _is_skbs(scene))
    yield necessary("member-null", "that function is NULL in memory", lambda: _is_null(scene))
    yield supporting("metadata", "the dst is a tunnel's metadata", lambda: _is_metadata(scene))


@dataclass(frozen=True)
class Call:
    """An indirect call, and what its code says of the target."""

    function: SymbolAt
    instruction: Instruction
    state: State
    target: Load | None
    """The load of the target; None when the code does not say."""


def target_of(instruction: Instruction, state: State) -> Load | None:
    """Find the load that gives an indirect call its target.

    :param instruction: the call
    :param state: before it
    """
    if instruction.via is not None:
        found = state.registers.get(instruction.via)
        return found if isinstance(found, Load) else None
    for operand in instruction.arguments:
        if isinstance(operand, MemoryOperand):
            plain = operand.base is not None and operand.index is None and not operand.segment
            base = state.registers.get(operand.base or "")
            if plain and base is not None:
                return load_at(add(base, operand.displacement), instruction.address)
    return None


def load_at(place: Term, at: int) -> Load:
    """The eight bytes at ``place`` as the term of a load."""
    if isinstance(place, Sum):
        return Load(place.base, place.addend, 8, at)
    return Load(place, 0, 8, at)


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @property
    def prog(self) -> Program:
        return self.crash.prog

    @property
    def registers(self) -> Mapping[str, int]:
        # Of the call as well: no instruction of the callee has run.
        fault = self.crash.fault
        if fault is None or self.crash.fault_frame is None or "rsp" not in fault.registers:
            # Those of a fault that only the log tells of are text.
            raise Unavailable("the registers", Reason.NOT_IN_DUMP, "none of the fault")
        return fault.registers

    @cached_property
    def call(self) -> Call:
        frame = next((f for f in self.crash.outer_frames[1:] if not f.inlined), None)
        function = symbol_at(self.prog, frame.pc - 1) if frame is not None else None
        if frame is None or function is None:
            raise Unavailable("the call", Reason.CORRUPTED, "rsp points at no return address")
        what = f"the call before {frame.pc:#x}"
        flow = analyse_function(self.prog, function)
        instruction = flow.call_before(frame.pc)
        if instruction is None or instruction.target is not None:
            raise Unavailable(what, Reason.AMBIGUOUS, f"{function.name} makes no such call there")
        state = flow.state_before(instruction.address)
        return Call(function, instruction, state, target_of(instruction, state))

    @cached_property
    def target(self) -> Load:
        # Read again, it must be NULL: else what was called there has itself jumped to 0, and
        # this is not the call.
        target, what = self.call.target, "the target"
        if target is None:
            raise Unavailable(what, Reason.AMBIGUOUS, f"{self.place()} does not say where from")
        held = read_u64(self.prog, self.target_place, what)
        if held:
            raise Unavailable(what, Reason.AMBIGUOUS, f"{self.place()} would call {held:016x}")
        return target

    @property
    def target_place(self) -> int:
        """Address of the word that the target was loaded from."""
        target = self.call.target
        assert target is not None
        return (self.value(target.base) + target.offset) & _U64

    def place(self) -> str:
        call = self.call
        module = f" [{call.function.module}]" if call.function.module else ""
        offset = call.instruction.address - call.function.address
        return f"{call.function.name}+{offset:#x}{module}"

    def value(self, term: Term, depth: int = 0) -> int:
        """What a term was at the call: in a register, else memory as it is now."""
        for register, held in self.call.state.registers.items():
            if held == term and register in self.registers:
                return self.registers[register]
        if depth < _DEEPEST:
            if isinstance(term, Const):
                return term.value
            if isinstance(term, Load):
                place = (self.value(term.base, depth + 1) + term.offset) & _U64
                number = read_u64(self.prog, place, "the call's operand")
                return number & ((1 << 8 * term.size) - 1)
            if isinstance(term, (Masked, Sum, Part)):
                held_by = self.value(term.base, depth + 1)
                if isinstance(term, Masked):
                    return held_by & term.mask
                if isinstance(term, Sum):
                    return (held_by + term.addend) & _U64
        raise Unavailable("the call's operand", Reason.NOT_SAVED, "no register has it any longer")

    @cached_property
    def function(self) -> str | None:
        """The function of struct dst_ops that lies where the target was loaded from."""
        ops, offset = self.prog.type("struct dst_ops"), self.target.offset
        if not 0 <= offset < (ops.size or 0):
            return None
        found = member_at(ops, offset, 8)
        called = pointee(found.type)
        is_function = called is not None and strip(called).kind is TypeKind.FUNCTION
        return found.text if found.complete and is_function else None

    @cached_property
    def ops_load(self) -> Load | None:
        # The load of what should be dst->ops; None when the target comes from elsewhere.
        base = self.target.base
        if not isinstance(base, Load):
            raise Unavailable("dst->ops", Reason.AMBIGUOUS, f"{self.place()} got it from a caller")
        at = offset_of(self.prog.type("struct dst_entry"), "ops")
        return base if base.offset == at else None

    @cached_property
    def dst(self) -> Object:
        if self.ops_load is None:
            what = "the dst of this call"
            raise Unavailable(what, Reason.NOT_APPLICABLE, "the target comes from elsewhere")
        return Object(self.prog, "struct dst_entry *", self.value(self.ops_load.base))

    @cached_property
    def skb(self) -> Object:
        """The skb that has this dst: by the code, else one that the stack has."""
        dst, places = int(self.dst), [candidate.address for candidate in self.crash.skbs]
        if self.dst_load is not None and self._is_refdst(self.dst_load):
            places.insert(0, self.value(self.dst_load.base))
        for place in places:
            if is_kernel_address(place):
                skb = Object(self.prog, "struct sk_buff *", place)
                if _dst_of(skb) == dst:
                    return skb
        raise Unavailable("the skb", Reason.NOT_SAVED, f"none has the dst {dst:016x}")

    @property
    def dst_load(self) -> Load | None:
        """The load of what should be the dst; None where the code does not say."""
        assert self.ops_load is not None
        base = self.ops_load.base
        base = base.base if isinstance(base, Masked) else base
        return base if isinstance(base, Load) else None

    def _is_refdst(self, load: Load) -> bool:
        return load.offset == offset_of(self.prog.type("struct sk_buff"), "_skb_refdst")

    @cached_property
    def other_member(self) -> tuple[Object, str] | None:
        """The skb, and the member that the "dst" was loaded from where that is not its dst."""
        load = self.dst_load
        if load is None or self._is_refdst(load):
            return None
        place = self.value(load.base)
        if all(candidate.address != place for candidate in self.crash.skbs):
            return None
        found = member_at(self.prog.type("struct sk_buff"), load.offset, 8)
        return Object(self.prog, "struct sk_buff *", place), found.text


def _dst_of(skb: Object) -> int | None:
    try:
        return int(skb._skb_refdst) & _REFDST_MASK
    except FaultError:
        return None


def _was_null(scene: _Scene) -> Observation:
    call = scene.call
    rip = Value(
        name="RIP",
        value=scene.registers["rip"],
        origin=Origin.REGISTER,
        reread=Reread(crash="bt", crashkit="crash.fault.registers['rip']"),
    )
    back = _word("return address", scene.registers["rsp"], call.instruction.end)
    target = _word(f"target, {scene.target.size} bytes", scene.target_place, 0)
    return seen(rip.value == 0, rip, back, target, note=f"called at {scene.place()}")


def _word(name: str, place: int, value: int) -> Value:
    reread = Reread(crash=f"rd {place:016x}", crashkit=f"prog.read_u64({place:#x})")
    return Value(name=name, value=value, origin=Origin.MEMORY, address=place, reread=reread)


def _ops(scene: _Scene) -> Observation:
    target, ops = scene.target, scene.ops_load
    values = [_offset(scene, "offset of the target", target.offset)]
    if isinstance(target.base, Load):
        values.append(_offset(scene, "offset of its structure", target.base.offset))
    if ops is None:
        expected = offset_of(scene.prog.type("struct dst_entry"), "ops")
        note = f"its structure was not loaded from {expected:#x}, where dst_entry.ops is"
    elif scene.function is None:
        note = f"struct dst_ops has no function at {target.offset:#x}"
    else:
        note = f"dst->ops->{scene.function} at {scene.place()}"
    return seen(ops is not None and scene.function is not None, *values, note=note)


def _offset(scene: _Scene, name: str, offset: int) -> Value:
    reread = Reread(crash=f"dis -l {scene.call.instruction.address:016x}")
    return Value(name=name, value=offset & _U64, origin=Origin.DATAFLOW, reread=reread)


def _is_skbs(scene: _Scene) -> Observation:
    dst = pointer_value("dst", scene.dst, Origin.DATAFLOW, Certainty.PROVED)
    if scene.other_member is not None:
        # Other structures have their operations at the offset of dst_entry.ops, too.
        skb, name = scene.other_member
        value = member_value(f"skb->{name}", skb, name, int(scene.dst))
        return seen(False, value, note=f"the call goes through skb->{name}, which is no dst")
    skb = scene.skb
    stored = member_value("skb->_skb_refdst", skb, "_skb_refdst", int(skb._skb_refdst))
    device = decode_skb(skb).device_name
    note = f"of skb {int(skb):016x}" + (f", dev {device}" if device else "")
    return seen(True, stored, dst, note=note)


def _is_null(scene: _Scene) -> Observation:
    ops = member(scene.dst, "ops")
    # What the call loaded, if a register still has it, and what the dst names today.
    if scene.function is None or scene.ops_load is None:
        raise Unavailable("the function", Reason.NOT_APPLICABLE, "none of struct dst_ops")
    used = scene.value(scene.ops_load)
    pointer = member_value("dst->ops", scene.dst, "ops", int(ops))
    held = int(ops.read_().member_(scene.function))
    function = member_value(f"dst->ops->{scene.function}", ops, scene.function, held)
    symbol = symbol_at(scene.prog, int(ops))
    note = f"ops is {symbol.name}" if symbol is not None else f"ops is {int(ops):016x}"
    if used != int(ops):
        note = f"ops was {used:016x} at the call, and is {int(ops):016x}"
    return seen(held == 0 and used == int(ops), pointer, function, note=note)


def _is_metadata(scene: _Scene) -> Observation:
    if not has_member(scene.dst, "flags"):
        raise Unavailable("dst->flags", Reason.NO_DEBUGINFO)
    flags = int(scene.dst.flags)
    value = member_value("dst->flags", scene.dst, "flags", flags)
    return seen(bool(flags & _DST_METADATA), value, note=f"{flags:#x}")


def classes(_crash: Crash, checks: Sequence[Check]) -> tuple[str, ...]:
    """Say what kind of dst it was."""
    known = {True: ("metadata dst",), False: ("no metadata",)}
    return next((known[c.holds] for c in checks if c.id == "metadata" and c.holds is not None), ())


_UPDATE_PMTU = Fix(
    upstream="f15ca723c1eb",
    title="net: don't call update_pmtu unconditionally",
    release="v4.16",
)
_BRIDGE = Fix(
    upstream="f9ff7665cd12",
    title="netfilter: br_netfilter: fix panic with metadata_dst skb",
    release="v6.12",
    stable=("6.1.113",),
)


def fix(crash: Crash) -> Fix | None:
    """Name the fix of the caller, where it is one of those known."""
    scene = _Scene(crash)
    if (scene.call.function.module or "").startswith("br"):
        return replace(_BRIDGE, how_seen=f"called at {scene.place()}")
    if scene.ops_load is not None and scene.function == "update_pmtu":
        return replace(_UPDATE_PMTU, in_this_binary=False, how_seen=f"{scene.place()} calls it")
    return None
