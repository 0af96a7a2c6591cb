"""Where in the stack a packet was: protocol family and netfilter hook."""

from __future__ import annotations

from drgn import FaultError, Object, Program

from crashkit.errors import Reason, Unavailable
from crashkit.layout import size_of
from crashkit.symbols import find_symbol
from crashkit.value import facts

# Numbers of the user-space ABI: NFPROTO_* and enum nf_inet_hooks, enum nf_dev_hooks
# (include/uapi/linux/netfilter.h).
FAMILIES = {1: "INET", 2: "IPV4", 3: "ARP", 5: "NETDEV", 7: "BRIDGE", 10: "IPV6"}
_INET_HOOKS = ("PRE_ROUTING", "LOCAL_IN", "FORWARD", "LOCAL_OUT", "POST_ROUTING")
_DEVICE_HOOKS = ("INGRESS", "EGRESS")
_ARP_HOOKS = ("IN", "OUT", "FORWARD")
_NETDEV, _ARP = 5, 3


@facts
class HookPoint:
    """A protocol family and one of its hooks."""

    family: int
    """``NFPROTO_*``."""
    hook: int
    """Number within the family."""

    @property
    def family_name(self) -> str:
        """``IPV4`` …, the number where it has no name here."""
        return FAMILIES.get(self.family, str(self.family))

    @property
    def hook_name(self) -> str:
        """``POST_ROUTING`` …, the number where it has no name here."""
        names = {_NETDEV: _DEVICE_HOOKS, _ARP: _ARP_HOOKS}.get(self.family, _INET_HOOKS)
        return names[self.hook] if self.hook < len(names) else str(self.hook)


def hook_of_state(state: Object) -> HookPoint:
    """Read the hook of a ``struct nf_hook_state *``.

    :raises Unavailable: it is not in the dump, or cannot be one
    """
    what = f"struct nf_hook_state {int(state.value_()):#x}"
    try:
        family, hook = int(state.pf), int(state.hook)
    except FaultError as fault:
        raise Unavailable(what, Reason.NOT_IN_DUMP, str(fault)) from fault
    except (AttributeError, LookupError) as error:
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(error)) from error
    if family not in FAMILIES or hook >= len(_INET_HOOKS):
        raise Unavailable(what, Reason.CORRUPTED, f"pf {family}, hook {hook}")
    return HookPoint(family=family, hook=hook)


def hook_of_list(prog: Program, address: int) -> HookPoint:
    """Say which list of the global ``nf_hooks`` an address is (up to 4.8).

    ``struct list_head nf_hooks[NFPROTO_NUMPROTO][NF_MAX_HOOKS]``.

    :raises Unavailable: there is no such table, or the address is no element of it
    """
    what = f"netfilter hook list {address:#x}"
    symbol = find_symbol(prog, "nf_hooks")
    if symbol is None:
        raise Unavailable(what, Reason.NOT_APPLICABLE, "this kernel has no global nf_hooks")
    try:
        table = prog["nf_hooks"].type_
        per_family = table.type.length or 0
        size = size_of(table.type.type) or 0
        families = table.length or 0
    except (LookupError, AttributeError) as error:
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(error)) from error
    index, rest = divmod(address - symbol.address, size) if size else (-1, 1)
    if rest or not per_family or not 0 <= index < families * per_family:
        raise Unavailable(what, Reason.NOT_APPLICABLE, "not an element of nf_hooks")
    return HookPoint(family=index // per_family, hook=index % per_family)
