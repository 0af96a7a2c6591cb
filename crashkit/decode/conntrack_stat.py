"""Per-namespace conntrack numbers: per-CPU statistics and the entry count."""

from __future__ import annotations

from collections.abc import Mapping

from drgn import Object
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.percpu import per_cpu_ptr

from crashkit.decode.fields import counter, has_member, member, naming, pointer
from crashkit.decode.netns import net_generic
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded
from crashkit.value import facts

MAX_CPUS = 8192


@facts
class ConntrackStat:
    """``struct ip_conntrack_stat`` summed over CPUs."""

    counters: Mapping[str, int]
    """Member name to sum; which members exist, the kernel decides."""
    cpus: int
    """CPUs that were read."""
    missing_cpus: tuple[int, ...]
    """Possible CPUs whose page is missing; the sums are then lower bounds."""


def decode_conntrack_stat(net: Object) -> ConntrackStat:
    """Sum the statistics of a namespace over its possible CPUs.

    :param net: ``struct net *``
    :raises Unavailable: the namespace, its types or every CPU's counters are missing
    """
    pointer(net, "struct net")
    prog = net.prog_
    with naming("net->ct.stat"):
        stat = net.ct.stat.read_()
        names = [m.name for m in prog.type("struct ip_conntrack_stat").members if m.name]
        cpus = list(bounded(for_each_possible_cpu(prog), MAX_CPUS, "possible CPUs"))
    sums = dict.fromkeys(names, 0)
    missing = []
    for cpu in cpus:
        try:
            one = _counters(stat, cpu, names)
        except Unavailable:
            missing.append(cpu)
            continue
        for name, value in one.items():
            sums[name] += value
    if len(missing) == len(cpus):
        raise Unavailable("net->ct.stat", Reason.NOT_IN_DUMP, "of no CPU")
    return ConntrackStat(counters=sums, cpus=len(cpus) - len(missing), missing_cpus=tuple(missing))


def _counters(stat: Object, cpu: int, names: list[str]) -> dict[str, int]:
    with naming(f"net->ct.stat of CPU {cpu}"):
        here = per_cpu_ptr(stat, cpu)
        return {name: int(here.member_(name).value_()) for name in names}


def conntrack_count(net: Object) -> int:
    """Read how many entries a namespace holds, unconfirmed ones included.

    In ``struct nf_conntrack_net`` since Linux kernel commit c53bd0e96662 ("netfilter:
    conntrack: move ct counter to net_generic data") (in v5.13); before that, net->ct.count.

    :param net: ``struct net *``
    :raises Unavailable: the counter is unknown or its page missing
    """
    pointer(net, "struct net")
    with naming("conntrack count"):
        if has_member(net.ct, "count"):
            return counter(net.ct.count)
        data = net_generic(net, "nf_conntrack_net_id", "struct nf_conntrack_net")
        return counter(member(data, "count"))
