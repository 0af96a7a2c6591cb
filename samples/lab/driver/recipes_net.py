"""The scenarios ``recipe-…`` for recipes/net: one crash each, and one that only looks like it."""

from collections.abc import Callable

from driver.archive import cache_folder
from driver.kernels import Kernel, build_module
from driver.scenarios import GUEST, Scenario

BUG_IN_SKBUFF = (r"kernel BUG at net/core/skbuff\.c", r"RIP: 0010:skb_panic\+")
BUG_IN_SLUB = (r"kernel BUG at mm/slub\.c", r"skb_release_data\+|kfree_skb")
NULL_CALL = (r"NULL pointer dereference, address: 0{16}", r"RIP: 0010:0x0$")
COUNTER = (r"refcount_t: addition on 0; use-after-free", r"not syncing: .*panic_on_warn set")
WAITING = (r"waiting for leaky0 to become free\. Usage count = \d", r"sysrq: Trigger a crash")
#: case → (what happens in it, in its look-alike, what the console of both shows)
CASES = {
    "skb-over-panic": (
        "more is appended to an skb than there is room for",
        "the same message, but the skb was trimmed before the dump",
        (r"skb_over_panic: text:", *BUG_IN_SKBUFF),
    ),
    "skb-under-panic": (
        "more is prepended to an skb than there is room for",
        "the same message for an skb that has room",
        (r"skb_under_panic: text:", *BUG_IN_SKBUFF),
    ),
    "skb-double-free": (
        "an skb is released twice",
        "an skb is released once, but the list of free objects was damaged",
        BUG_IN_SLUB,
    ),
    "dst-ops-null": (
        "a call through skb_dst(skb)->ops->update_pmtu, which is NULL",
        "a call through skb->dev->netdev_ops->ndo_change_mtu, which is NULL",
        NULL_CALL,
    ),
    "net-refcount": (
        "a reference to a freed socket is taken; panic_on_warn",
        "the same warning for a counter that is in no object of the network",
        COUNTER,
    ),
    "netdev-ref-leak": (
        "a device cannot go: two references to it are never given back",
        "a device that waited for references, and is gone; another has its name",
        WAITING,
    ),
}


def _parts(kind: str) -> Callable[[Kernel], dict[str, bytes]]:
    def parts(kernel: Kernel) -> dict[str, bytes]:
        folder = cache_folder() / "modules" / kernel.release / "recipes_net"
        module = build_module(kernel, GUEST / "recipes_net.c", folder)
        return {
            "/lab/scenario.sh": (GUEST / "recipes_net.sh").read_bytes(),
            "/lab/parameters": f"kind={kind}".encode(),
            "/lab/recipes_net.ko": module.read_bytes(),
        }

    return parts


RECIPES_NET = tuple(
    Scenario(
        name=f"recipe-{kind}",
        summary=summary,
        expected=shown,
        modules=("veth",),
        parts=_parts(kind),
    )
    for case, (real, alike, shown) in CASES.items()
    for kind, summary in ((case, real), (f"{case}-lookalike", alike))
)
