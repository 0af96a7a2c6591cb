"""Netfilter as a whole, of one namespace: hooks, queues, settings, statistics, rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from drgn import Object, Program, container_of
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.percpu import per_cpu_ptr

from crashkit.decode.conntrack_stat import MAX_CPUS
from crashkit.decode.fields import Absent, Fields, naming, net_pointer, pointer
from crashkit.decode.hooks import HookFunction, hook_functions
from crashkit.decode.netns import namespaces
from crashkit.decode.nf_rules_nft import NftTable, nft_tables
from crashkit.decode.nf_rules_xt import XtTable, xt_tables
from crashkit.decode.nfqueue import QueueInstance, queue_instances
from crashkit.decode.skb_queues_fragment import for_each_in_rhashtable
from crashkit.decode.sysctls import Setting, conntrack_settings
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded
from crashkit.value import facts

_NETLINK_NETFILTER = 12  # include/uapi/linux/netlink.h


@facts
class NetfilterState:
    """Netfilter of one namespace. A None field has its reason in ``absent``."""

    net: int
    """``struct net *``."""
    hooks: tuple[HookFunction, ...] | None
    queues: tuple[QueueInstance, ...] | None
    """Active nfnetlink queues."""
    listeners: Mapping[int, bool] | None
    """Queue number to whether the socket with its ``peer_port`` still exists."""
    settings: tuple[Setting, ...] | None
    statistics: Mapping[int, Mapping[str, int]] | None
    """CPU to counters, as ``conntrack -S`` prints them; without CPUs whose page is missing."""
    iptables: tuple[XtTable, ...] | None
    nftables: tuple[NftTable, ...] | None
    absent: Absent


def netfilter_state(net: Object) -> NetfilterState:
    """Decode netfilter of a namespace.

    :param net: ``struct net *``
    :raises Unavailable: it is no kernel pointer, or nothing of it can be had
    """
    address = pointer(net, "struct net")
    fields = Fields(f"netfilter of net {address:#x}")
    queues = fields.take("queues", lambda: queue_instances(net.prog_, net))
    return NetfilterState(
        net=address,
        hooks=fields.take("hooks", lambda: hook_functions(net)),
        queues=queues,
        listeners=fields.take("listeners", lambda: _listeners(net, queues or ())),
        settings=fields.take("settings", lambda: conntrack_settings(net)),
        statistics=fields.take("statistics", lambda: statistics_by_cpu(net)),
        iptables=fields.take("iptables", lambda: xt_tables(net)),
        nftables=fields.take("nftables", lambda: nft_tables(net)),
        absent=fields.reasons(),
    )


def netfilter_states(prog: Program) -> Iterator[NetfilterState]:
    """Decode netfilter of every namespace."""
    for net in namespaces(prog):
        yield netfilter_state(net)


def statistics_by_cpu(net: Object) -> Mapping[int, Mapping[str, int]]:
    """Read the counters of ``struct ip_conntrack_stat`` of each possible CPU.

    :param net: ``struct net *``
    :raises Unavailable: the types or every CPU's page are missing
    """
    prog, found = net.prog_, {}
    with naming("net->ct.stat"):
        stat = net.ct.stat.read_()
        pointer_type = prog.type("struct ip_conntrack_stat")
        names = [member.name for member in pointer_type.members if member.name]
        cpus = list(bounded(for_each_possible_cpu(prog), MAX_CPUS, "possible CPUs"))
    for cpu in cpus:
        try:
            with naming(f"net->ct.stat of CPU {cpu}"):
                here = per_cpu_ptr(stat, cpu)
                found[cpu] = {name: int(here.member_(name).value_()) for name in names}
        except Unavailable:
            continue
    if cpus and not found:
        raise Unavailable("net->ct.stat", Reason.NOT_IN_DUMP, "of no CPU")
    return found


def _listeners(net: Object, queues: tuple[QueueInstance, ...]) -> Mapping[int, bool]:
    if not queues:
        return {}
    ports = netlink_ports(net, _NETLINK_NETFILTER)
    return {
        queue.queue_number: queue.peer_port in ports
        for queue in queues
        if queue.queue_number is not None and queue.peer_port is not None
    }


def netlink_ports(net: Object, protocol: int) -> set[int]:
    """Read the port ids of a namespace's netlink sockets of one protocol.

    :param net: ``struct net *``
    :raises Unavailable: the table cannot be read
    """
    ports = set()
    with naming("netlink sockets"):
        table = net.prog_["nl_table"][protocol].hash.tbl.read_()
        for node in for_each_in_rhashtable(table):
            socket = container_of(node, "struct netlink_sock", "node")
            if net_pointer(socket.sk.__sk_common.skc_net) == net.value_():
                ports.add(int(socket.portid.value_()))
    return ports
