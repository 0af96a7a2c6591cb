"""One crash in every format a dump comes in, and with four and five levels of paging."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crashkit.crash import Crash

pytestmark = pytest.mark.lab

FORMATS = {
    "kdump-zlib": ("kdump", "zlib"),
    "kdump-lzo": ("kdump", "lzo"),
    "kdump-snappy": ("kdump", "snappy"),
    "kdump-zstd": ("kdump", "zstd"),
    "kdump-flat": ("kdump-flattened", "zlib"),
    "kdump-elf": ("elf", "none"),
}
Open = Callable[..., Crash]


@pytest.mark.parametrize("method", FORMATS)
def test_format_is_read_from_the_file(opened: Open, method: str) -> None:
    target = opened(f"sysrq-6.1/{method}").target
    assert (target.format, target.compression) == FORMATS[method]
    assert target.arch == "x86_64"
    assert (target.release or "").startswith("6.1.")
    assert not target.truncated
    assert target.crash_time is not None


@pytest.mark.parametrize("method", FORMATS)
def test_real_kdump_of_a_panic_is_bridged(opened: Open, method: str) -> None:
    crash = opened(f"sysrq-6.1/{method}")
    functions = [frame.function for frame in crash.frames]
    # __crash_kexec has no unwind rule; without the bridge, panic is missing.
    assert functions[:4] == ["machine_kexec", "__crash_kexec", "panic", "sysrq_handle_crash"]
    assert functions[-1] == "entry_SYSCALL_64_after_hwframe"
    assert [frame.index for frame in crash.frames] == list(range(len(functions)))
    assert crash.fault_frame is None
    assert crash.fault is None
    assert crash.oops is not None
    assert crash.oops.intentional


@pytest.mark.parametrize("method", FORMATS)
def test_every_format_tells_the_same(opened: Open, method: str) -> None:
    first, other = opened("sysrq-6.1/kdump-zlib"), opened(f"sysrq-6.1/{method}")
    assert first.thread == other.thread
    assert first.log == other.log
    assert [(f.pc, f.sp) for f in first.frames] == [(f.pc, f.sp) for f in other.frames]


def test_main_module_range_is_set(opened: Open) -> None:
    # Without it drgn finds no module for a kernel pc and follows rbp.
    crash = opened("sysrq-6.1/kdump-zlib")
    start, end = crash.prog.main_module().address_range or (0, 0)
    assert start <= crash.frames[0].pc < end
    trace = [frame.name for frame in crash.prog.crashed_thread().stack_trace()]
    assert trace[0] == "__crash_kexec"


def test_five_level_paging_from_a_hypervisor_dump(opened: Open) -> None:
    crash = opened("clash-stock-6.12")
    assert crash.target.vmcoreinfo.number("pgtable_l5_enabled") == 1
    functions = [frame.function for frame in crash.frames]
    assert functions[0] == "panic"
    assert functions[-1] == "entry_SYSCALL_64_after_hwframe"
    assert crash.thread.task is not None
    assert crash.thread.task < 0xFFFF_8000_0000_0000  # the direct map of five levels is lower
