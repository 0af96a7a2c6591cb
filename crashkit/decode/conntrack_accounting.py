"""What the entry counter of a namespace counts, and what /proc shows of it.

The counter goes up before an entry is allocated and down after it is freed
(__nf_conntrack_alloc(), nf_conntrack_free()), so beyond the entries that can be found it
counts at most one for each CPU that is in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from drgn import Object, Program
from drgn.helpers.linux.cpumask import for_each_possible_cpu

from crashkit.decode.conntrack_crowding import conntrack_max
from crashkit.decode.conntrack_hashed import hashed_conntracks
from crashkit.decode.conntrack_lists import for_each_dying, for_each_unconfirmed
from crashkit.decode.conntrack_stat import conntrack_count
from crashkit.decode.fields import naming
from crashkit.decode.netns import namespaces
from crashkit.decode.slab import cache_of_variable, slab_identity
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded
from crashkit.value import facts

MAX_CPUS = 8192

_WORD = 8


@facts
class NamespaceAccount:
    """The connection entries of one namespace, by where they are."""

    net: int
    """``struct net *``."""
    counter: int
    """What the kernel counts, unconfirmed and dying entries included."""
    maximum: int
    """``nf_conntrack_max``; one number for all namespaces."""
    hashed: int
    """Entries that a hash chain holds."""
    reply_only: int
    """Of these: in the reply chain only, the loser of a clash that is kept (IPS_NAT_CLASH)."""
    expired: int
    """Of these: expired and not collected yet."""
    assured: int
    """Of these: ASSURED, which an overfull table does not drop early."""
    unusual: int
    """Of these: not CONFIRMED, or DYING; in between two steps, or damaged."""
    unconfirmed: int
    dying: int
    """Confirmed and out of the table, undelivered ones included."""
    undelivered: int
    """Of the dying: their destroy event waits to be delivered."""
    in_flight_bound: int
    """How many more the counter may count: one for each possible CPU."""
    listed: int
    """Entries that /proc/net/nf_conntrack and ``conntrack -L`` show."""

    @property
    def accounted(self) -> int:
        """Entries found."""
        return self.hashed + self.unconfirmed + self.dying

    @property
    def difference(self) -> int:
        """Counted entries that were not found; negative: found and not counted."""
        return self.counter - self.accounted

    @property
    def balanced(self) -> bool:
        """Whether the counter is explained."""
        return 0 <= self.difference <= self.in_flight_bound

    @property
    def live(self) -> int:
        """Entries of the table that have not expired."""
        return self.hashed - self.expired

    @property
    def unlisted(self) -> int:
        """Counted entries that a listing does not show."""
        return self.counter - self.listed

    def explain(self) -> str:
        """Say in one line what the counter is made of."""
        inside = {"of them expired": self.expired, "in the reply chain only": self.reply_only}
        late = {"with undelivered events": self.undelivered}
        return (
            f"{self.counter} counted = {self.hashed} in the table{_apart(inside)}"
            f" + {self.unconfirmed} unconfirmed + {self.dying} dying{_apart(late)}{self._rest()}"
        )

    def _rest(self) -> str:
        if self.balanced:
            return f" + {self.difference} in flight" if self.difference else ""
        if self.difference < 0:
            return f"; {-self.difference} more than are counted"
        return f"; {self.difference} counted entries are nowhere"


def _apart(parts: Mapping[str, int]) -> str:
    words = ", ".join(f"{number} {what}" for what, number in parts.items() if number)
    return f" ({words})" if words else ""


def account(prog: Program) -> tuple[NamespaceAccount, ...]:
    """Account for the connection entries of every namespace, once per program.

    :raises Unavailable: the table, a list, the allocator or a counter cannot be read whole;
        then no number is given, since what is missing may be in any of them
    """
    cached: tuple[NamespaceAccount, ...] | None = prog.cache.get("crashkit.account")
    if cached is None:
        cached = prog.cache["crashkit.account"] = _account(prog)
    return cached


def account_of(prog: Program, net: int) -> NamespaceAccount:
    """Give the account of one namespace.

    :param net: address of the ``struct net``
    :raises Unavailable: see :func:`account`; or it is no namespace of the list
    """
    for one in account(prog):
        if one.net == net:
            return one
    raise Unavailable("account", Reason.NOT_APPLICABLE, f"no namespace at {net:#x}")


def _account(prog: Program) -> tuple[NamespaceAccount, ...]:
    nets = list(namespaces(prog))
    maximum = conntrack_max(prog)
    with naming("possible CPUs"):
        cpus = sum(1 for _ in bounded(for_each_possible_cpu(prog), MAX_CPUS, "possible CPUs"))
    tallies: dict[int, Counter[str]] = {net.value_(): Counter() for net in nets}
    for net, counts in hashed_conntracks(prog).counts.items():
        _of(prog, tallies, net).update(counts)
    for entry in for_each_unconfirmed(prog):
        _of(prog, tallies, entry.net)["unconfirmed"] += 1
    for entry in for_each_dying(prog):
        _of(prog, tallies, entry.net).update(["dying", entry.where])
    return tuple(
        NamespaceAccount(
            net=address,
            counter=conntrack_count(Object(prog, "struct net *", address)),
            maximum=maximum,
            hashed=tally["hashed"],
            reply_only=tally["reply only"],
            expired=tally["expired"],
            assured=tally["assured"],
            unusual=tally["unusual"],
            unconfirmed=tally["unconfirmed"],
            dying=tally["dying"],
            undelivered=tally["ecache list"],
            in_flight_bound=cpus,
            listed=tally["listed"],
        )
        for address, tally in tallies.items()
    )


def _of(prog: Program, tallies: dict[int, Counter[str]], net: int) -> Counter[str]:
    # A namespace that is being dismantled is off the list while it waits for its entries.
    if net not in tallies:
        cache = cache_of_variable(prog, "net_cachep")
        identity = slab_identity(prog, net)
        if not (identity.belongs_to(cache) and identity.is_start):
            raise Unavailable("ct->ct_net", Reason.CORRUPTED, f"{net:#x} is no namespace")
        tallies[net] = Counter()
    return tallies[net]
