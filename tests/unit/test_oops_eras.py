"""One report of each era and architecture, taken apart."""

from __future__ import annotations

from typing import Any

import pytest

from crashkit.oops import Oops, parse_oops, parse_reports
from tests.unit import oops_logs as logs

_NULL = "BUG: unable to handle kernel NULL pointer dereference in "
_PAGING = "BUG: unable to handle kernel paging request in "

ERAS: list[tuple[str, dict[str, Any]]] = [
    (logs.I386_24, {
        "title": _NULL.removesuffix(" in "), "kind": "null-pointer-dereference", "arch": "i386",
        "fault_address": 0x14, "error_code": 2, "access": "write", "cpu": 1, "pid": 812,
        "comm": "lpd", "taint": ("P",), "trapping_byte": 0, "context": None}),
    (logs.I386_26, {
        "title": _NULL + "widget_match", "kind": "null-pointer-dereference", "arch": "i386",
        "fault_address": 0x30, "error_code": 0, "access": "read", "cpu": 0, "pid": 0,
        "comm": "swapper", "release": "2.6.18-6-686", "count": 1, "taint": ("P",),
        "trapping_byte": 15, "context": "softirq", "panic": "Fatal exception in interrupt"}),
    (logs.I386_5, {
        "title": _NULL + "widget_init", "kind": "null-pointer-dereference", "arch": "i386",
        "fault_address": 8, "access": "write", "pid": 77, "comm": "insmod", "context": "process",
        "taint": ("O",), "trapping_byte": 8, "last_unloaded": "gadget", "build": "#1",
        "hardware": "Some Board/Name, BIOS 1.2 01/01/2020"}),
    (logs.X86_64_26, {
        "title": _PAGING + "widget_rx", "kind": "page-fault", "arch": "x86_64", "cpu": 1,
        "fault_address": 0xFFFF81007A000010, "pid": 2214, "comm": "worker",
        "release": "2.6.9-42.ELsmp", "taint": ()}),
    (logs.X86_64_EL6, {
        "title": _PAGING + "widget_put", "kind": "page-fault", "arch": "x86_64", "cpu": 3,
        "fault_address": 0x100000018, "access": "write", "pid": 4711, "comm": "long-name-of-a-",
        "release": "2.6.32-431.el6.x86_64", "taint": ("P",), "last_unloaded": "scsi_wait_scan",
        "trapping_byte": 5, "context": "process"}),
    (logs.X86_64_612, {
        "title": "general protection fault in widget_walk", "kind": "general-protection",
        "arch": "x86_64", "fault_address": 0xDEAD000000000128, "cpu": 3, "uid": 33, "pid": 901,
        "comm": "php fpm", "release": "6.12.0-lab+deb13", "taint": ("O", "E"), "count": 1,
        "context": "hardirq", "code": b"", "trapping_byte": None}),
    (logs.ARM_26, {
        "title": _NULL + "widget_ioctl", "kind": "null-pointer-dereference", "arch": "arm",
        "fault_address": 9, "error_code": 0x817, "access": "write", "cpu": 0, "pid": 301,
        "comm": "tool", "release": "2.6.32.9", "trapping_byte": 12, "taint": (),
        "context": "process"}),
    (logs.ARM_6, {
        "title": _PAGING + "widget_thread", "kind": "page-fault", "arch": "arm",
        "fault_address": 0x5A5A5A5A, "error_code": 5, "access": "read", "cpu": 2, "pid": 55,
        "comm": "irq/40-widget", "release": "6.6.30", "context": "process"}),
    (logs.ARM64_5, {
        "title": _NULL + "widget_flush", "kind": "null-pointer-dereference", "arch": "arm64",
        "fault_address": 0x1C, "error_code": 0x96000046, "access": "write", "cpu": 3,
        "pid": 901, "comm": "nft", "release": "5.10.100", "taint": ("O",), "trapping_byte": 16,
        "hardware": "Some Router (DT)", "context": "process"}),
    (logs.POWERPC, {
        "title": _NULL + "widget_read", "kind": "null-pointer-dereference", "arch": "powerpc",
        "fault_address": 0x18, "cpu": 8, "pid": 1234, "comm": "tool", "trapping_byte": 48,
        "release": "5.14.0"}),
    (logs.S390, {
        "title": _PAGING + "widget_start", "kind": "page-fault", "arch": "s390x",
        "fault_address": 0, "cpu": 1, "pid": 860, "comm": "insmod"}),
    (logs.RISCV, {
        "title": _NULL + "widget_open", "kind": "null-pointer-dereference", "arch": "riscv",
        "fault_address": 0x10, "cpu": 0, "pid": 1, "comm": "init", "trapping_byte": 6}),
    (logs.MIPS, {
        "title": _PAGING + "widget_work", "kind": "page-fault", "arch": "mips",
        "fault_address": 4, "cpu": 0, "pid": 12, "comm": "kworker/0:1", "trapping_byte": 12}),
    (logs.CRASH_BT, {
        "title": _PAGING + "widget_send", "kind": "page-fault", "arch": "x86_64", "cpu": 1,
        "pid": 5027, "comm": "worker two"}),
]  # fmt: skip
NAMES = [
    "i386-2.4", "i386-2.6", "i386-5", "x86_64-2.6", "el6", "6.12", "arm-2.6", "arm-6", "arm64",
    "powerpc", "s390", "riscv", "mips", "crash",
]  # fmt: skip


def parsed(text: str) -> Oops:
    oops = parse_oops(text)
    assert oops is not None
    return oops


@pytest.mark.parametrize(("log", "facts"), ERAS, ids=NAMES)
def test_facts(log: str, facts: dict[str, Any]) -> None:
    [oops] = parse_reports(log)
    assert {name: getattr(oops, name) for name in facts} == facts


