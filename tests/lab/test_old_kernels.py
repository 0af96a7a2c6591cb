"""Kernels before 6.0, whose symbol table is found by what it is."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from crashkit.crash import Crash
from crashkit.pipeline import triage
from crashkit.symbols import find_symbol
from crashkit.symbols.kallsyms import load_vmlinux
from crashkit.symbols.kallsyms_scan import scan_kallsyms
from crashkit.target import open_program
from tests.lab.conftest import made

pytestmark = pytest.mark.lab

Open = Callable[..., Crash]
SYSRQ = ("sysrq-5.10-elf", "sysrq-5.10-kdump")
CLASH = ("clash-stock-5.10", "clash-stock-5.10-kdump")


def rows(crash: Crash, *, scanned: bool) -> list[tuple[object, ...]]:
    if scanned:
        index = scan_kallsyms(crash.prog, crash.target.vmcoreinfo)
        found = index(crash.prog, None, None, False)
    else:
        found = list(load_vmlinux(crash.prog).every(crash.prog))
    return sorted((s.address, s.name, s.size, s.binding.value, s.kind.value) for s in found)


@pytest.mark.parametrize("name", ["clash-stock-6.1", "clash-stock-6.12"])
def test_what_is_found_is_what_newer_kernels_tell(opened: Open, name: str) -> None:
    crash = opened(name)
    assert "SYMBOL(kallsyms_names)" in crash.target.vmcoreinfo
    assert rows(crash, scanned=True) == rows(crash, scanned=False)


@pytest.mark.parametrize("name", [*SYSRQ, *CLASH])
def test_found_in_time_and_right(opened: Open, name: str) -> None:
    crash = made(opened, name)
    assert "SYMBOL(kallsyms_names)" not in crash.target.vmcoreinfo
    prog = open_program(crash.target)
    started = time.process_time()
    scan_kallsyms(prog, crash.target.vmcoreinfo)
    assert time.process_time() - started < 1.0
    banner = find_symbol(crash.prog, "linux_banner")
    assert banner is not None
    text = crash.prog.read(banner.address, 200)
    assert text.startswith(f"Linux version {crash.target.release} ".encode())


@pytest.mark.parametrize("name", SYSRQ)
def test_a_stack_and_its_types_from_the_dump_alone(opened: Open, name: str) -> None:
    crash = made(opened, name)
    assert crash.types == "btf"
    functions = [frame.function for frame in crash.frames]
    assert functions[-9:-6] == ["panic", "sysrq_handle_crash", "__handle_sysrq.cold"]
    assert functions[-1] == "entry_SYSCALL_64_after_hwframe"
    assert triage(crash).exit_code == 0


@pytest.mark.parametrize("name", CLASH)
def test_the_clash_is_confirmed_without_the_modules_types(opened: Open, name: str) -> None:
    crash = made(opened, name)
    assert crash.fault is not None
    assert crash.fault.expression == "ct->ct_net->ct.nf_conntrack_event_cb"
    report = triage(crash)
    verdicts = {finding["recipe"]: finding["verdict"] for finding in report["findings"]}
    assert verdicts == {"nf-conntrack-clash-stale-ct": "confirmed"}
