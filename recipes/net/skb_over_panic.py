"""A packet buffer was too small for what a caller appended or prepended.

``skb_put()`` moves ``skb->tail`` first and then looks whether it is beyond ``skb->end``;
``skb_push()`` moves ``skb->data`` below ``skb->head``. Either then prints all it knows
and stops in ``skb_panic()`` (net/core/skbuff.c). The caller is at fault, not they.

Recognised by: the skb of that call, found on the stack, whose pointers are past its
buffer by what the call put there, and which is what the message says in every operand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property

from drgn import FaultError, Object

from crashkit.arguments import Argument
from crashkit.crash import Crash
from crashkit.decode import decode_skb
from crashkit.decode.skb import SkBuff
from crashkit.decode.slab import slab_identity
from crashkit.decode.values import expression, member_value, pointer_value
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen, supporting
from crashkit.memory import is_kernel_address
from crashkit.recipe import Meta
from crashkit.unwind import Frame
from crashkit.value import Certainty, Origin, Reread, Value, facts

META = Meta(
    id="skb-over-panic",
    claim=(
        "a caller of skb_put() or skb_push() moved the skb's data past the end, or below the"
        " start, of its buffer"
    ),
    references=(
        "net/core/skbuff.c: skb_put(), skb_push(), skb_panic()",
        "1a8024239da, 732b74d64704: such a caller, virtio-net in big mode",
    ),
    matches=("recipe-skb-over-panic", "recipe-skb-under-panic"),
    rejects=("recipe-skb-over-panic-lookalike", "recipe-skb-under-panic-lookalike"),
    classes=("no tailroom", "no headroom"),
    told_apart_from=(
        "an skb that somebody else changed: the message and memory then disagree",
        "another BUG of the same function: the skb has the room",
    ),
)

_REPORTERS = ("skb_panic", "skb_over_panic", "skb_under_panic")
_MOVERS = ("skb_put", "skb_push", "pskb_put", "__pskb_put")
_HEX = r"(?:0x)?([0-9a-f]{1,16})"
_MESSAGE = re.compile(
    r"skb_(over|under)_panic: text:(?:\[<)?([0-9a-f]{8,16})(?:>\])?"
    rf" len:(-?\d{{1,10}}) put:(-?\d{{1,10}}) head:{_HEX} data:{_HEX}"
    rf" tail:{_HEX} end:{_HEX} dev:(\S{{1,64}})"
)
_U32 = (1 << 32) - 1


@facts
class Message:
    """The line that skb_panic() prints; ``tail`` and ``end`` as stored in the skb."""

    over: bool
    text: int
    len: int
    put: int
    head: int
    data: int
    tail: int
    end: int
    dev: str


def find_message(log: str) -> Message | None:
    """Find the last line of skb_panic() in a log; None when there is none."""
    found = list(_MESSAGE.finditer(log))
    if not found:
        return None
    last = found[-1]
    text, head, data, tail, end = (int(last[group], 16) for group in (2, 5, 6, 7, 8))
    return Message(
        over=last[1] == "over",
        text=text,
        len=int(last[3]) & _U32,
        put=int(last[4]) & _U32,
        head=head,
        data=data,
        tail=tail,
        end=end,
        dev=last[9],
    )


def excess(over: bool, skb: SkBuff) -> int:
    """Bytes by which an skb's data leaves its buffer on the side asked about.

    :raises Unavailable: a pointer of the skb is not in the dump
    """
    pair = (skb.tail, skb.end) if over else (skb.head, skb.data)
    if pair[0] is None or pair[1] is None:
        lost = next(iter(skb.absent.values()), None)
        raise lost or Unavailable("the skb's pointers", Reason.NOT_IN_DUMP)
    return pair[0] - pair[1]


def applies(crash: Crash) -> bool:
    """Whether skb_panic() stopped the kernel."""
    return _without_clone(crash.faulting_function) in _REPORTERS


def _without_clone(name: str | None) -> str:
    return (name or "").partition(".")[0]


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("message", "the kernel said which skb, and why", lambda: _said(scene))
    yield necessary(
        "skb", "the skb of this call has the buffer of the message", lambda: _same_buffer(scene)
    )
    yield necessary(
        "operands", "memory is what the message says: len, tail, end, dev", lambda: _agrees(scene)
    )
    yield necessary("put", "the call was for so much, or the skb allows it", lambda: _put(scene))
    yield necessary(
        "outside", "the data leaves the buffer, and did not before this call", lambda: _out(scene)
    )
    yield necessary(
        "caller", "the message's address is where the call returns to", lambda: _caller(scene)
    )
    yield supporting(
        "buffer", "the buffer is as large as its slab object allows", lambda: _buffer(scene)
    )


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def message(self) -> Message:
        found = find_message(self.crash.log)
        what = "skb_panic()'s message"
        if found is None:
            raise Unavailable(what, Reason.NOT_IN_DUMP, "not in the log")
        if not is_kernel_address(found.head):
            # %p since v4.15, until skb_panic() was changed to %px
            raise Unavailable(what, Reason.NOT_SAVED, "it was printed with hashed pointers")
        return found

    def passed(self, name: str) -> Iterator[Argument]:
        # The argument of that name of each function between skb_panic() and its caller.
        for frame in self._calls():
            for argument in self.crash.arguments(frame)[0]:
                if argument.name == name and argument.conflict is None:
                    yield argument

    def _calls(self) -> Iterator[Frame]:
        for frame in self.crash.outer_frames:
            if _without_clone(frame.function) not in (*_REPORTERS, *_MOVERS):
                return
            if not frame.inlined:
                yield frame

    @cached_property
    def caller(self) -> Frame:
        inner = len(tuple(self._calls()))
        outer = [frame for frame in self.crash.outer_frames if not frame.inlined][inner:]
        if not inner or not outer:
            raise Unavailable("the caller", Reason.NOT_IN_DUMP, "the stack ends before it")
        return outer[0]

    @cached_property
    def _skb(self) -> tuple[Object, Origin, Certainty, str]:
        # struct sk_buff *, and how it was found: passed, else whoever holds one of this buffer.
        for argument in self.passed("skb"):
            found = Object(self.crash.prog, "struct sk_buff *", argument.value)
            # A proved argument is the skb whatever it holds; a likelier one must look like it.
            if argument.certainty is Certainty.PROVED or self._has_buffer(found):
                return found, argument.origin, argument.certainty, argument.how
        for frame in self.crash.outer_frames:
            for register, held in frame.registers.items():
                if is_kernel_address(held.value) and held.value % 8 == 0:
                    found = Object(self.crash.prog, "struct sk_buff *", held.value)
                    if self._has_buffer(found):
                        how = f"{register.upper()} of {frame.function}"
                        return found, held.origin, Certainty.INFERRED, how
        raise Unavailable("the skb", Reason.NOT_SAVED, "no register on the stack holds it")

    def _has_buffer(self, skb: Object) -> bool:
        try:
            return int(skb.head) == self.message.head
        except FaultError:
            return False

    def skb(self) -> Object:
        return self._skb[0]

    @cached_property
    def decoded(self) -> SkBuff:
        return decode_skb(self.skb())

    def skb_value(self) -> Value:
        skb, origin, certainty, _how = self._skb
        return pointer_value("skb", skb, origin, certainty)

    def how(self) -> str:
        return self._skb[3]

    def field(self, member: str) -> Value:
        # As the kernel stores it: tail and end are offsets on 64-bit kernels.
        return member_value(f"skb->{member}", self.skb(), member, int(self.skb().member_(member)))


def _printed(name: str, value: int | str) -> Value:
    reread = Reread(crash="log | grep _panic:", crashkit="crash.log")
    return Value(name=f"{name} in the log", value=value, origin=Origin.TEXT, reread=reread)


def _said(scene: _Scene) -> Observation:
    said = scene.message
    which = "skb_over_panic" if said.over else "skb_under_panic"
    return seen(True, _printed("message", which), note=f"put {said.put}, dev {said.dev}")


def _same_buffer(scene: _Scene) -> Observation:
    said, head, data = scene.message, scene.field("head"), scene.field("data")
    same = head.value == said.head
    note = f"{int(scene.skb()):016x}: {scene.how()}"
    return seen(same, scene.skb_value(), head, data, _printed("head", said.head), note=note)


def _agrees(scene: _Scene) -> Observation:
    said, skb = scene.message, scene.decoded
    values, differ = [], []
    for name in ("data", "len", "tail", "end"):
        stored, printed = scene.field(name), getattr(said, name)
        values += [stored, _printed(name, printed)]
        if stored.value != printed:
            differ.append(f"{name} is {int(stored.value):#x}, was {printed:#x}")
    if said.dev != "<NULL>" or skb.device:
        if skb.device_name is None:
            raise skb.absent["device_name"]
        shown = member_value("skb->dev->name", scene.skb(), "dev", skb.device_name)
        values += [shown, _printed("dev", said.dev)]
        if skb.device_name != said.dev:
            differ.append(f"dev is {skb.device_name}, was {said.dev}")
    return seen(not differ, *values, note="; ".join(differ) or "all of them")


def _put(scene: _Scene) -> Observation:
    said = _printed("put", scene.message.put)
    for name in ("sz", "len", "size"):
        for argument in scene.passed(name):
            value = Value(
                name=name,
                value=argument.value & _U32,
                origin=argument.origin,
                certainty=argument.certainty,
                ctype=argument.ctype,
                reread=Reread(crash="bt -f"),
            )
            note = f"{value.value} bytes: {argument.how}"
            return seen(value.value == scene.message.put, value, said, note=note)
    # Not kept anywhere; but skb->len already counts what was put.
    length = scene.field("len")
    note = "the argument was not kept; len includes it"
    return seen(int(length.value) >= scene.message.put, length, said, note=note)


def _out(scene: _Scene) -> Observation:
    said = scene.message
    beyond = excess(said.over, scene.decoded)
    names = ("tail", "end") if said.over else ("head", "data")
    side = "end" if said.over else "start"
    note = f"{beyond} bytes past the {side} of the buffer; {said.put - beyond} were left"
    if beyond <= 0:
        note = f"{-beyond} bytes left before the {side} of the buffer"
    values = [scene.field(name) for name in names]
    return seen(0 < beyond <= said.put, *values, _printed("put", said.put), note=note)


def _caller(scene: _Scene) -> Observation:
    frame = scene.caller
    value = Value(
        name="return address",
        value=frame.pc,
        origin=Origin.MEMORY,
        address=frame.slot,
        identity=_place(frame),
        reread=Reread(crash=f"sym {frame.pc:016x}", crashkit=f"prog.symbol({frame.pc:#x})"),
    )
    said = _printed("text", scene.message.text)
    return seen(frame.pc == scene.message.text, value, said, note=_place(frame))


def _place(frame: Frame) -> str:
    module = f" [{frame.module}]" if frame.module else ""
    return f"{frame.function}+{frame.offset or 0:#x}{module}"


def _buffer(scene: _Scene) -> Observation:
    skb = scene.decoded
    if skb.head is None or skb.end is None:
        raise Unavailable("the skb's buffer", Reason.NOT_IN_DUMP)
    found = slab_identity(scene.crash.prog, skb.head)
    if found.object_size is None:
        raise found.absent["object_size"]
    shared = scene.crash.prog.type("struct skb_shared_info").size or 0
    size = skb.end + shared - skb.head
    value = Value(
        name="slab object",
        value=found.object_size,
        origin=Origin.MEMORY,
        address=found.object_start,
        identity=found.cache_name,
        reread=Reread(crash=f"kmem -S {skb.head:016x}", crashkit=f"{expression(scene.skb())}.head"),
    )
    note = f"{size} of {found.object_size} bytes of {found.cache_name}"
    return seen(found.is_start and size <= found.object_size, value, scene.field("end"), note=note)


def classes(crash: Crash, _checks: Sequence[Check]) -> tuple[str, ...]:
    """Say which side of the buffer the data left."""
    return ("no tailroom",) if _Scene(crash).message.over else ("no headroom",)


def advice(crash: Crash, checks: Sequence[Check]) -> tuple[str, ...]:
    """Name the code that put too much there."""
    if not all(check.holds for check in checks if check.id in ("outside", "caller")):
        return ()
    scene = _Scene(crash)
    beyond = excess(scene.message.over, scene.decoded)
    room = scene.message.put - beyond
    call = "skb_put" if scene.message.over else "skb_push"
    return (f"{_place(scene.caller)} called {call}() for {scene.message.put} bytes, {room} fitted",)
