"""connlimit, conntrack's statistics, and settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

from drgn import Program

from crashkit.crash import Crash
from crashkit.decode.conncount import read_conncount
from crashkit.decode.conntrack_stat import decode_conntrack_stat
from crashkit.decode.fields import naming
from crashkit.decode.netns import namespaces
from crashkit.decode.sysctls import conntrack_settings
from crashkit.diff.read_conntrack_table import need_conntrack
from crashkit.diff.read_kernel import number_or_why
from crashkit.diff.readings import Amount, Listing, Number, count
from crashkit.errors import Reason, Unavailable
from crashkit.symbols import find_symbol


def read_connlimit(crash: Crash) -> Listing:
    """Count what connlimit holds: all together, and the longest list."""
    found = read_conncount(crash.prog)
    unread = next(iter(found.unread), None)
    lists = [held for one in found.counted for held in one.lists or ()]
    lost = next((one.absent["lists"] for one in found.counted if one.lists is None), None)
    longest = max((held.count or 0 for held in lists), default=0)
    amounts = [
        count("rules", "rules that count", sum(len(one.rules) for one in found.counted)),
        count("lists", "lists", lost or len(lists)),
        count("entries", "entries", _total([one.entries for one in found.counted], "entries")),
        count("stale", "stale entries", _total([one.stale for one in found.counted], "stale")),
        count("longest", "entries of the longest list", lost or longest),
    ]
    return Listing(amounts=tuple(amounts), incomplete=unread, at_least=unread is not None)


def _total(numbers: list[int | None], what: str) -> Number:
    if any(number is None for number in numbers):
        return Unavailable(f"{what} of connlimit", Reason.CORRUPTED, "a list could not be followed")
    return sum(number for number in numbers if number is not None)


def read_statistics(crash: Crash) -> Listing:
    """Add up conntrack's statistics over CPUs and namespaces."""
    prog = crash.prog
    need_conntrack(prog)
    totals: Counter[str] = Counter()
    problem: Unavailable | None = None
    for net in namespaces(prog):
        found = decode_conntrack_stat(net)
        totals.update(found.counters)
        if found.missing_cpus:
            detail = f"of {len(found.missing_cpus)} CPUs not in the dump"
            problem = Unavailable("net->ct.stat", Reason.NOT_IN_DUMP, detail)
    amounts = [count(name, name, number) for name, number in totals.items()]
    return Listing(amounts=tuple(amounts), incomplete=problem, at_least=problem is not None)


def read_conntrack_settings(prog: Program) -> Iterator[Amount]:
    """Read conntrack's settings of the first namespace; none where it is not loaded."""
    try:
        need_conntrack(prog)
    except Unavailable:
        return
    with naming("init_net"):
        net = prog["init_net"].address_of_()
    for one in conntrack_settings(net):
        if one.name != "nf_conntrack_count":
            value = one.value
            missing = one.unavailable or Unavailable(one.name, Reason.NOT_IN_DUMP)
            yield count(one.name, one.name, missing if value is None else value)


# Name in /proc/sys/kernel or vm, and the variables that hold it, newest kernel first.
_GLOBALS = {
    "kernel.panic": ("panic_timeout",),
    "kernel.panic_on_oops": ("panic_on_oops",),
    "kernel.panic_on_warn": ("panic_on_warn",),
    "kernel.panic_on_rcu_stall": ("sysctl_panic_on_rcu_stall", "panic_on_rcu_stall"),
    "kernel.softlockup_panic": ("softlockup_panic",),
    "kernel.hardlockup_panic": ("hardlockup_panic",),
    "kernel.hung_task_panic": ("sysctl_hung_task_panic",),
    "kernel.hung_task_timeout_secs": ("sysctl_hung_task_timeout_secs",),
    "kernel.watchdog_thresh": ("watchdog_thresh",),
    "vm.panic_on_oom": ("sysctl_panic_on_oom",),
}


def read_settings(crash: Crash) -> Listing:
    """Read the settings that crashkit knows."""
    prog = crash.prog
    amounts = [
        count(name, name, number_or_why(name, partial(_first, prog, variables)))
        for name, variables in _GLOBALS.items()
        if any(find_symbol(prog, variable) for variable in variables)
    ]
    return Listing(amounts=(*amounts, *read_conntrack_settings(prog)))


def _first(prog: Program, variables: tuple[str, ...]) -> int:
    chosen = next(name for name in variables if find_symbol(prog, name))
    return int(prog[chosen].value_())