PLACES = {
    "i386-2.6": ("widget_match", 0x23, 0x110, "ipt_widget"),
    "i386-5": ("widget_init", 0x11, 0x1000, "widget"),
    "x86_64-2.6": ("widget_rx", 35, None, "widget"),
    "el6": ("widget_put", 0x23, 0x80, "widget"),
    "arm-2.6": ("widget_ioctl", 0x1C, 0x90, "widget"),
    "arm64": ("widget_flush", 0x48, 0xC0, "widget"),
    "powerpc": ("widget_read", 0x54, 0x120, "widget"),
    "s390": ("widget_start", 0x1A, 0x1000, "widget"),
    "riscv": ("widget_open", 0x1A, 0x40, "widget"),
    "mips": ("widget_work", 0x20, 0x60, "widget"),
    "crash": ("widget_send", 45, None, "widget"),
}


@pytest.mark.parametrize("name", PLACES)
def test_interrupted_place(name: str) -> None:
    ip = parsed(ERAS[NAMES.index(name)][0]).ip
    assert ip is not None
    assert (ip.function, ip.offset, ip.size, ip.module) == PLACES[name]


REGISTERS = {
    "i386-2.4": {"eax": 0, "esi": 0x14, "esp": 0xC6A35F00, "eflags": 0x10286},
    "i386-2.6": {"ebx": 0xF7A5C800, "edi": 0xC0391E94},
    "i386-5": {"edx": 1, "cr2": 8, "eflags": 0x10246},
    "el6": {"rax": 0x100000000, "rdi": 0xFFFF8801F8B5C540, "rflags": 0x10202},
    "arm-2.6": {"pc": 0xBF00001C, "r4": 0, "r10": 0, "fp": 0xC7B3BF44},
    "arm64": {"x0": 0x1C, "x28": 0xFFFFFF8005A1B000, "sp": 0xFFFFFFC0123F3A10},
    "powerpc": {"nip": 0xC00800000A1C00D4, "r4": 0xC0000000045E2C00, "r7": 10, "dar": 0x18},
    "s390": {"psw_addr": 0x3FF8012A01A, "r2": 0x13, "r6": 0x3FF8012A000},
    "riscv": {"a0": 0, "s2": 0x40000, "badaddr": 0x10, "s11": 1},
    "mips": {"$3": 4, "$4": 0x87C5A000, "badva": 4},
    "crash": {"rax": 0, "rbx": 0xFFFF893CA41E5140, "r8": 2, "rip": 0xFFFFFFFFC086077D},
}


@pytest.mark.parametrize("name", REGISTERS)
def test_registers(name: str) -> None:
    registers = parsed(ERAS[NAMES.index(name)][0]).registers
    assert {key: registers.get(key) for key in REGISTERS[name]} == REGISTERS[name]


TRACES = {
    "i386-2.6": ["ipt_do_table", "nf_iterate", "__do_softirq", "do_softirq"],
    "i386-5": ["do_one_initcall", "do_init_module", "__ia32_sys_finit_module",
               "do_fast_syscall_32", "entry_SYSENTER_32"],
    "x86_64-2.6": ["widget_poll", "net_rx_action", "child_rip"],
    "el6": ["widget_release", "system_call_fastpath"],
    "arm-2.6": ["widget_ioctl", "vfs_ioctl", "do_vfs_ioctl", "ret_fast_syscall"],
    "arm-6": ["widget_thread", "irq_thread_fn", "irq_thread", "kthread", "ret_from_fork"],
    "arm64": ["widget_flush", "nf_tables_commit", "__sys_sendmsg", "el0_svc_common.constprop.0",
              "el0_sync"],
    "powerpc": ["vfs_read", "ksys_read", "system_call_common"],
    "s390": ["widget_start", "do_one_initcall", "system_call"],
    "riscv": ["widget_open", "chrdev_open", "ret_from_exception"],
    "mips": ["widget_work", "process_one_work", "ret_from_kernel_thread"],
    "crash": ["ipv4_confirm", "nf_iterate"],
}  # fmt: skip


@pytest.mark.parametrize("name", TRACES)
def test_reliable_frames(name: str) -> None:
    trace = parsed(ERAS[NAMES.index(name)][0]).trace
    assert [entry.function for entry in trace if entry.reliable] == TRACES[name]


def test_modules_with_their_taint() -> None:
    modules = parsed(logs.I386_5).modules
    assert modules is not None
    assert [(m.name, "".join(m.taint)) for m in modules] == [("widget", "O+"), ("loop", "")]
    assert parsed(logs.I386_24).modules is None


def test_words_of_code_are_bytes_in_memory_order() -> None:
    assert parsed(logs.ARM64_5).code[16:] == bytes.fromhex("201c00b9")
    assert parsed(logs.POWERPC).code[48:52] == bytes.fromhex("e9230018")
    assert parsed(logs.RISCV).code[6:8] == bytes.fromhex("0869")


def test_one_line_of_another_task_is_told_apart() -> None:
    [problem] = parsed(logs.ARM64_5).problems
    assert problem.name == "interleaved"


def test_a_kernel_without_symbols_says_where_it_stopped() -> None:
    named = ("widget_open", "chrdev_open", "ret_from_exception")
    lines = [line for line in logs.RISCV.splitlines() if not any(n in line for n in named)]
    found = parsed("\n".join(lines))
    assert found.ip is not None
    assert (found.ip.address, found.ip.function) == (0xFFFFFFFF0161A01A, None)
    of_user = "\n".join(lines).replace("epc : ffffffff0161a01a", "epc : 000000000161a01a")
    assert parsed(of_user).ip is None
