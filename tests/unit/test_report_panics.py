"""Blocks of the text report about memory and failed checks."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest

from crashkit.crash.panics.bad_page import BadPage
from crashkit.crash.panics.bug import Bug
from crashkit.crash.panics.canary import Canary
from crashkit.crash.panics.divide import Divide
from crashkit.crash.panics.exec import Exec
from crashkit.crash.panics.init import InitEnded
from crashkit.crash.panics.linked import ListCorruption
from crashkit.crash.panics.mce import MachineCheck, Record
from crashkit.crash.panics.nmi import Nmi
from crashkit.crash.panics.oom import OutOfMemory
from crashkit.crash.panics.process import Parent, Process
from crashkit.crash.panics.refcount import Refcount
from crashkit.crash.panics.root_fs import RootFs
from crashkit.crash.panics.slab import SlabDamage
from crashkit.crash.panics.stack import Cycle, FrameSize, TaskStack
from crashkit.crash.panics.sysrq import SysRq
from crashkit.crash.panics.usercopy import UserCopy
from crashkit.decode.list_links import Link, ListNode
from crashkit.decode.mce_status import decode_status
from crashkit.decode.memory import Consumer, MemoryUse
from crashkit.decode.memory_counts import Zone
from crashkit.decode.memory_files import MemoryFile, MemoryFileSystem
from crashkit.decode.memory_slabs import CacheUse, SlabUse
from crashkit.decode.memory_tasks import ProcessMemory, ProcessUse
from crashkit.decode.oom import OomRequest
from crashkit.decode.page_state import PageState
from crashkit.decode.slab_report import Area, Difference, Neighbour, SlabReport
from crashkit.decode.slab_tracks import Track
from crashkit.errors import Reason, Unavailable
from crashkit.report.parts import facts
from crashkit.report.text_panic import BLOCKS

HERE = 0xFFFF_8A00_0000_1000


def rendered(key: str, section: object, verbose: int = 0) -> str:
    lines: list[str] = import_module(f"crashkit.report.{BLOCKS[key]}").block(
        facts(section), {}, verbose
    )
    assert all(len(line) <= 100 for line in lines), max(lines, key=len)
    return "\n".join(lines)


def flat(text: str) -> str:
    return " ".join(text.split())


def consumer(key: str, name: str, pages: int | None, origin: str = "NR_X") -> Consumer:
    return Consumer(
        key=key, name=name, pages=pages, origin=origin,
        unavailable=None if pages is not None else Unavailable(name, Reason.NOT_IN_DUMP),
    )  # fmt: skip


def out_of_memory(**more: Any) -> OutOfMemory:
    zone = Zone(node=0, name="Normal", managed=25600, free=90, watermark_min=800,
                free_by_order=(10, 20, 10))  # fmt: skip
    use = MemoryUse(
        total_pages=25600,
        total_origin="managed_pages of the zones",
        zones=(zone,),
        consumers=(
            consumer("slab_unreclaimable", "unreclaimable slab", 15360),
            consumer("shmem", "tmpfs and shared memory", 5120),
            consumer("free", "free", 90),
        ),
        beside=(),
        accounted_pages=20570,
        unaccounted_pages=5030,
        percent_unaccounted=19.6,
    )
    cache = CacheUse(cache=HERE, name="orders", aliases=("a", "b"), pages=14000, slabs=14000,
                     objects=112000, used=111999, object_size=496, reclaimable=False,
                     absent={})  # fmt: skip
    file = MemoryFile(inode=HERE, path="batch-1", pages=5000)
    system = MemoryFileSystem(super_block=HERE, kind="tmpfs", name="tmpfs", pages=5120, inodes=3,
                              files=(file,), complete=True)  # fmt: skip
    process = ProcessMemory(task=HERE, pid=96, comm="orders", rss=512, anon=500, file=12, shmem=0,
                            swap=0, page_tables=4096, oom_score_adj=0)  # fmt: skip
    request = OomRequest(
        gfp_mask=0xCC0, gfp_flags="GFP_KERNEL", order=0, constraint="none", total_pages=25600,
        memcg="", memcg_usage=None, memcg_limit=None, chosen=0, chosen_pid=0, chosen_comm="",
        absent={})  # fmt: skip
    given: dict[str, Any] = {
        "request": request, "requester": "accept_order+0x18 [kinds]", "failure": None,
        "panic_on_oom": 1, "killed": None, "use": use,
        "slabs": SlabUse(caches=(cache,), number=1, pages=14000, unreadable=0),
        "processes": ProcessUse(processes=(process,), number=1, unreadable=0, exact=True),
        "file_systems": (system,), "vmalloc": (), "corroborated": ("shmem",), "changed": (),
        "absent": {}, **more,
    }  # fmt: skip
    return OutOfMemory(**given)


def test_memory_is_shown_largest_first_with_its_counters() -> None:
    text = rendered("oom", out_of_memory())
    assert text.startswith("MEMORY 100.0 MiB managed by the kernel (25600 pages: Normal 100.0 MiB)")
    assert "asked for 1 page (order 0) by accept_order+0x18 [kinds]; GFP_KERNEL" in flat(text)
    assert "GFP_KERNEL (0xcc0); ran out: the whole system; vm.panic_on_oom 1" in flat(text)
    assert "60.0 MiB 60.0% unreclaimable slab NR_X" in flat(text)
    assert "54.7 MiB orders (also a, b): 111999 of 112000 objects of 496 bytes" in flat(text)
    assert "20.0 MiB tmpfs: batch-1 19.5 MiB" in flat(text)
    order = [text.index(word) for word in ("unreclaimable", "tmpfs and", "counted by nothing")]
    assert order == sorted(order)
    assert len(text.splitlines()) <= 12


def test_what_nothing_counts_is_first_when_it_is_most() -> None:
    whole = out_of_memory()
    use = replace(whole.use, consumers=whole.use.consumers[1:], unaccounted_pages=20390)
    text = rendered("oom", replace(whole, use=use))
    assert text.index("counted by nothing") < text.index("tmpfs and shared")
    assert "page_owner=on" in text


def test_what_could_not_be_read_is_named() -> None:
    whole = out_of_memory()
    use = replace(whole.use, consumers=(*whole.use.consumers, consumer("v", "vmalloc", None)))
    assert "not read, and so in it: vmalloc" in rendered("oom", replace(whole, use=use))


def test_a_cgroup_that_ran_out_is_named_with_its_limit() -> None:
    whole = out_of_memory()
    assert whole.request is not None
    request = replace(whole.request, constraint="memcg", memcg="/pod-7", memcg_usage=5120,
                      memcg_limit=5120)  # fmt: skip
    text = flat(rendered("oom", replace(whole, request=request)))
    assert "ran out: memcg /pod-7 (20.0 MiB of 20.0 MiB)" in text


def test_verbose_shows_every_use_and_the_zones() -> None:
    text = flat(rendered("oom", out_of_memory(), 1))
    assert "0.4% free" in text
    assert "node 0 Normal: free 90, min 800 pages; free blocks by order: 10 20 10" in text
    assert "as the kernel printed: shmem" in text


def test_without_the_request_the_rest_is_shown() -> None:
    text = rendered("oom", out_of_memory(request=None, absent={"request": Reason.NOT_SAVED}))
    assert "asked for" not in text
    assert "unreclaimable slab" in text


SLAB = SlabDamage(
    what="Right Redzone overwritten", double_free=None, origin="log",
    printed_bytes="0x1 to 0x6, first 0x45 instead of 0xcc", corroborated=True, absent={},
    report=SlabReport(
        object=HERE, cache=HERE, cache_name="kmalloc-64", aliases=(), object_size=64, size=256,
        allocated=True, debug=("RED_ZONE", "STORE_USER"), neighbours=(), begins="00",
        areas=(Area(name="right red zone", address=HERE + 64, size=8, differences=(
            Difference(address=HERE + 64, offset=64, length=6, expected=0xCC, found="45464748494a",
                       text="EFGHIJ"),)),),
        tracks=(Track(what="allocated", address=HERE, caller="overflow+0xb [kinds]", cpu=0, pid=95,
                      age_s=0.5, stack=("kmalloc_trace+0x26", "overflow+0xb [kinds]")),)),
)  # fmt: skip
STACK = TaskStack(
    low=HERE, high=HERE + 0x4000, sp=HERE - 24, place="its guard page", left=-24, used=16408,
    end_magic=0x57AC6E9D, end_intact=True, depth=63, complete=True,
    cycle=Cycle(functions=("descend",), rounds=57, bytes_per_round=272, origin="frames"),
    largest=(FrameSize(function="descend", module="kinds", bytes=272, calls=57, total=15504),),
    canary=None, absent={},
)  # fmt: skip
LIST = ListCorruption(
    operation="add", wrong="prev->next", origin={"prev": "log"}, conflicts=(), absent={},
    nodes=(ListNode(role="prev", address=HERE, next=0xDEAD_0000_0000_0100, prev=0, identity="x",
                    next_words="LIST_POISON1: removed", prev_words="NULL"),),
    links=(Link(expression="prev->next", expected=HERE, now=HERE + 8, now_identity="slab object y",
                printed=None, holds=False),),
)  # fmt: skip
SECTIONS: list[tuple[str, object, str]] = [
    ("slab", SLAB, "right red zone, at its end: 6 bytes 45464748494a 'EFGHIJ' instead of 0xcc"),
    ("slab", SLAB, "allocated by overflow+0xb [kinds], pid 95, CPU 0, 0.5 s before the dump"),
    ("slab", replace(SLAB, corroborated=False), "CONFLICT: the log says 0x1 to 0x6"),
    ("slab", replace(SLAB, report=replace(SLAB.report, tracks=(), neighbours=(
        Neighbour(where="before", address=HERE, allocated=None),))),
     "(allocated or free); the free list ends early or is damaged"),
    ("slab", replace(SLAB, report=replace(SLAB.report, debug=(), tracks=())),
     "not recorded (slub_debug=U keeps that)"),
    ("stack", STACK, ("in its guard page (stack ffff8a0000001000 to ffff8a0000005000): 24 bytes"
     " past its end, 16408 used")),
    ("stack", STACK, "descend called itself 57 times, 272 bytes a round"),
    ("stack", replace(STACK, end_intact=False), "the word at its end is OVERWRITTEN"),
    ("stack", replace(STACK, canary=Canary(
        function="parse", expected=0xA91FFCCBA861700, slot=HERE, found=0x77206E6168742072,
        damaged=True, around=b"longer than w".hex(), absent={})),
     "canary at ffff8a0000001000 is 77206e6168742072, should be 0a91ffccba861700"),
    ("list", LIST, "prev->next is ffff8a0000001008 (slab object y), should be ffff8a0000001000"),
    ("list", LIST, "prev->next: LIST_POISON1: removed"),
    ("bug", Bug(address=HERE, entry=None, where="a.c:1", origin="log", conflict="the log says b",
                message="queue has depth 5", no_check=None, absent={}), "CONFLICT: the log says b"),
    ("bug", Bug(address=HERE, entry=None, where=None, origin=None, conflict=None, message=None,
                no_check="no entry", absent={}), "CHECK no entry"),
    ("divide", Divide(instruction="div %rcx", divisor_operand="rcx", divisor=0,
                      divisor_address=None, dividend=7, cause="divisor is 0"),
     "div %rcx: 7 / 0, divisor is 0; the divisor is in rcx"),
    ("exec", Exec(target=0, kind="null", identity=None, last_unloaded=None, return_address=HERE,
                  caller="close+0x11", call="call *%rax", call_is_indirect=True, absent={}),
     "to 0, NULL called through a pointer before close+0x11: call *%rax"),
    ("exec", Exec(target=HERE, kind="kernel-data", identity="x", last_unloaded=None,
                  return_address=None, caller=None, call=None, call_is_indirect=None,
                  absent={"caller": Reason.NOT_SAVED}), "who jumped: not known (not-saved)"),
    ("refcount", Refcount(message="underflow", check=None, address=HERE, value=-(1 << 30),
                          state="saturated", identity="slab object x", containing=(), absent={}),
     "refcount_t ffff8a0000001000, slab object x: -1073741824 (saturated"),
    ("usercopy", UserCopy(direction="to user", what="SLUB object", address=HERE, size=280, offset=0,
                          beyond=184, object=None, region_offset=0, region_size=96, containing=(),
                          conflicts=(), absent={}), "the last 184 bytes are beyond that"),
    ("init", InitEnded(exit_code=11, origin="task", status=None, signal="SIGSEGV",
                       core_dumped=True, conflict=None, process=None, absent={}),
     "ended by SIGSEGV, core dumped (exit code 0xb, by the task)"),
    ("sysrq", SysRq(way="/proc/sysrq-trigger", absent={}, by=Process(
        pid=9, comm="sh", arguments="sh -c x", uid=0, parents=(Parent(pid=1, comm="init"),))),
     "by sh (pid 9, uid 0): sh -c x started by init (1)"),
    ("nmi", Nmi(cause="unknown", code=0x21, code_words="none", cpu=0, unknown_before=1,
                settings={"unknown_nmi_panic": 1}, interrupted="idle+0x1", absent={}),
     "cause: unknown on CPU 0 (port 0x61 read 0x21: none)"),
    ("mce", MachineCheck(corroborated=None, records=(Record(
        cpu=2, bank=4, status=decode_status(0xB200_0000_0000_0005), global_status=5, address=None,
        misc=None, ip=None, origin="log", absent={}),)),
     ("CPU 2 bank 4: internal parity; valid, uncorrected, enabled, processor context corrupt"
     " (status 0xb200000000000005, by the log)")),
    ("no_root_fs", RootFs(parameters={"root": "/dev/sda9"}, origin="x", error="VFS: ...",
                          error_words="no such device", partitions=(), absent={}),
     "the command line says: root=/dev/sda9 VFS: ... (no such device)"),
    ("bad_page", BadPage(what="state", why="non-NULL mapping", corroborated=True, absent={},
                         page=PageState(pfn=0x7A00, page=HERE, flags=0, flag_names="none",
                                        refcount=0, mapcount=0, mapping=HERE,
                                        mapping_identity="slab object x", absent={})),
     "mapping ffff8a0000001000 (slab object x)"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "section", "words"), SECTIONS)
@pytest.mark.parametrize("verbose", [0, 1])
def test_a_block_says_what_the_section_holds(
    key: str, section: object, words: str, verbose: int
) -> None:
    assert words in flat(rendered(key, section, verbose))
