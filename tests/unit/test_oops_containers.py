"""The shapes in which a log arrives: one report in all of them, and its facts stay the same."""

from __future__ import annotations

import json
import re

import pytest

from crashkit.oops import Oops, parse_oops, parse_reports

LINES = [
    "BUG: kernel NULL pointer dereference, address: 0000000000000028",
    "#PF: supervisor read access in kernel mode",
    "#PF: error_code(0x0000) - not-present page",
    "PGD 0 P4D 0",
    "Oops: 0000 [#1] PREEMPT SMP NOPTI",
    "CPU: 1 PID: 90 Comm: tool Not tainted 6.1.0-9-amd64 #1",
    "RIP: 0010:widget_get+0x12/0x40 [widget]",
    "Code: 48 8b 07 <48> 8b 40 28 c3",
    "RSP: 0018:ffffa3a7001ef788 EFLAGS: 00000246",
    "RAX: 0000000000000000 RBX: ffff8e4e8f66ff00 RCX: 0000000080100001",
    "CR2: 0000000000000028 CR3: 000000000f4a0000 CR4: 00000000000006e0",
    "Call Trace:",
    " <TASK>",
    " widget_read+0x2f/0x60 [widget]",
    " ? vfs_poll+0x10/0x20",
    " vfs_read+0x9f/0x1a0",
    " do_syscall_64+0x5c/0x90",
    " entry_SYSCALL_64_after_hwframe+0x6e/0xd8",
    " </TASK>",
    "Modules linked in: widget(O)",
    "---[ end trace 0000000000000000 ]---",
    "Kernel panic - not syncing: Fatal exception",
]
NOISE = ["random: crng init done", "usb 1-1: new device", "widget: loaded"]


def stamped(prefix: str = "[{:>5}.{:06}] ") -> str:
    times = (prefix.format(12, number) for number in range(99))
    lines = zip(times, [*NOISE, *LINES], strict=False)
    return "\n".join(stamp + line for stamp, line in lines) + "\n"


def quoted() -> str:
    return "".join(f"> {line}\n" for line in stamped().splitlines())


def journal_json() -> str:
    records = [
        {"__CURSOR": "s=1", "_TRANSPORT": "kernel", "PRIORITY": "4", "MESSAGE": line}
        for line in [*NOISE, *LINES]
    ]
    bytes_ = {"MESSAGE": [ord(letter) for letter in "odd\x01"], "_TRANSPORT": "kernel"}
    return "\n".join(map(json.dumps, [bytes_, *records]))


def pstore() -> str:
    lines = stamped("<4>[{:>5}.{:06}] ").splitlines(keepends=True)
    return (
        f"Panic#1 Part1\n{''.join(lines[14:])}Panic#1 Part2\n{''.join(lines[6:14])}"
        f"Panic#1 Part3\n{''.join(lines[:6])}"
    )


CONTAINERS = {
    "bare": "\n".join([*NOISE, *LINES]),
    "console": stamped(),
    "caller": stamped("[{:>5}.{:06}][  T90] "),
    "level": stamped("<4>[{:>5}.{:06}] "),
    "dmesg -T": stamped("[Thu Nov  6 22:36:44 2025] "),
    "dmesg -T, Russian": stamped("[Чт ноя  6 22:36:44 2025] "),
    "crash log -T": stamped("[Thu Nov 06 22:36:44 CET 2025] "),
    "dmesg -x": stamped("kern  :alert : [{:>5}.{:06}] "),
    "dmesg --reltime": stamped("[  +0.000012] "),
    "dmesg iso": stamped("2025-11-06T22:36:44,123456+01:00 "),
    "syslog": stamped("Oct  2 14:52:56 host-1 kernel: [{:>5}.{:06}] "),
    "syslog, no stamp": stamped("Oct 12 14:52:56 host kernel: "),
    "syslog, French": stamped("oct. 02 14:52:56 host kernel: "),
    "rsyslog": stamped("2024-06-01T12:00:00.123456+02:00 host kernel: [{:>5}.{:06}] "),
    "rfc5424": stamped("<4>1 2024-06-01T12:00:00.1Z host kernel - - - [{:>5}.{:06}] "),
    "kmsg": stamped("6,{1},{0}000000,-;"),
    "kmsg, caller": stamped("6,{1},{0}000000,-,caller=T90;"),
    "journal json": journal_json(),
    "journal export": stamped("MESSAGE="),
    "serial logger": stamped("[2024-06-01 12:00:00] [{:>5}.{:06}] "),
    "phone": stamped("<6>[{:>5}.{:06}] [1:          tool:   90] "),
    "logread": stamped("Tue Jan 10 12:24:53 2023 kern.warn kernel: [{:>5}.{:06}] "),
    "table": stamped("  |   | 2021-10-05 00:37:49 | [{:>5}.{:06}] "),
    "markdown": stamped("    [{:>5}.{:06}] "),
    "grep -n": stamped("123:[{:>5}.{:06}] "),
    "mail": quoted(),
    "dos": stamped().replace("\n", "\r\n"),
    "terminal": stamped("\x1b[32m[{:>5}.{:06}] \x1b[0m"),
    "login": stamped().replace("[   12.000003]", "host login: [   12.000003]"),
    "ramoops": "====1700000000.123456-D\n" + stamped("<4>[{:>5}.{:06}] "),
    "pstore": pstore(),
    "one line": " ".join(stamped().splitlines()),
}


