"""The crashes that the lab can make on any of its kernels: one row each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from driver.archive import cache_folder
from driver.initramfs import build_program, find_program, shared_libraries
from driver.kernels import Kernel, build_module

GUEST = Path(__file__).resolve().parent.parent / "guest"
NETFILTER = (
    "veth",
    "nf_conntrack_netlink",
    "nfnetlink_queue",
    "nf_tables",
    "nft_ct",
    "iptable_filter",
    "iptable_nat",
    "xt_conntrack",
    "xt_connlimit",
    "xt_NFQUEUE",
    "xt_REDIRECT",
    "ipt_REJECT",
    "xt_length",
    "xt_tcpudp",
)
QUEUES = (
    "dummy",
    "8021q",
    "vxlan",
    "geneve",
    "ip_gre",
    "ipip",
    "sit",
    "sch_netem",
    "sch_tbf",
    "sch_fq_codel",
    "nft_connlimit",
    "nft_limit",
    "nf_log_syslog",
    "nft_log",
    "nft_queue",
    "nft_reject_inet",
    "nft_counter",
    "nfnetlink_hook",
)
SYSRQ = (
    r"\b\d\d flow entries have been shown",
    r"sysrq: Trigger a crash",
    r"Kernel panic - not syncing: sysrq triggered",
)
MANY = (r"many: inserted \d+", r"many: counter \d+", r"Kernel panic - not syncing: sysrq triggered")
# Newer allocators keep what a CPU frees for that CPU (sheaves): the loser's object, freed on CPU 0,
# would not come back on CPU 1. A cache with consistency checks has no such stores; its objects and
# their layout are the same.
NO_CPU_CACHES = "slub_debug=F,nf_conntrack"
NULL_READ = (
    r"BUG: kernel NULL pointer dereference, address: 0{13}[0-9a-f]{3}$",
    # In 5.10 the one does what the other does since.
    r"RIP: 0010:(?:__nf_conntrack_eventmask|nf_ct_deliver_cached_event)\w+\+\S+ \[nf_conntrack\]",
    r"confirm_keeping_ct\+\S+ \[clash\]",
    r"nfqnl_recv_verdict\+",
)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One way to crash a guest."""

    #: Name on the command line.
    name: str
    #: What happens, in one line.
    summary: str
    #: Regular expressions that the console must match, one after the other.
    expected: tuple[str, ...]
    #: Modules of the kernel's own to load, with what they need.
    modules: tuple[str, ...] = NETFILTER
    #: Words for the kernel's command line.
    arguments: tuple[str, ...] = ()
    #: Files for the guest, by their paths there; they replace what is there already. Among them
    #: is ``/lab/scenario.sh``.
    parts: Callable[[Kernel], dict[str, bytes]]
    #: Number of CPUs.
    cpus: int = 2
    #: How many guests may end otherwise than expected before the lab gives up.
    tries: int = 1
    #: What the console shows when an NMI at a random instant shall make the crash; None for none.
    nmi_after: str | None = None
    #: How many NMIs.
    nmis: int = 1
    #: What the console shows when a machine check shall make the crash; None for none.
    machine_check_after: str | None = None


def clash_parts(parameters: str = "") -> Callable[[Kernel], dict[str, bytes]]:
    """Return what a scenario of clash.ko puts into its guest.

    :param parameters: shell assignments that ``clash.sh`` reads
    """

    def parts(kernel: Kernel) -> dict[str, bytes]:
        folder = cache_folder() / "modules" / kernel.release / "clash"
        return {
            "/lab/scenario.sh": (GUEST / "clash.sh").read_bytes(),
            "/lab/parameters": parameters.encode(),
            "/lab/clash.ko": build_module(kernel, GUEST / "clash.c", folder).read_bytes(),
        }

    return parts


def sysrq_parts(_kernel: Kernel) -> dict[str, bytes]:
    """Return what sysrq-panic puts into its guest."""
    return {"/lab/scenario.sh": (GUEST / "sysrq-panic.sh").read_bytes()}


def packets_parts(_kernel: Kernel) -> dict[str, bytes]:
    """Return what packets puts into its guest: its script, its traffic, and tools to ask with."""
    tools = [find_program(name) for name in ("tc", "nft", "iptables-legacy-save")]
    files = [*tools, *(library for tool in tools for library in shared_libraries(tool))]
    return {
        "/lab/scenario.sh": (GUEST / "packets.sh").read_bytes(),
        "/bin/packets": build_program(GUEST / "packets.c"),
        **{str(path): path.read_bytes() for path in files},
    }


def many_parts(entries: int) -> Callable[[Kernel], dict[str, bytes]]:
    """Return what a table of *entries* connections puts into its guest."""

    def parts(kernel: Kernel) -> dict[str, bytes]:
        folder = cache_folder() / "modules" / kernel.release / "many"
        return {
            "/lab/scenario.sh": (GUEST / "many.sh").read_bytes(),
            "/lab/parameters": f"entries={entries}\n".encode(),
            "/lab/many.ko": build_module(kernel, GUEST / "many.c", folder).read_bytes(),
        }

    return parts


SCENARIOS = (
    Scenario(
        name="sysrq-panic",
        summary="a healthy system, crashed by hand: connections, queued packets, processes",
        expected=SYSRQ,
        parts=sysrq_parts,
    ),
    Scenario(
        name="packets",
        summary="packets that wait in sockets, queues and qdiscs, plain, in tunnels, in fragments",
        expected=(r"lab: hooks:", *SYSRQ[1:]),
        modules=NETFILTER + QUEUES,
        parts=packets_parts,
    ),
    Scenario(
        name="clash-stock",
        summary="a clash of two UDP connections; the dropped nf_conn, in use again, is read",
        expected=NULL_READ,
        arguments=(NO_CPU_CACHES,),
        parts=clash_parts(),
    ),
    Scenario(
        name="clash-lookalike",
        summary="the same NULL read in the packet's own nf_conn, no clash; still NULL in the dump",
        expected=NULL_READ,
        arguments=(NO_CPU_CACHES,),
        parts=clash_parts("module='own=1 restore=0' traffic='talk udp'"),
    ),
    Scenario(
        name="clash-lookalike-restored",
        summary="as clash-lookalike, but another CPU has written ct_net before the dump",
        expected=NULL_READ,
        arguments=(NO_CPU_CACHES,),
        parts=clash_parts("module='own=1' traffic='talk udp'"),
    ),
    Scenario(
        name="clash-lookalike-tcp",
        summary="as clash-lookalike-restored, with TCP, whose clashes the kernel does not resolve",
        expected=NULL_READ,
        arguments=(NO_CPU_CACHES,),
        parts=clash_parts("module='own=1' traffic='talk tcp'"),
    ),
    Scenario(
        name="conntrack-thousands",
        summary="20 000 connections of 9 kinds, as ctnetlink would create them",
        expected=MANY,
        parts=many_parts(20_000),
    ),
    Scenario(
        name="conntrack-million",
        summary="1 000 000 connections of 9 kinds; --memory 700 --deadline 900",
        expected=MANY,
        parts=many_parts(1_000_000),
    ),
)
