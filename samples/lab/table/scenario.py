"""The scenarios ``table-full…`` of the lab: the connection table, filled in different ways."""

from collections.abc import Callable
from pathlib import Path

from driver.archive import cache_folder
from driver.errors import run
from driver.image import build_program
from driver.kernels import Kernel, build_module
from driver.scenarios import NETFILTER, Scenario
from kernel.build import make, small_objects
from kernel.source import fetch_source

HERE = Path(__file__).parent
FULL = (r"nf_conntrack: table full, dropping packet",)
TRUTH = (r"lab: truth count \d", r"sysrq: Trigger a crash")
#: Word for table.sh → (name, what the table is full of, what the console shows before the truth).
KINDS = {
    "mixed": (
        "table-full",
        "a full connection table: packets in a queue, lost packets and references, unsent events",
        FULL,
    ),
    "legit": ("table-full-legit", "a full connection table: real UDP flows", FULL),
    "queue": ("table-full-queue", "a full connection table: packets that a queue holds", FULL),
    "leak": ("table-full-leak", "a full connection table: lost packets and references", FULL),
    "events": ("table-full-events", "a full connection table: events nobody takes", FULL),
    "gclag": ("table-full-gclag", "a full connection table: expired, and not collected", ()),
    "lookalike": ("table-full-lookalike", "a connection table that was full, and is not", FULL),
}
LOSING = ("mixed", "leak")


def _parts(kind: str) -> Callable[[Kernel], dict[str, bytes]]:
    def parts(kernel: Kernel) -> dict[str, bytes]:
        files = {
            "/lab/scenario.sh": (HERE / "table.sh").read_bytes(),
            "/lab/parameters": f"kind={kind}".encode(),
            "/bin/flood_table": build_program(HERE / "flood.c"),
        }
        if kind in LOSING:
            files["/lab/lose.ko"] = _losing_module(kernel)
        return files

    return parts


def _losing_module(kernel: Kernel) -> bytes:
    folder = cache_folder() / "modules" / kernel.release / "lose"
    if not kernel.image.is_relative_to(small_objects()):
        return build_module(kernel, HERE / "lose.c", folder).read_bytes()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lose.c").write_bytes((HERE / "lose.c").read_bytes())
    (folder / "Makefile").write_text("obj-m := lose.o\n")
    maps = {str(folder): "lose"}
    make(fetch_source(), small_objects(), f"M={folder}", "modules", maps=maps)
    stripped = folder / "lose.stripped"
    run(["objcopy", "--strip-debug", folder / "lose.ko", stripped])
    return stripped.read_bytes()


TABLES = tuple(
    Scenario(
        name=name,
        summary=summary,
        expected=(*shown, *TRUTH),
        modules=NETFILTER,
        parts=_parts(kind),
    )
    for kind, (name, summary, shown) in KINDS.items()
)