def parsed(text: str) -> Oops:
    oops = parse_oops(text)
    assert oops is not None
    return oops


@pytest.mark.parametrize("name", CONTAINERS)
def test_one_report_whatever_carries_it(name: str) -> None:
    [oops] = parse_reports(CONTAINERS[name])
    title = "BUG: unable to handle kernel NULL pointer dereference in widget_get"
    assert (oops.title, oops.kind) == (title, "null-pointer-dereference")
    assert (oops.fault_address, oops.error_code, oops.access) == (0x28, 0, "read")
    assert (oops.cpu, oops.pid, oops.comm, oops.release) == (1, 90, "tool", "6.1.0-9-amd64")
    assert oops.registers["rbx"] == 0xFFFF8E4E8F66FF00
    assert (oops.code.hex(), oops.trapping_byte) == ("488b07488b4028c3", 3)
    assert [entry.function for entry in oops.trace] == [
        "widget_read", "vfs_poll", "vfs_read", "do_syscall_64",
        "entry_SYSCALL_64_after_hwframe"]  # fmt: skip
    assert [entry.reliable for entry in oops.trace] == [True, False, True, True, True]
    assert oops.modules is not None
    assert [module.name for module in oops.modules] == ["widget"]
    assert (oops.panic, oops.context, oops.problems) == ("Fatal exception", "process", ())
    assert oops.stack_key == parsed(CONTAINERS["bare"]).stack_key


def test_title_and_key_do_not_depend_on_addresses() -> None:
    moved = re.sub(r"\b[0-9a-f]{16}\b", "00000000deadbe00", CONTAINERS["console"])
    moved = moved.replace("+0x2f/0x60", "+0x31/0x62").replace("6.1.0-9", "6.1.0-22")
    assert parsed(moved).title == parsed(CONTAINERS["console"]).title
    assert parsed(moved).stack_key == parsed(CONTAINERS["console"]).stack_key


def test_line_number_is_that_of_the_text_as_given() -> None:
    text = CONTAINERS["pstore"]
    number = next(n for n, line in enumerate(text.split("\n")) if LINES[0] in line)
    assert parsed(text).line == number
    assert parsed(CONTAINERS["console"]).line == len(NOISE)


def test_stamp_of_kmsg_is_in_microseconds() -> None:
    assert parsed("3,77,5140900,-;kernel BUG at a.c:1!").time == 5.1409


def test_reports_of_two_tasks_are_told_apart_by_their_callers() -> None:
    first = [f"[    1.0{n:05}][   T1] {line}" for n, line in enumerate(LINES)]
    second = [
        f"[    1.0{n:05}][   T2] {line.replace('widget_', 'gadget_').replace('000028', '000030')}"
        for n, line in enumerate(LINES)
    ]
    mixed = [line for pair in zip(first, second, strict=True) for line in pair]
    one, two = parse_reports("\n".join(mixed))
    assert (one.function, two.function) == ("widget_get", "gadget_get")
    assert (one.fault_address, two.fault_address) == (0x28, 0x30)
    assert [e.function for e in two.trace][:2] == ["gadget_read", "vfs_poll"]
    assert [problem.name for problem in one.problems] == ["interleaved"]


