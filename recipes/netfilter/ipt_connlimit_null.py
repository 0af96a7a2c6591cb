"""The connlimit match of 2.6 read the state of a connection it had not kept.

``ipt_connlimit`` of patch-o-matic (2.6.11) looks up each connection it remembers: ``found``. It
assigns ``found_ct`` only behind ``0 == memcmp(&conn->tuple, &tuple, ...) &&``, and reads
``found_ct->proto.tcp.state`` whenever ``found`` is not NULL. With a second connection of a host the
compare fails, and ``found_ct`` is NULL.

Recognised by: a read of ``proto.tcp.state`` through NULL in that module, while a register holds the
table's entry of another connection than the packet's.

Told apart from: the same function reading another member of NULL, or an entry that is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from drgn import Object, container_of

from crashkit.crash import Crash
from crashkit.crash.scenes import FaultScene
from crashkit.decode import (
    conntrack_cache,
    decode_nf_conn,
    decode_packet,
    nf_ct,
    slab_identity,
)
from crashkit.decode import conntrack_observed as see
from crashkit.decode.conntrack import DIRECTIONS
from crashkit.errors import Reason, Unavailable
from crashkit.finding import CheckSpec, Observation, necessary, seen, supporting
from crashkit.layout import offset_of
from crashkit.oops import Oops
from crashkit.recipe import Meta
from crashkit.value import Origin, Reread, Value

META = Meta(
    id="ipt-connlimit-null",
    claim=(
        "ipt_connlimit read found_ct->proto.tcp.state with found_ct NULL, although the table"
        " held the connection that it had looked up"
    ),
    references=(
        "patch-o-matic connlimit for 2.6.11, ipt_connlimit.c: the order of memcmp() and found_ct",
        "net/netfilter/xt_connlimit.c (v2.6.23): assigns before it compares",
    ),
    matches=("recipe-ipt-connlimit-null",),
    rejects=("recipe-ipt-connlimit-null-lookalike", "recipe-ipt-connlimit-null-lookalike-bad"),
    told_apart_from=(
        "another member of a NULL pointer: the address is not that of proto.tcp.state",
        "an entry that is none: the pointer is then not NULL",
        "an empty table: no register then holds an entry that was found",
    ),
    advice=(
        "assign found_ct before comparing: found != NULL && (found_ct = tuplehash_to_ctrack(found))"
        " != NULL && 0 == memcmp(...); or use xt_connlimit (2.6.23 and newer)"
    ),
    history=(
        "a host has a connection that the match remembers",
        "its next SYN: the remembered tuple is found in the table, and is not the packet's",
        "the compare comes first, so found_ct stays NULL; its TCP state is read",
    ),
)

_MODULE = "ipt_connlimit"
_STATE = "proto.tcp.state"
_TCP = 6
_PAGE = 4096
# What lies below is a member of NULL; nothing is mapped there (mmap_min_addr).
_ACCESSES = ("null-pointer-dereference", "page-fault", "general-protection")


def applies(crash: Crash) -> bool:
    """Whether memory access faulted in ipt_connlimit."""
    if crash.fault_frame is not None:
        return crash.fault_frame.module == _MODULE
    return _printed(crash) is not None


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("module", "the code that faulted is ipt_connlimit's", lambda: _module(scene))
    yield necessary(
        "null", "it accessed a member of a NULL pointer", lambda: _access_is_of_null(scene)
    )
    yield necessary("tcp-state", "the member is proto.tcp.state", lambda: _is_tcp_state(scene))
    yield necessary(
        "found", "a register holds the conntrack that was found", lambda: _was_found(scene)
    )
    yield necessary(
        "found-used", "a reference to it is held", lambda: see.is_used(scene.found(), 1)
    )
    yield necessary(
        "compare", "it is TCP, and not the packet's own", lambda: _is_another_connection(scene)
    )
    yield supporting(
        "found-confirmed",
        "it is confirmed, not dying, by now",
        lambda: see.is_confirmed(scene.found()),
    )
    yield supporting(
        "found-hashed", "it is in the table by now", lambda: see.is_hashed(scene.found())
    )
    yield supporting("softirq", "it ran in a softirq", lambda: _in_softirq(scene))


class _Scene(FaultScene):
    @cached_property
    def address(self) -> Value:
        # Of the access; the CPU's own, or what was printed.
        if self.crash.fault_frame is None:
            printed = _printed(self.crash)
            if printed is None or printed.fault_address is None:
                raise Unavailable("fault address", Reason.NOT_IN_DUMP, "it was not printed")
            return Value(name="fault address", value=printed.fault_address, origin=Origin.TEXT)
        return super().address

    @cached_property
    def _found(self) -> tuple[Object, str]:
        # struct nf_conn *, and the register that holds its tuple hash.
        held: dict[int, tuple[Object, str]] = {}
        for register, value in self.fault.registers.items():
            entry = _entry_of(self.crash, value)
            if entry is not None:
                held.setdefault(int(entry), (entry, register))
        if len(held) > 1:
            held.pop(int(self.own()), None)
        if not held:
            raise Unavailable("found", Reason.NOT_SAVED, "no register holds an entry's tuple hash")
        if len(held) > 1:
            several = ", ".join(f"{address:016x}" for address in held)
            raise Unavailable("found", Reason.AMBIGUOUS, f"registers hold several: {several}")
        return next(iter(held.values()))

    def found(self) -> Object:
        return self._found[0]

    def found_register(self) -> str:
        return self._found[1]

    def own(self) -> Object:
        # struct nf_conn *: the packet's own.
        ct, _ctinfo = nf_ct(self.crash.skb())
        if ct is None:
            raise Unavailable("conntrack of the packet", Reason.NOT_APPLICABLE, "it has none")
        return ct


def _printed(crash: Crash) -> Oops | None:
    # The report of an access in ipt_connlimit; the panic that follows is a report of its own.
    if crash.oops is None:
        return None
    for report in (crash.oops, *reversed(crash.oops.earlier)):
        place = report.ip or next((entry for entry in report.trace if entry.reliable), None)
        if report.kind in _ACCESSES and place is not None and place.module == _MODULE:
            return report
    return None


def _entry_of(crash: Crash, value: int) -> Object | None:
    # struct nf_conn * whose tuplehash[] has an element at this address; None: it is none.
    prog = crash.prog
    cache = conntrack_cache(prog)
    try:
        found = slab_identity(prog, value)
    except Unavailable as missing:
        if missing.reason is Reason.NOT_APPLICABLE:
            return None
        raise
    type_ = prog.type("struct nf_conn")
    for direction in DIRECTIONS.values():
        member = f"tuplehash[{direction}]"
        if found.belongs_to(cache) and found.offset == offset_of(type_, member):
            hashed = Object(prog, "struct nf_conntrack_tuple_hash *", value)
            return container_of(hashed, "struct nf_conn", member)
    return None


def _module(scene: _Scene) -> Observation:
    frame = scene.crash.fault_frame
    if frame is None:
        value = Value(name="module", value=_MODULE, origin=Origin.TEXT)
        return seen(True, value, note="as printed")
    again = Reread(crash="bt", crashkit="crash.fault_frame.module")
    value = Value(name="module", value=frame.module or "", origin=Origin.REGISTER, reread=again)
    return seen(frame.module == _MODULE, value, note=f"{frame.function} [{frame.module}]")


def _access_is_of_null(scene: _Scene) -> Observation:
    if scene.crash.fault_frame is None:
        return seen(int(scene.address.value) < _PAGE, scene.address)
    base = scene.fault.bad_register
    # A general protection fault has no address; its register decides.
    if base is None:
        return seen(int(scene.address.value) < _PAGE, scene.address)
    held = scene.fault.registers[base]
    again = Reread(crash="bt", crashkit=f"crash.fault.registers[{base!r}]")
    pointer = Value(name=base, value=held, origin=Origin.REGISTER, reread=again)
    return seen(held == 0, pointer, note=f"{scene.fault.instruction}, {base.upper()} {held:x}")


def _is_tcp_state(scene: _Scene) -> Observation:
    offset = offset_of(scene.crash.prog.type("struct nf_conn"), _STATE)
    again = Reread(
        crash=f"px &((struct nf_conn *)0)->{_STATE}",
        crashkit=f"offset_of(prog.type('struct nf_conn'), '{_STATE}')",
    )
    member = Value(
        name=f"offsetof(struct nf_conn, {_STATE})",
        value=offset,
        origin=Origin.DATAFLOW,
        reread=again,
    )
    return seen(scene.address.value == offset, scene.address, member)


def _was_found(scene: _Scene) -> Observation:
    ct, register = scene.found(), scene.found_register()
    observed = see.is_conntrack_object(ct, "found's conntrack")
    node = Value(
        name=f"found ({register})",
        value=scene.fault.registers[register],
        origin=Origin.REGISTER,
        ctype="struct nf_conntrack_tuple_hash *",
        reread=Reread(crash="bt", crashkit=f"crash.fault.registers[{register!r}]"),
    )
    note = f"{register.upper()}, a tuple hash of {int(ct):016x}"
    return replace(observed, values=(node, *observed.values), note=note)


def _is_another_connection(scene: _Scene) -> Observation:
    found, own = decode_nf_conn(scene.found()), decode_nf_conn(scene.own())
    if found.original is None or own.original is None:
        raise (found if found.original is None else own).absent["original"]
    packet = decode_packet(scene.crash.skb())
    tuple_ = Value(
        name="tuple of found",
        value=found.original.text,
        origin=Origin.MEMORY,
        address=found.address,
        reread=_reread_tuple(found.address),
    )
    theirs = Value(
        name="tuple of the packet",
        value=own.original.text,
        origin=Origin.MEMORY,
        address=own.address,
        reread=_reread_tuple(own.address),
    )
    both_tcp = packet.ip.protocol == found.original.protocol == _TCP
    return seen(both_tcp and found.original != own.original, tuple_, theirs)


def _reread_tuple(address: int) -> Reread:
    ct = f"Object(prog, 'struct nf_conn *', {address:#x})"
    return Reread(
        crash=f"struct -x nf_conn.tuplehash {address:016x}",
        crashkit=f"decode_nf_conn({ct}).original.text",
    )


def _in_softirq(scene: _Scene) -> Observation:
    context = scene.crash.thread.context
    printed = _printed(scene.crash)
    if context is None and printed is not None:
        context = printed.context
    if context is None:
        raise Unavailable("context", Reason.NOT_IN_DUMP, "it cannot be told")
    again = Reread(crash="bt")
    value = Value(name="context", value=context, origin=Origin.MEMORY, reread=again)
    return seen(context == "softirq", value)
