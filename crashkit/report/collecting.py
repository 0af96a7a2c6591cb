"""What to collect where there is only text: by the kind of crash, and by who is involved."""

from __future__ import annotations

import re
from collections.abc import Iterator

from crashkit.report.parts import Json
from crashkit.symbols import where

_SLAB = (
    "boot with slub_debug=FZPU (slab_debug=FZPU since v6.9) and let it happen again: it names who"
    " allocated, freed and overwrote the object"
)
_BY_KIND: dict[str, tuple[str, ...]] = {
    "slab-corruption": (_SLAB,),
    "general-protection": (_SLAB,),
    "list-corruption": (_SLAB,),
    "refcount": (_SLAB,),
    "usercopy": (_SLAB,),
    "bad-page": (
        "boot with page_owner=on (CONFIG_PAGE_OWNER) and let it happen again; run memtest86+",
    ),
    "hung-task": (
        "before it panics: sysrq-w (blocked tasks) and sysrq-d (locks held, needs lockdep)",
        "a dump: set kernel.hung_task_panic=1",
    ),
    "soft-lockup": (
        "sysrq-l (stacks of all CPUs), or kernel.softlockup_all_cpu_backtrace=1",
        "a dump: set kernel.softlockup_panic=1",
    ),
    "hard-lockup": (
        "kernel.hardlockup_all_cpu_backtrace=1",
        "a dump: set kernel.hardlockup_panic=1",
    ),
    "rcu-stall": ("a dump: set kernel.panic_on_rcu_stall=1",),
    "spinlock-deadlock": ("a dump: the lock's owner and its stack are in it",),
    "warning": ("a dump: set kernel.panic_on_warn=1",),
    "scheduling-while-atomic": ("a dump: set kernel.panic_on_warn=1",),
    "oom": (
        "the log from `invoked oom-killer` on, with Mem-Info and the table of tasks",
        "/proc/meminfo, /proc/slabinfo and `slabtop -o` from before it",
        "a dump: set vm.panic_on_oom=1",
    ),
    "machine-check": (
        "`ras-mc-ctl --errors` or mcelog's log; the board's events: `ipmitool sel elist`",
    ),
    "nmi": ("the event log of the board: `ipmitool sel elist`",),
    "init-killed": ("the console's lines of init and its exit code, above the panic",),
    "no-root-fs": ("the boot command line and the list of block devices, above the panic",),
    "stack-overflow": ("the whole call trace, and CONFIG_VMAP_STACK of the kernel",),
    "double-fault": ("the whole call trace, and CONFIG_VMAP_STACK of the kernel",),
}  # fmt: skip
_BY_FUNCTION = (
    (
        re.compile(r"^_*(?:nf_(?:ct|conntrack|nat|conncount|confirm)|ipv[46]_con|ctnetlink)"),
        "`conntrack -S` twice, some minutes apart; `conntrack -C`; net.netfilter.nf_conntrack_max",
    ),
    (
        re.compile(r"^_*nfqnl_|^nf_(?:queue|reinject)"),
        "/proc/net/netfilter/nfnetlink_queue, and who reads the queue",
    ),
    (re.compile(r"^_*(?:nft_|ipt_|ip6t_|xt_)"), "`nft list ruleset`, or `iptables-save -c`"),
    (
        re.compile(r"^_*(?:skb_|kfree_skb|netif_|napi_|dev_(?:queue|hard)|ip_(?:rcv|out|forw))"),
        "`ethtool -i` and `ethtool -k` of the devices involved",
    ),
    (re.compile(r"^_*(?:ext4|xfs|btrfs|f2fs)_"), "`dmesg` of the mount, and a read-only fsck"),
)  # fmt: skip
_POISON = ("poison", "freed-object", "list-poison")
_OUTSIDE = set("OPEF")


def what_to_collect(document: Json) -> list[str]:
    """List what would decide a crash of which there is only text, the most telling first."""
    if document["target"]["format"] != "text":
        return []
    if document["panic"]["intentional"]:
        return ["nothing: it was asked for; the dump, if there is one, shows the rest"]
    return list(dict.fromkeys(_all(document)))


def _all(document: Json) -> Iterator[str]:
    panic, fault = document["panic"], document["fault"]
    if any(one["name"] in ("truncated", "headless") for one in panic["problems"]):
        yield "the whole log: of the console server, netconsole or /var/lib/systemd/pstore"
    yield "the vmcore of this crash (/var/crash), or of the next one: kdump, makedumpfile -d 31"
    yield from _debug_info(document["target"])
    yield from _BY_KIND.get(panic["kind"], ())
    if fault is not None and fault["diagnosis"]["kind"] in _POISON:
        yield _SLAB
    names = [frame["function"] or "" for frame in document["frames"]]
    for pattern, words in _BY_FUNCTION:
        if any(pattern.match(name) for name in names):
            yield words
    outside = _strangers(document)
    if outside:
        yield f"source and build of {', '.join(outside)}: code from elsewhere on this stack"


def _debug_info(target: Json) -> Iterator[str]:
    release = target["release"]
    if not release:
        return
    offer = where.offer(release, target["version"], target["build_id"])
    if target["build_id"]:
        yield f"the vmlinux of build id {target['build_id']}"
    elif offer.package:
        yield f"the vmlinux of {release}: {offer.package}"
    else:
        yield f"the vmlinux of {release}, with debug information"


def _strangers(document: Json) -> list[str]:
    tainted = {
        module["name"]
        for module in document["panic"]["modules"] or ()
        if _OUTSIDE.intersection(module["taint"])
    }
    on_stack = dict.fromkeys(frame["module"] for frame in document["frames"])
    return [name for name in on_stack if name in tainted]