def test_first_cause_of_a_burst() -> None:
    again = CONTAINERS["console"].replace("widget_get", "gadget_get").replace("[#1]", "[#2]")
    quiet = CONTAINERS["console"].replace(LINES[-1], "later")
    both = quiet + again
    ended = parsed(both)
    assert (ended.function, [o.function for o in ended.earlier]) == ("gadget_get", ["widget_get"])
    cause = parse_oops(both, first_cause=True)
    assert cause is not None
    assert (cause.function, cause.panic) == ("widget_get", "Fatal exception")
    assert [o.function for o in cause.later] == ["gadget_get"]
    hours = both.replace("[   12.", "[    3.", len(quiet.splitlines()))
    assert hours != both
    late = again.replace("[   12.", "[ 9912.")
    apart = parse_oops(quiet + late, first_cause=True)
    assert apart is not None
    assert apart.function == "gadget_get"


def names(text: str) -> list[str]:
    return [problem.name for problem in parsed(text).problems]


def test_problems_are_named() -> None:
    text = "\n".join(LINES)
    assert names(text) == []
    assert names("\n".join(LINES[:14])) == ["truncated"]
    assert names("\n".join(LINES[:10])) == ["truncated", "no-trace"]
    assert names(LINES[-1]) == ["headless"]
    strange = [*LINES[:14], "device wlan0 left promiscuous mode", *LINES[14:]]
    assert names("\n".join(strange)) == ["interleaved"]
    lost = [*LINES[:9], "** 17 printk messages dropped **", *LINES[9:]]
    assert names("\n".join(lost)) == ["dropped"]
    merged = CONTAINERS["console"].replace(
        " ? vfs_poll+0x10/0x20\n", " ? vfs_poll+0x10/0x20[   12.000019] eth0: up\n"
    )
    assert "merged" in names(merged)


QUIET = [
    "[    0.000000] Linux version 6.1.0\n[    1.0] random: crng init done\n",
    "[    5.0] a.out[123]: segfault at 0 ip 0000000000401136 sp 00007ffd error 6 in a.out[401000]",
    "[    5.0] traps: a.out[77] general protection fault ip:401136 sp:7ffd error:0 in a.out[401]",
    "[    5.0] traps: a.out[77] trap invalid opcode ip:401136 sp:7ffd error:0 in a.out[401000]",
    "[    5.0] traps: a.out[77] trap divide error ip:401136 sp:7ffd error:0 in a.out[401000]",
    "[    5.0] EXT4-fs (sda1): WARNING: mounting fs with errors, running e2fsck is recommended",
    "[    5.0] XFS (sda1): WARNING: Reset corrupted AGFL on AG 0.",
    "[    5.0] WARNING: workqueue cpumask: online intersect > possible intersect",
    "[    5.0] ALSA: snd_pcm BUG: hw_ptr skipping",
    "[    5.0] INFO: lockdep is turned off.",
    "[    5.0] ODEBUG: selftest passed",
    "[    5.0] INFO: NMI handler (perf_event_nmi_handler) took too long to run: 1.2 msecs",
    "[    5.0] perf: interrupt took too long (2501 > 2500), lowering rate",
    "[    5.0] Unhandled fault: external abort on non-linefetch (0x1008) at 0xb6f11000",
    "[    5.0] Alignment trap: tool (77) PC=0x00010460 Instr=0xe5921000 Address=0xbe Code 0x1",
    "[    5.0] mce: [Hardware Error]: Machine check events logged",
    "[    5.0] mce: [Hardware Error]: CPU 2: Machine Check Exception: 0 Bank 5: 0000000000000000",
    "[    5.0] nmi_watchdog: watchdog enabled, detects hard lockups",
    "[    5.0] Kernel command line: panic_on_oops=1 oops=panic softlockup_panic=1",
    "[    5.0] softdog: initialized. soft_noboot=0 soft_panic=0 (kernel panic on timeout)",
    '[    5.0] audit: type=1400 comm="oops" name="/var/spool/abrt/oops-2024"',
    "[    5.0] systemd[1]: Started Kernel Oops Log Collector.",
    "[    5.0] Freeing unused kernel memory: 1024K",
    "[    5.0] sysrq: Show Blocked State",
]


@pytest.mark.parametrize("text", QUIET)
def test_nothing_is_found_where_nothing_happened(text: str) -> None:
    assert parse_oops(text) is None
