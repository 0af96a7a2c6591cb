"""The scenario ``clash-ct-net`` of the lab."""

from pathlib import Path

from driver.initramfs import build_program
from driver.kernels import Kernel
from driver.scenarios import Scenario

from race.module import edited_conntrack

HERE = Path(__file__).parent


def clash_parts(kernel: Kernel) -> dict[str, bytes]:
    """Return the scenario's files for its guest; nf_conntrack.ko replaces that of *kernel*."""
    return {
        "/lab/scenario.sh": (HERE / "clash.sh").read_bytes(),
        "/lab/modules.d/nf_conntrack.ko": edited_conntrack(kernel),
        "/bin/storm": build_program(HERE / "storm.c"),
    }


CLASH = Scenario(
    name="clash-ct-net",
    summary="a conntrack clash raced between CPUs: events of an entry already given back",
    expected=(
        r"BUG: kernel NULL pointer dereference",
        r"RIP: 0010:nf_ct_deliver_cached_events\+\S+ \[nf_conntrack\]",
        r"nfqnl_recv_verdict\+",
    ),
    modules=("nfnetlink_queue", "iptable_filter", "xt_conntrack", "xt_NFQUEUE", "veth"),
    parts=clash_parts,
    cpus=4,
    tries=3,
)
