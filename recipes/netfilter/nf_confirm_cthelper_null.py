"""The flags of a connection's helper were read, and it had none.

An entry may have the room for a helper (extension ``help``) and no helper in it: a lookup that NAT
asks for can end without one, and a helper that is unregistered leaves NULL.
``nf_confirm_cthelper()``, which sees the packet when a queue gives it back, read ``helper->flags``
without asking.

Recognised by: a read of ``flags`` through NULL, for an entry that has the extension with NULL in
it.

Told apart from: an entry without the extension, and a helper that is a wild pointer.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from drgn import Object, Program

from crashkit.crash import Crash
from crashkit.crash.scenes import FaultScene
from crashkit.decode import conntrack_observed as see
from crashkit.decode import conntrack_status, decode_nf_conn, nf_ct
from crashkit.decode.fields import member
from crashkit.decode.fields import pointer as kernel_pointer
from crashkit.decode.values import member_value
from crashkit.errors import Reason, Unavailable
from crashkit.finding import CheckSpec, Observation, excluding, necessary, seen, supporting
from crashkit.layout import offset_of
from crashkit.oops import plain_name
from crashkit.recipe import Meta
from crashkit.value import Origin, Reread, Value

META = Meta(
    id="nf-confirm-cthelper-null",
    claim=(
        "nf_confirm_cthelper read helper->flags of a conntrack whose help extension has no helper"
    ),
    references=(
        "netfilter: conntrack: fix NULL pointer dereference in nf_confirm_cthelper (6.3.8, 6.1.34)",
        "net/netfilter/nf_conntrack_helper.c: __nf_ct_try_assign_helper(), unhelp() write NULL",
    ),
    matches=("recipe-nf-confirm-cthelper-null",),
    rejects=(
        "recipe-nf-confirm-cthelper-null-lookalike",
        "recipe-nf-confirm-cthelper-null-lookalike-bad",
    ),
    told_apart_from=(
        "an entry without the extension: what was NULL is then the extension",
        "a helper that was freed with its module: the pointer is then not NULL",
    ),
    advice="untested: keep connections that are translated and have a helper out of NFQUEUE",
    history=(
        "the connection was given room for a helper",
        "another lookup after a translation, or the helper's end, left NULL in that room",
        "a packet came back from a queue, and the helper's flags were read",
    ),
)

_FAULTING = ("nf_confirm_cthelper", "nf_conntrack_update")
# The first is static: it may be a part of the second, or have a compiler's suffix.
_QUEUE = ("nf_reinject", "nfqnl_reinject", "nfqnl_recv_verdict")
_PAGE = 4096
# What lies below is a member of NULL; nothing is mapped there (mmap_min_addr).
_NAT_BITS = {4: "SRC_NAT", 5: "DST_NAT"}


def applies(crash: Crash) -> bool:
    """Whether nf_confirm_cthelper faulted."""
    return plain_name(crash.faulting_function or "") in _FAULTING


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    ct = scene.ct
    yield necessary("null", "a member of a NULL pointer was read", lambda: _is_of_null(scene))
    yield necessary("flags", "the member is a helper's flags", lambda: _is_of_flags(scene))
    yield necessary(
        "ct-object",
        "the packet's entry is the start of a conntrack slab object",
        lambda: see.is_conntrack_object(ct(), "ct"),
    )
    yield necessary("extension", "it has room for a helper", lambda: _has_extension(ct()))
    yield necessary("no-helper", "there is no helper in it", lambda: _has_no_helper(ct()))
    yield excluding("template", "a template", lambda: see.is_template(("ct", ct())))
    yield supporting("marked", "it is marked to have one (HELPER)", lambda: _is_marked(ct()))
    yield supporting("translated", "it is translated", lambda: _is_translated(ct()))
    yield supporting("reinjected", "a queue gave the packet back", lambda: _was_queued(crash))


class _Scene(FaultScene):
    @cached_property
    def _ct(self) -> Object:
        # struct nf_conn *: of the expression that faulted, else of the skb on this stack.
        prog = self.crash.prog
        pointers = ("struct nf_conn *", "const struct nf_conn *")
        link = next((link for link in self.fault.chain if link.ctype in pointers), None)
        if link is not None and link.value:
            return Object(prog, "struct nf_conn *", link.value)
        found, _ctinfo = nf_ct(self.crash.skb())
        if found is None:
            raise Unavailable("conntrack of the packet", Reason.NOT_APPLICABLE, "it has none")
        return found

    def ct(self) -> Object:
        return self._ct


def _is_of_null(scene: _Scene) -> Observation:
    base = scene.fault.bad_register
    if base is None:
        return seen(int(scene.address.value) < _PAGE, scene.address)
    held = scene.fault.registers[base]
    again = Reread(crash="bt", crashkit=f"crash.fault.registers[{base!r}]")
    register = Value(name=base, value=held, origin=Origin.REGISTER, reread=again)
    return seen(held == 0, register, note=f"{scene.fault.instruction}, {base.upper()} {held:x}")


def _is_of_flags(scene: _Scene) -> Observation:
    offset = offset_of(scene.crash.prog.type("struct nf_conntrack_helper"), "flags")
    flags = Value(
        name="offsetof(struct nf_conntrack_helper, flags)",
        value=offset,
        origin=Origin.DATAFLOW,
        reread=Reread(
            crash="px &((struct nf_conntrack_helper *)0)->flags",
            crashkit="offset_of(prog.type('struct nf_conntrack_helper'), 'flags')",
        ),
    )
    return seen(scene.address.value == offset, scene.address, flags)


def _extension_number(prog: Program) -> int:
    for enumerator in prog.type("enum nf_ct_ext_id").enumerators or ():
        if enumerator.name == "NF_CT_EXT_HELPER":
            return int(enumerator.value)
    raise Unavailable("helper", Reason.NOT_APPLICABLE, "a kernel without conntrack helpers")


def _extension_offset(ct: Object) -> tuple[int, Value]:
    # Bytes from ct->ext to the extension, 0 for none; and the value that says so.
    if not ct.ext:
        return 0, member_value("ct->ext", ct, "ext", 0)
    kernel_pointer(ct.ext.read_(), "ct->ext")
    number = _extension_number(ct.prog_)
    offset = int(ct.ext.offset[number])
    path = f"offset[{number}]"
    return offset, member_value("offset of extension help", ct.ext.read_(), path, offset)


def _has_extension(ct: Object) -> Observation:
    offset, value = _extension_offset(ct)
    return seen(offset != 0, value)


def _has_no_helper(ct: Object) -> Observation:
    offset, _value = _extension_offset(ct)
    if not offset:
        raise Unavailable("help->helper", Reason.NOT_APPLICABLE, "it has no such extension")
    help_ = Object(ct.prog_, "struct nf_conn_help *", int(ct.ext) + offset)
    helper = int(member(help_, "helper").value_())
    note = f"{helper:016x}" if helper else ""
    return seen(helper == 0, member_value("help->helper", help_, "helper", helper), note=note)


def _status(ct: Object) -> tuple[int, Value]:
    facts = decode_nf_conn(ct)
    if facts.status is None:
        raise facts.absent["status"]
    return facts.status, member_value("status", ct, "status", facts.status)


def _is_marked(ct: Object) -> Observation:
    status, value = _status(ct)
    names = conntrack_status.status_bit_names(ct.prog_)
    bit = next(bit for bit, name in names.items() if name == "HELPER")
    return seen(bool(status >> bit & 1), value, note=f"status {status:#x}")


def _is_translated(ct: Object) -> Observation:
    status, value = _status(ct)
    done = ", ".join(name for bit, name in _NAT_BITS.items() if status >> bit & 1)
    return seen(bool(done), value, note=done)


def _was_queued(crash: Crash) -> Observation:
    printed = [str(line.function) for line in crash.oops.trace] if crash.oops else []
    if not crash.frames and not printed:
        raise Unavailable("where the packet came from", Reason.NOT_SAVED, "there is no stack")
    for name in _QUEUE:
        if crash.has_frame(name):
            return seen(True, _frame_value(name))
        if name in printed:
            return seen(True, Value(name="call trace", value=name, origin=Origin.TEXT))
    return seen(False, _frame_value("none of a queue"))


def _frame_value(name: str) -> Value:
    again = Reread(crash="bt")
    return Value(name="frame", value=name, origin=Origin.MEMORY, reread=again)
