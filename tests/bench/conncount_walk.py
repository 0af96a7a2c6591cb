"""How long connlimit's lists take to read: crashkit's walk, and the same walk with drgn objects.

``python -m tests.bench.conncount_walk VMCORE`` on a dump of the lab's ``conncount-many``. Each part
runs in a process of its own, so that neither finds the other's pages in memory. Seconds are of the
processor, which other work on the machine changes little; the peak is the process's.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable

from drgn import Object, Program
from drgn.helpers.linux.list import list_for_each_entry

from crashkit.crash import open_crash
from crashkit.decode.conncount import read_conncount
from crashkit.decode.conntrack_hash import for_each_conntrack


def with_crashkit(prog: Program) -> tuple[int, int]:
    """Entries and stale entries, by the decoder."""
    found = read_conncount(prog)
    return found.entries or 0, sum(one.stale or 0 for one in found.counted)


def with_objects(prog: Program) -> tuple[int, int]:
    """The same of the longest list, entry by entry as a drgn script does it."""
    address = read_conncount_address(prog)
    head = Object(prog, "struct nf_conncount_list *", address).head.address_of_()
    live = {_key(ct.tuplehash[way].tuple) for ct in for_each_conntrack(prog) for way in (0, 1)}
    entries = stale = 0
    ticks: Counter[int] = Counter()
    for one in list_for_each_entry("struct nf_conncount_tuple", head, "node"):
        entries += 1
        ticks[one.jiffies32.value_()] += 1
        stale += _key(one.tuple) not in live
    return entries, stale


def read_conncount_address(prog: Program) -> int:
    """Address of the longest list, found without following any."""
    from crashkit.decode.conncount_layout import layouts
    from crashkit.decode.conncount_memory import Pages
    from crashkit.decode.conncount_scan import scanned_data
    from crashkit.decode.conncount_tree import TreeReader

    known = layouts(prog)
    reader = TreeReader(Pages(prog), known)
    nodes = [node for data in scanned_data(prog, known) for node in reader.nodes(reader.head(data))]
    return max(nodes, key=lambda node: prog.read_u32(node.list + known.list.count)).list


def _key(tuple_: Object) -> tuple[bytes, int, int, int, int]:
    return (
        tuple_.src.u3.to_bytes_() + tuple_.dst.u3.to_bytes_(),
        tuple_.src.u.all.value_(),
        tuple_.dst.u.all.value_(),
        tuple_.src.l3num.value_(),
        tuple_.dst.protonum.value_(),
    )


Row = tuple[int, int, float, float, int]


def _measure(path: str, work: str, result: multiprocessing.Queue[Row]) -> None:
    functions: dict[str, Callable[[Program], tuple[int, int]]] = {
        "crashkit": with_crashkit,
        "drgn objects": with_objects,
    }
    with open_crash(path, types="btf") as crash:
        before, wall = time.process_time(), time.monotonic()
        entries, stale = functions[work](crash.prog)
        spent, passed = time.process_time() - before, time.monotonic() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    result.put((entries, stale, spent, passed, peak))


def main() -> None:
    """Print a row for each way."""
    print(f"{'':14} {'entries':>9} {'stale':>9} {'CPU s':>8} {'wall s':>8} {'peak MiB':>9}")
    for work in ("crashkit", "drgn objects"):
        result: multiprocessing.Queue[Row] = multiprocessing.Queue()
        process = multiprocessing.Process(target=_measure, args=(sys.argv[1], work, result))
        process.start()
        entries, stale, spent, passed, peak = result.get()
        process.join()
        print(f"{work:14} {entries:9} {stale:9} {spent:8.2f} {passed:8.2f} {peak:9}")


if __name__ == "__main__":
    main()
