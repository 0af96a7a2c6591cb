"""``struct net``: which namespace it is, and whether it is alive."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Object, Program, cast
from drgn.helpers.linux.module import for_each_module
from drgn.helpers.linux.net import for_each_net

from crashkit.decode.fields import Absent, Fields, counter, has_member, member, naming, pointer
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded
from crashkit.value import facts

MAX_NAMESPACES = 65536
_MAX_GENERIC = 4096
_MAX_MODULES = 10_000


@facts
class NetNamespace:
    """Facts of a ``struct net``. A None field has its reason in ``absent``."""

    address: int
    is_init_net: bool | None
    inode: int | None
    """Number in ``net:[N]`` of /proc/PID/ns/net."""
    count: int | None
    """References that keep it alive, signed; 0: being dismantled."""
    listed: bool | None
    """Whether it is in ``net_namespace_list``."""
    absent: Absent


def decode_net(net: Object) -> NetNamespace:
    """Decode a network namespace.

    :param net: ``struct net *``
    :raises Unavailable: it is no kernel pointer, or nothing of it is in the dump
    """
    address = pointer(net, "struct net")
    prog = net.prog_
    fields = Fields(f"struct net {address:#x}")
    return NetNamespace(
        address=address,
        is_init_net=fields.take("is_init_net", lambda: address == prog["init_net"].address_),
        inode=fields.take("inode", lambda: _inode(net)),
        count=fields.take("count", lambda: _count(net)),
        listed=fields.take("listed", lambda: address in {n.value_() for n in namespaces(prog)}),
        absent=fields.reasons(),
    )


def _inode(net: Object) -> int:
    # Since Linux kernel commit 435d5f4bb2cc ("common object embedded into various
    # struct ....ns") (in v3.19); before that, net->proc_inum.
    if has_member(net, "ns"):
        return int(net.ns.inum.value_())
    return int(member(net, "proc_inum").value_())


def _count(net: Object) -> int:
    # In struct ns_common since Linux kernel commit 9a56493f6942 ("uts: Use generic
    # ns_common::count") and its siblings (in v5.11), named __ns_ref in v6.18.
    if has_member(net, "ns"):
        for name in ("__ns_ref", "count"):
            if has_member(net.ns, name):
                return counter(net.ns.member_(name))
    return counter(member(net, "count"))


def namespaces(prog: Program) -> Iterator[Object]:
    """Walk the registered network namespaces, ``struct net *``.

    :raises Unavailable: more than ``MAX_NAMESPACES``, or the list cannot be read on
    """
    with naming("net_namespace_list"):
        yield from bounded(for_each_net(prog), MAX_NAMESPACES, "net_namespace_list")


def net_generic_of_module(
    prog: Program, net: Object, module: str, id_symbol: str, ctype: str
) -> Object:
    """As :func:`net_generic`, for what a module registers.

    :param module: its name
    :raises Unavailable: ``not-applicable`` where the module is not loaded
    """
    try:
        return net_generic(net, id_symbol, ctype)
    except Unavailable as missing:
        if missing.reason is Reason.NO_DEBUGINFO and _is_absent(prog, module):
            why = f"{module} is not loaded"
            raise Unavailable(missing.what, Reason.NOT_APPLICABLE, why) from missing
        raise


def _is_absent(prog: Program, name: str) -> bool:
    try:
        with naming("modules"):
            modules = bounded(for_each_module(prog), _MAX_MODULES, "modules")
            return all(module.name.string_() != name.encode() for module in modules)
    except Unavailable:
        return False


def net_generic(net: Object, id_symbol: str, ctype: str) -> Object:
    """Give a subsystem's data in a namespace.

    Since Linux kernel commit 6af2d5fff2fd ("netns: fix net_generic() "id - 1" bloat")
    (in v4.10), ids index the array directly and the length is in a member ``s``.

    :param net: ``struct net *``
    :param id_symbol: the ``unsigned int`` that holds the subsystem's id
    :param ctype: type of the data, e.g. ``struct nf_conntrack_net``
    :return: ``ctype *``
    :raises Unavailable: the subsystem, its type or its page is missing
    """
    what = f"net_generic({id_symbol})"
    pointer(net, "struct net")
    with naming(what):
        number = int(net.prog_[id_symbol].value_())
        generic = net.gen.read_()
        pointer(generic, "net->gen")
        direct = has_member(generic, "s")
        length = int((generic.s.len if direct else generic.len).value_())
        index = number if direct else number - 1
        if not 0 <= index < min(length, _MAX_GENERIC):
            raise Unavailable(what, Reason.CORRUPTED, f"id {number} of {length}")
        data = generic.ptr[index].read_()
        pointer(data, what)
        return cast(f"{ctype} *", data)
