"""The scenarios ``conncount-…`` of the lab."""

from collections.abc import Callable

from driver.initramfs import build_program, find_program, shared_libraries
from driver.kernels import Kernel
from driver.scenarios import GUEST, Scenario

from growth.module import affected_conncount

SYSRQ = (r"lab: counted", r"sysrq: Trigger a crash")
MODULES = ("veth", "nf_conntrack_netlink", "iptable_filter", "xt_connlimit", "xt_tcpudp")


NFT = ("nf_tables", "nft_compat", "nft_connlimit", "nft_counter", "nft_ct")
NFT_PROGRAMS = ("nft", "iptables-nft")


def _parts(
    parameters: str, *, affected: bool, programs: tuple[str, ...] = ()
) -> Callable[[Kernel], dict[str, bytes]]:
    def parts(kernel: Kernel) -> dict[str, bytes]:
        files = {
            "/lab/scenario.sh": (GUEST / "conncount.sh").read_bytes(),
            "/lab/parameters": parameters.encode(),
            "/bin/conncount_flood": build_program(GUEST / "conncount_flood.c"),
        }
        for program in map(find_program, programs):
            parts = (program, *shared_libraries(program))
            files |= {str(path): path.read_bytes() for path in parts}
        module = affected_conncount(kernel) if affected else None
        if module is not None:
            files["/lab/modules.d/nf_conncount.ko"] = module
        return files

    return parts


CONNCOUNTS = (
    Scenario(
        name="conncount-growth",
        summary="connlimit under flood: tens of thousands of entries of dropped connections",
        expected=(r"counted: .* count=\d{5}", *SYSRQ),
        modules=MODULES,
        parts=_parts("packets=40000 target=DROP after=nothing", affected=True),
    ),
    Scenario(
        name="conncount-nft",
        summary="as conncount-growth, counted by rules of nftables and of iptables-nft",
        expected=(r"counted: .* count=\d{5}", *SYSRQ),
        modules=MODULES + NFT,
        parts=_parts(
            "packets=50000 last=40000 target=DROP after=nothing tables=nft",
            affected=True,
            programs=NFT_PROGRAMS,
        ),
    ),
    Scenario(
        name="conncount-many",
        summary="as conncount-growth, 800 000 packets; --memory 256",
        expected=(r"counted: .* count=7\d{5}", *SYSRQ),
        modules=MODULES,
        parts=_parts("packets=800000 target=DROP after=nothing", affected=True),
    ),
    Scenario(
        name="conncount-oom",
        summary="the same until memory is out, and the kernel panics",
        expected=(r"lab: sent 50000", r"Kernel panic - not syncing: Out of memory"),
        modules=MODULES,
        parts=_parts("target=DROP after=oom ballast=32", affected=True),
    ),
    Scenario(
        name="conncount-live",
        summary="a list as long, of connections that live: the rule only counts them",
        expected=(r"counted: .* count=3\d{3}", *SYSRQ),
        modules=MODULES,
        parts=_parts("packets=3000 target= after=nothing", affected=True),
    ),
    Scenario(
        name="conncount-fixed",
        summary="the flood of conncount-growth on a kernel that collects: a short list",
        expected=(r"counted: .* count=\d{1,3}$", *SYSRQ),
        modules=MODULES,
        parts=_parts("packets=40000 target=DROP after=nothing", affected=False),
    ),
    Scenario(
        name="conncount-flushed",
        summary="a long list of stale entries on a kernel that collects: its connections flushed",
        expected=SYSRQ,
        modules=MODULES,
        parts=_parts("packets=3000 target= after=flush", affected=False),
    ),
)
