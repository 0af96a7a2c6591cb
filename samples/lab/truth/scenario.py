"""The scenarios ``truth-…`` of the lab: one for each path to a crash, one for NMIs."""

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path

from driver.archive import cache_folder
from driver.errors import run
from driver.initramfs import build_program
from driver.kernels import Kernel, build_module
from driver.scenarios import NETFILTER, Scenario

HERE = Path(__file__).parent
NULL = r"BUG: kernel NULL pointer dereference, address: 0{15}c$"
#: Word for trigger.c and truth.c → (what happens, what the console shows).
PATHS = {
    "hook": ("netfilter hook under a UDP send", (NULL, "truth_hook", "udp_sendmsg")),
    "filter": ("socket filter", ("general protection fault", "RIP: .*sk_filter_trim_cap")),
    "tcp": ("TCP receive under a TCP send", (NULL, r"blame\+", "tcp_rcv_established")),
    "proc": ("BUG in a file of /proc", ("kernel BUG at", "truth_show", "vfs_read")),
    "timer": ("hrtimer interrupt", (NULL, "truth_clock", "__hrtimer_run_queues")),
    "softirq": ("timer softirq", (NULL, r"blame\+", "run_timer")),
    "writev": ("UDP receive under writev", (NULL, r"blame\+", "vfs_writev")),
    "gpf": ("general protection fault in pipe_write", ("general protection", "RIP: .*pipe_write")),
    "work": ("workqueue item", (NULL, r"blame\+", "process_one_work")),
    "rcu": ("RCU callback", (NULL, r"blame\+")),
    "thread": ("kernel thread", (NULL, r"blame\+", "kthread")),
}
DISK_MB = 24
NMI_EXPECTED = (r"lab: busy", r"NMI: Not continuing|NMI.*unknown reason", r"Kernel panic")


def _parts(parameters: str) -> Callable[[Kernel], dict[str, bytes]]:
    def parts(kernel: Kernel) -> dict[str, bytes]:
        folder = cache_folder() / "modules" / kernel.release / "truth"
        return {
            "/lab/scenario.sh": (HERE / "truth.sh").read_bytes(),
            "/lab/parameters": parameters.encode(),
            "/lab/probes": (HERE / "probes.txt").read_bytes(),
            "/lab/truth.ko": build_module(kernel, HERE / "truth.c", folder).read_bytes(),
            **{
                f"/bin/{name}": build_program(HERE / f"{name}.c")
                for name in ("sleepers", "trigger", "busy")
            },
        }

    return parts


def _busy_parts(preempt: str) -> Callable[[Kernel], dict[str, bytes]]:
    plain = _parts(f"word=nmi sleepers=0 preempt={preempt}")
    return lambda kernel: {**plain(kernel), "/lab/disk.gz": _disk()}


def _disk() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        disk = Path(folder, "disk")
        with disk.open("wb") as file:
            file.truncate(DISK_MB << 20)
        run(["mkfs.ext4", "-q", "-F", disk])
        return gzip.compress(disk.read_bytes())


TRUTHS = (
    *(
        Scenario(
            name=f"truth-{word}",
            summary=f"{summary}; arguments logged by kprobes (--probes), and 80-odd sleepers",
            expected=expected,
            modules=("veth",),
            parts=_parts(f"word={word}"),
        )
        for word, (summary, expected) in PATHS.items()
    ),
    Scenario(
        name="truth-nmi",
        summary="an NMI at a random instant of a busy system, arguments logged as in truth-…",
        expected=NMI_EXPECTED,
        modules=(*NETFILTER, "loop"),
        parts=_busy_parts("voluntary"),
        cpus=4,
        nmi_after=r"lab: busy",
        tries=2,
    ),
    Scenario(
        name="truth-preempt",
        summary="as truth-nmi; tasks that do not run were interrupted anywhere, too",
        expected=NMI_EXPECTED,
        modules=(*NETFILTER, "loop"),
        parts=_busy_parts("full"),
        cpus=4,
        nmi_after=r"lab: busy",
        tries=2,
    ),
)
