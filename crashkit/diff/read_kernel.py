"""Files, sockets, skbs in queues, and the counters that only go up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

from drgn import Object, Program
from drgn.helpers.linux.fs import for_each_mount
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.percpu import per_cpu, per_cpu_ptr

from crashkit.crash import Crash
from crashkit.decode.fields import naming, printable
from crashkit.decode.memory_counts import MAX_ITEMS, percpu_counter, possible_cpus
from crashkit.decode.netns import namespaces
from crashkit.decode.skb_queues import queued_skbs
from crashkit.diff.readings import Amount, Listing, Number, count
from crashkit.errors import Reason, Unavailable
from crashkit.memory import BROKEN_WALK, bounded

MAX_MOUNTS = 100_000
MAX_PROTOCOLS = 1024
MAX_SUMS = 1 << 18
"""Namespaces times CPUs whose counters of sockets are added up."""


def read_files(crash: Crash) -> Listing:
    """Count open files, cached directory entries, inodes and mounts."""
    prog = crash.prog
    return Listing(
        amounts=(
            _one("files", "open files", lambda: _open_files(prog)),
            _one("dentries", "directory entries in memory", partial(_summed, prog, "nr_dentry")),
            _one(
                "unused",
                "unused directory entries in memory",
                partial(_summed, prog, "nr_dentry_unused"),
            ),
            _one("inodes", "inodes in memory", partial(_summed, prog, "nr_inodes")),
            _one("mounts", "mounts of the first namespace", lambda: _mounts(prog)),
        )
    )


def _one(key: str, name: str, read: Callable[[], int]) -> Amount:
    return count(key, name, number_or_why(name, read))


def number_or_why(name: str, read: Callable[[], int]) -> Number:
    """Read a number, or why it cannot be had."""
    try:
        with naming(name):
            return read()
    except Unavailable as missing:
        return missing
    except BROKEN_WALK as broken:
        return Unavailable(name, Reason.CORRUPTED, str(broken))


def _open_files(prog: Program) -> int:
    return percpu_counter(prog["nr_files"], possible_cpus(prog))


def _summed(prog: Program, name: str) -> int:
    # A CPU may free what another took, so single counters go below 0 (fs/dcache.c).
    return max(sum(_signed(per_cpu(prog[name], cpu)) for cpu in possible_cpus(prog)), 0)


def _signed(number: Object) -> int:
    value = int(number.value_())
    return value - (1 << 64) if value >> 63 else value


def _mounts(prog: Program) -> int:
    return sum(1 for _ in bounded(for_each_mount(prog), MAX_MOUNTS, "mounts"))


def read_sockets(crash: Crash) -> Listing:
    """Count the sockets of each protocol in all namespaces, as /proc/net/protocols does."""
    prog = crash.prog
    with naming("sockets"):
        names = dict(_protocols(prog))
        totals: Counter[int] = Counter()
        cpus = possible_cpus(prog)
        walked = bounded(namespaces(prog), max(MAX_SUMS // len(cpus), 1), "namespaces")
        for net in walked:
            for cpu in cpus:
                totals.update(_used(net, cpu))
    amounts = [count(name, name, max(totals[index], 0)) for index, name in sorted(names.items())]
    return Listing(amounts=tuple(amounts))


def _protocols(prog: Program) -> Iterator[tuple[int, str]]:
    head = prog["proto_list"].address_of_()
    walk = list_for_each_entry("struct proto", head, "node")
    for protocol in bounded(walk, MAX_PROTOCOLS, "protocols"):
        yield int(protocol.inuse_idx.value_()), printable(protocol.name.string_())


def _used(net: Object, cpu: int) -> dict[int, int]:
    used = per_cpu_ptr(net.core.prot_inuse, cpu).val.read_().value_()
    return {index: value for index, value in enumerate(used) if value}


def read_skbs(crash: Crash) -> Listing:
    """Count the skbs that wait in queues, by the kind of queue."""
    found = queued_skbs(crash.prog)
    places: dict[str, Number] = dict(Counter(skb.place for skb in found.skbs))
    for queue in found.unread:
        why = f"{queue.queue}: {queue.detail}"
        places[queue.place] = Unavailable(queue.place, queue.reason, why)
    amounts = [count(place, place, number) for place, number in sorted(places.items())]
    return Listing(amounts=tuple(amounts))


def read_events(crash: Crash) -> Listing:
    """Read what the kernel counted since it was booted: events of memory, softirqs, forks."""
    prog = crash.prog
    amounts = [
        _one("interrupts", "interrupts", lambda: _statistic(prog, "irqs_sum")),
        _one("switches", "context switches", lambda: _switches(prog)),
        _one("forks", "forks", lambda: int(prog["total_forks"].value_())),
    ]
    incomplete = None
    for read in (_softirqs, _vm_events):
        try:
            with naming("events"):
                amounts += read(prog)
        except Unavailable as missing:
            incomplete = missing
    return Listing(amounts=tuple(amounts), incomplete=incomplete)


def _statistic(prog: Program, name: str) -> int:
    cpus = possible_cpus(prog)
    return sum(int(per_cpu(prog["kstat"], cpu).member_(name).value_()) for cpu in cpus)


def _switches(prog: Program) -> int:
    cpus = possible_cpus(prog)
    return sum(int(per_cpu(prog["runqueues"], cpu).nr_switches.value_()) for cpu in cpus)


# include/linux/interrupt.h
_SOFTIRQS = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED",
             "HRTIMER", "RCU")  # fmt: skip


def _softirqs(prog: Program) -> list[Amount]:
    totals: Counter[int] = Counter()
    for cpu in possible_cpus(prog):
        counts = per_cpu(prog["kstat"], cpu).softirqs.read_().value_()
        totals.update(dict(enumerate(counts)))
    amounts = []
    for name in _SOFTIRQS:
        try:
            number = int(prog.constant(f"{name}_SOFTIRQ").value_())
        except LookupError:
            continue  # this kernel has no such softirq, or another name for it
        amounts.append(count(f"softirq {name}", f"softirq {name}", totals[number]))
    return amounts


def _vm_events(prog: Program) -> list[Amount]:
    items = prog.type("enum vm_event_item").enumerators or ()
    totals: Counter[int] = Counter()
    for cpu in possible_cpus(prog):
        events = per_cpu(prog["vm_event_states"], cpu).event
        if not 0 < (events.type_.length or 0) <= MAX_ITEMS:
            raise Unavailable("vm_event_states", Reason.CORRUPTED, "no list of events")
        totals.update(dict(enumerate(events.read_().value_())))
    named = [(str(item.name), int(item.value)) for item in items]
    return [
        count(f"vm {name}", name.lower(), totals[number] % (1 << 64))
        for name, number in named
        if number in totals
    ]
