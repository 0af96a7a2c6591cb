"""What a report on the console says, taken apart."""

from __future__ import annotations

import hashlib

import pytest

from crashkit.oops import Oops, parse_oops, parse_reports
from crashkit.oops.lines import LogText, strip_prefix
from crashkit.oops.trace import parse_entry
from tests.unit.report_doubles import SEED_LOG

NEW = """\
[    4.728419] BUG: kernel NULL pointer dereference, address: 0000000000000910
[    4.728612] #PF: supervisor read access in kernel mode
[    4.728731] #PF: error_code(0x0000) - not-present page
[    4.728851] PGD 0 P4D 0
[    4.728915] Oops: 0000 [#1] PREEMPT SMP NOPTI
[    4.729011] CPU: 1 PID: 90 Comm: Verdict0 Kdump: loaded Tainted: G  O  6.1.192-test #1
[    4.729201] Hardware name: QEMU Standard PC
[    4.729381] RIP: 0010:nf_ct_deliver_cached_events+0x32/0xd0 [nf_conntrack]
[    4.729530] Code: 48 8b 87 88 00 00 00 <48> 8b 80 10 09 00 00 48 85 c0
[    4.729801] RSP: 0018:ffffa3a7001ef788 EFLAGS: 00000246
[    4.729901] RAX: 0000000000000000 RBX: ffff8e4e8f66ff00 RCX: 0000000080100001
[    4.730001] RBP: ffff8e4e8f659b00 R08: 0000000000000001 R09: ffffffffc017a520
[    4.730101] CR2: 0000000000000910 CR3: 000000000f4a0000 CR4: 00000000000006e0
[    4.730201] Call Trace:
[    4.730301]  <IRQ>
[    4.730302]  ? __die+0x20/0x70
[    4.730303]  nf_confirm+0xd2/0x110 [nf_conntrack]
[    4.730304]  __do_softirq+0xc0/0x2a0
[    4.730305]  </IRQ>
[    4.730306]  <TASK>
[    4.730307]  nf_reinject+0x19f/0x1c0
[    4.730308] RIP: 0033:0x47b7a0
[    4.730309] RAX: ffffffffffffffda RBX: 0000000000000001 RCX: 000000000047b7a0
[    4.730310] Code: 40 00 48 c7 c2 e0 ff ff ff <48> 3d 00 f0
[    4.730311]  </TASK>
[    4.730312] Modules linked in: veth xt_NFQUEUE
[    4.730313] ---[ end trace 0000000000000000 ]---
[    4.730314] Kernel panic - not syncing: Fatal exception in interrupt
[    4.730315] ---[ end Kernel panic - not syncing: Fatal exception in interrupt ]---
"""


def parsed(text: str) -> Oops:
    oops = parse_oops(text)
    assert oops is not None
    return oops


def test_new_style_null_pointer() -> None:
    oops = parsed(NEW)
    title = "BUG: unable to handle kernel NULL pointer dereference in nf_ct_deliver_cached_events"
    assert (oops.kind, oops.title) == ("null-pointer-dereference", title)
    assert oops.message == "BUG: kernel NULL pointer dereference, address: 0000000000000910"
    assert (oops.fault_address, oops.access, oops.error_code) == (0x910, "read", 0)
    assert oops.ip is not None
    assert (oops.ip.function, oops.ip.offset, oops.ip.size) == (
        "nf_ct_deliver_cached_events", 0x32, 0xD0)  # fmt: skip
    assert oops.ip.module == "nf_conntrack"
    assert (oops.cpu, oops.pid, oops.comm) == (1, 90, "Verdict0")
    assert (oops.release, oops.taint, oops.count) == ("6.1.192-test", ("O",), 1)
    assert (oops.fatal, oops.intentional, oops.time) == (True, False, 4.728419)
    assert oops.panic == "Fatal exception in interrupt"
    assert oops.context == "softirq"


def test_registers_and_code_are_the_kernels_not_the_programs() -> None:
    oops = parsed(NEW)
    assert oops.registers["rax"] == 0
    assert oops.registers["r8"] == 1
    assert oops.registers["rsp"] == 0xFFFFA3A7001EF788
    assert oops.registers["cr2"] == 0x910
    assert oops.registers["rflags"] == 0x246
    assert oops.trapping_byte == 7
    assert oops.code[7:10] == bytes.fromhex("488b80")


def test_call_trace() -> None:
    trace = parsed(NEW).trace
    assert [entry.function for entry in trace] == [
        "__die", "nf_confirm", "__do_softirq", "nf_reinject"]  # fmt: skip
    assert [entry.reliable for entry in trace] == [False, True, True, True]
    assert [entry.segment for entry in trace] == ["irq", "irq", "irq", "task"]
    assert (trace[1].offset, trace[1].size, trace[1].module) == (0xD2, 0x110, "nf_conntrack")


def test_old_style_with_addresses() -> None:
    oops = parsed(SEED_LOG)
    assert oops.title.endswith("NULL pointer dereference in nf_ct_deliver_cached_events")
    assert oops.fault_address == 0xA30
    assert oops.ip is not None
    assert oops.ip.address == 0xFFFFFFFFC086077D
    assert oops.taint == ("O", "E", "T")
    assert oops.release == "3.10.0-1160.el7.x86_64"
    assert oops.trace[0].address == 0xFFFFFFFFC08372CE
    assert [e.function for e in oops.trace if not e.reliable] == ["nla_parse"]


def key(*names: str) -> str:
    return hashlib.sha1("".join(f"{name}\n" for name in names).encode()).hexdigest()


def test_stack_key_is_six_reliable_frames_of_the_trace() -> None:
    assert parsed(NEW).stack_key == key("nf_confirm", "__do_softirq", "nf_reinject")
    many = "".join(f"[ 1.0]  function_{n}.isra.0+0x1/0x2\n" for n in range(9))
    six = [f"function_{n}.isra.0" for n in range(6)]
    assert parsed(f"[ 1.0] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n[ 1.0] Call Trace:\n{many}"
                  ).stack_key == key(*six)  # fmt: skip


def test_stack_key_agrees_with_abrt() -> None:
    # satyr's test of its abrt-compatible hash: tests/python/koops.py, test_duphash
    names = ("__alloc_pages_nodemask", "alloc_pages_current", "__get_free_pages",
             "kmalloc_order_trace", "__kmalloc", "pskb_expand_head")  # fmt: skip
    trace = "\n".join(f"[<ffffffff81000000>] {name}+0x1/0x2" for name in names)
    report = f"WARNING: at mm/page_alloc.c:2420 {names[0]}+0x1/0x2()\nCall Trace:\n{trace}"
    assert parsed(report).stack_key == "5718b3a86c64e7bed5e8ead08ae3084e447ddbee"


def test_stack_key_begins_with_rip_where_the_kernel_prints_its_address() -> None:
    oops = parsed(SEED_LOG)
    names = ("nf_ct_deliver_cached_events", "ipv4_confirm", "nf_iterate", "nf_reinject",
             "nfqnl_recv_verdict", "nfnetlink_rcv_msg")  # fmt: skip
    assert oops.stack_key == key(*names)


def test_no_trace_no_key() -> None:
    assert parsed("BUG: kernel NULL pointer dereference, address: 0").stack_key is None


KINDS = [
    # opening lines, kind, title
    ("BUG: unable to handle kernel paging request at ffffdead00000000",
     "page-fault", "BUG: unable to handle kernel paging request in broke"),
    ("BUG: unable to handle page fault for address: ffffdead00000000",
     "page-fault", "BUG: unable to handle kernel paging request in broke"),
    (("kernel tried to execute NX-protected page - exploit attempt? (uid: 0)\n"
     "BUG: unable to handle page fault for address: ffff888000000000"),
     "exec-fault", "BUG: unable to handle kernel paging request in broke"),
    ("general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1]",
     "general-protection", "general protection fault in broke"),
    ("Oops: general protection fault, maybe for address 0xffff: 0000 [#1] SMP",
     "general-protection", "general protection fault in broke"),
    ("divide error: 0000 [#1] SMP", "divide-error", "divide error in broke"),
    ("kernel BUG at net/core/skbuff.c:112!\ninvalid opcode: 0000 [#1] SMP",
     "invalid-opcode-bug", "kernel BUG in broke"),
    (("list_del corruption. prev->next should be ffff, but was 0000\n"
     "kernel BUG at lib/list_debug.c:59!\ninvalid opcode: 0000 [#1] SMP"),
     "list-corruption", "BUG: corrupted list in outer"),
    ("traps: PANIC: double fault, error_code: 0x0", "double-fault", "PANIC: double fault in broke"),
    ("BUG: stack guard page was hit at 0000 (stack is 0000..1111)",
     "stack-overflow", "BUG: stack guard page was hit in caller"),
    ("watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [x:12]",
     "soft-lockup", "BUG: soft lockup in caller"),
    ("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
     "rcu-stall", "INFO: rcu detected stall in caller"),
    ("INFO: task kworker/u4:1:33 blocked for more than 120 seconds.",
     "hung-task", "INFO: task hung in outer"),
    ("BUG: scheduling while atomic: x/12/0x00000002",
     "scheduling-while-atomic", "BUG: scheduling while atomic in outer"),
    (("refcount_t: underflow; use-after-free.\n"
     "WARNING: CPU: 0 PID: 9 at lib/refcount.c:28 refcount_warn_saturate+0x1/0x2"),
     "refcount", "WARNING: refcount bug in outer"),
    ("WARNING: CPU: 0 PID: 9 at net/x.c:28 broke+0x1/0x2", "warning", "WARNING in broke"),
    ("WARNING: net/x.c:28 at broke+0x1/0x2, CPU#3: sh/33", "warning", "WARNING in broke"),
    (("usercopy: Kernel memory exposure attempt detected from SLUB object 'x'!\n"
     "kernel BUG at mm/usercopy.c:102!"), "usercopy", "BUG: bad usercopy in outer"),
    ("BUG: Bad page state in process sh  pfn:12345",
     "bad-page", "BUG: Bad page state in outer"),
    ("BUG: KASAN: slab-use-after-free in broke+0x1/0x2\nRead of size 8 at addr ffff by task sh/1",
     "slab-corruption", "KASAN: slab-use-after-free Read in broke"),
    ("Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: broke+0x1/0x2",
     "stack-corruption", "kernel panic: stack is corrupted in broke"),
    ("Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
     "init-killed", "kernel panic: Attempted to kill init!"),
    ("Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
     "no-root-fs", "kernel panic: VFS: Unable to mount root fs on unknown-block(NUM,NUM)"),
    ("Kernel panic - not syncing: System is deadlocked on memory",
     "oom", "kernel panic: System is deadlocked on memory"),
    ("Kernel panic - not syncing: Fatal machine check", "machine-check",
     "kernel panic: Fatal machine check"),
    ("Kernel panic - not syncing: NMI: Not continuing", "nmi",
     "kernel panic: NMI: Not continuing"),
    ("Kernel panic - not syncing: cat on keyboard", "panic-other", "kernel panic: cat on keyboard"),
    ("sysrq: Trigger a crash\nKernel panic - not syncing: sysrq triggered crash",
     "sysrq", "kernel panic: sysrq triggered crash"),
]  # fmt: skip

BODY = """
RIP: 0010:broke+0x10/0x20
Call Trace:
 <TASK>
 ? unsure+0x1/0x2
 dump_stack_lvl+0x1/0x2
 outer+0x10/0x20
 caller+0x10/0x20
 do_syscall_64+0x10/0x20
 entry_SYSCALL_64_after_hwframe+0x6e/0xd8
 </TASK>
"""


@pytest.mark.parametrize(("opening", "kind", "title"), KINDS)
def test_kinds_and_titles(opening: str, kind: str, title: str) -> None:
    [oops] = parse_reports(opening + BODY)
    assert (oops.kind, oops.title) == (kind, title)
    assert oops.intentional is (kind == "sysrq")


def test_sysrq_before_v5_2_faulted_on_purpose() -> None:
    text = (
        "SysRq : Trigger a crash\nBUG: unable to handle kernel NULL pointer dereference at (null)"
    )
    oops = parsed(f"{text}\nRIP: 0010:sysrq_handle_crash+0x1/0x2\n")
    assert (oops.kind, oops.intentional, oops.fault_address) == ("sysrq", True, 0)
    lost = (
        "BUG: kernel NULL pointer dereference, address: 0\nRIP: 0010:sysrq_handle_crash+0x1/0x2\n"
    )
    assert parsed(lost).intentional


def test_the_report_that_ended_the_kernel_is_the_last_fatal_one() -> None:
    warning = "WARNING: CPU: 0 PID: 9 at net/x.c:28 first+0x1/0x2" + BODY
    trailing = "WARNING: CPU: 0 PID: 9 at net/x.c:28 third+0x1/0x2" + BODY
    oops = parsed(warning + NEW + trailing)
    assert oops.kind == "null-pointer-dereference"
    assert [report.title for report in oops.earlier] == ["WARNING in first"]


def test_a_panic_for_a_hang_belongs_to_the_hang() -> None:
    body = BODY.replace("dump_stack_lvl", "schedule")
    hang = "INFO: task sh:33 blocked for more than 120 seconds." + body
    oops = parsed(f"{hang}Kernel panic - not syncing: hung_task: blocked tasks\n")
    assert (oops.kind, oops.panic) == ("hung-task", "hung_task: blocked tasks")
    assert oops.title == "INFO: task hung in outer"
    assert (oops.facts["comm"], oops.facts["pid"], oops.facts["seconds"]) == ("sh", "33", "120")


def test_a_later_panic_of_its_own_is_no_part_of_an_earlier_warning() -> None:
    warning = "WARNING: CPU: 0 PID: 9 at net/x.c:28 first+0x1/0x2" + BODY
    oops = parsed(f"{warning}Kernel panic - not syncing: VFS: Unable to mount root fs on x\n")
    assert oops.kind == "no-root-fs"
    assert len(oops.earlier) == 1


def test_error_code_says_the_access_where_no_line_does() -> None:
    head = "BUG: unable to handle kernel paging request at ffff888000000000\nOops: "
    assert parsed(head + "0002 [#3] SMP").access == "write"
    assert parsed(head + "0010 [#3] SMP").access == "exec"
    assert parsed(head + "0000 [#3] SMP").count == 3


def test_error_code_tells_what_kind_of_access_the_page_refused() -> None:
    head = (
        "BUG: unable to handle page fault for address: {:016x}\n#PF: error_code(0x{:04x})\nRIP: 0:f"
    )
    kernel, user = 0xFFFFFFFFC054447C, 0x7FFE12340000
    assert parsed(head.format(kernel, 3)).kind == "write-protect"
    assert parsed(head.format(user, 3)).kind == "page-fault"
    assert parsed(head.format(kernel, 2)).kind == "page-fault"
    assert parsed(head.format(kernel, 0x10)).kind == "exec-fault"
    assert parsed(head.format(kernel, 0x11)).kind == "exec-fault"


def test_null_is_printed_in_the_width_of_a_pointer() -> None:
    opening = "BUG: unable to handle kernel NULL pointer dereference at           (null)"
    assert parsed(opening).fault_address == 0


def test_a_lockup_without_a_trace_is_in_the_function_that_ran() -> None:
    text = (
        "watchdog: BUG: soft lockup - CPU#0 stuck for 11s! [a:1]\nRIP: 0010:_raw_spin_lock+0x1/0x2"
    )
    assert parsed(text).title == "BUG: soft lockup in _raw_spin_lock"


MORE_KINDS = [
    ("WARNING: at net/ipv4/tcp.c:12 tcp_x+0x1/0x2()", "warning", "WARNING in tcp_x"),
    ("Badness in broke at net/x.c:12", "warning", "WARNING in broke"),
    ("BUG: warning at net/x.c:12/broke()", "warning", "WARNING in broke"),
    ("WARNING: [x != y] net/x.c:12 at broke+0x1/0x2, CPU#3: sh/33", "warning", "WARNING in broke"),
    ("WARNING: net/x.c:12 at 0x0, CPU#3: sh/33", "warning", "WARNING in broke"),
    ("WARNING: CPU: 0 PID: 9 at drivers/usb/core/urb.c:503 usb_submit_urb+0x1/0x2", "warning",
     "WARNING in outer/usb_submit_urb"),
    ("WARNING: CPU: 0 PID: 9 at lib/list_debug.c:29 __list_add+0x1/0x2", "list-corruption",
     "WARNING in outer"),
    ("BUG: KASAN: double-free in kfree+0x1/0x2", "slab-corruption", "KASAN: invalid-free in outer"),
    ("BUG: KASAN: null-ptr-deref in broke+0x1/0x2\nWrite of size 8 at addr 0 by task a/1",
     "null-pointer-dereference", "KASAN: null-ptr-deref Write in broke"),
    ("BUG: KCSAN: data-race in a+0x1/0x2 / b+0x3/0x4", "warning", "KCSAN: data-race in a / b"),
    ("UBSAN: shift-out-of-bounds in net/x.c:12:3", "warning",
     "UBSAN: shift-out-of-bounds in outer"),
    ("Oops: divide error: 0000 [#1] SMP", "divide-error", "divide error in broke"),
    ("Oops: invalid opcode: 0000 [#1] SMP", "invalid-opcode-bug", "invalid opcode in broke"),
    ("Internal error: synchronous external abort: 96000210 [#1] SMP", "page-fault",
     "Internal error in broke"),
    ("Unhandled fault: external abort on linefetch (0x014) at 0x1\nInternal error: : 14 [#1] ARM",
     "page-fault", "Unhandled fault in broke"),
    ("BUG: spinlock bad magic on CPU#0, a/1", "spinlock-deadlock",
     "BUG: spinlock bad magic in outer"),
    ("BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 33s!", "soft-lockup",
     "BUG: workqueue lockup"),
    ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 1", "hard-lockup",
     "BUG: hard lockup in caller"),
    ("INFO: task a:1 blocked in I/O wait for more than 120 seconds.", "hung-task",
     "INFO: task hung in outer"),
    ("unregister_netdevice: waiting for eth0 to become free. Usage count = 2", "warning",
     "unregister_netdevice: waiting for DEV to become free"),
    ("sh: page allocation failure: order:10, mode:0x40dc0", "warning",
     "page allocation failure in outer"),
    ("BUG kmalloc-64 (Tainted: G    B): Poison overwritten", "slab-corruption",
     "BUG: Poison overwritten"),
    ("[Hardware Error]: CPU 2: Machine Check Exception: 5 Bank 4: b200000000070f0f",
     "machine-check", "kernel panic: Machine check"),
    ("Kernel panic - not syncing: Requested init /x failed (error -2).", "no-root-fs",
     "kernel panic: Requested init /x failed"),
    ("Kernel panic: VFS: Unable to mount root fs on 03:01", "no-root-fs",
     "kernel panic: VFS: Unable to mount root fs on NUM:NUM"),
]  # fmt: skip


@pytest.mark.parametrize(("opening", "kind", "title"), MORE_KINDS)
def test_kinds_in_the_words_of_other_kernels(opening: str, kind: str, title: str) -> None:
    oops = parse_reports(opening + BODY)[0]
    assert (oops.kind, oops.title) == (kind, title)


def test_no_report_in_a_healthy_log() -> None:
    assert parse_oops("[    0.0] Linux version 6.1.0\n[    1.0] random: crng init done\n") is None
    assert parse_oops("") is None


@pytest.mark.parametrize(
    ("line", "text", "time", "caller"),
    [
        ("[   12.345678] BUG: x", "BUG: x", 12.345678, None),
        ("<4>[   12.345678] BUG: x", "BUG: x", 12.345678, None),
        ("[    1.0][  T123] BUG: x", "BUG: x", 1.0, "T123"),
        ("[   66.000001][    C1]  <IRQ>", " <IRQ>", 66.000001, "C1"),
        ("Jun  1 12:00:00 host kernel: [   12.5] BUG: x", "BUG: x", 12.5, None),
        ("2024-06-01T12:00:00+0000 host kernel: BUG: x", "BUG: x", None, None),
        ("4,1234,5678,-;BUG: x", "BUG: x", 0.005678, None),
        ("BUG: x\r", "BUG: x", None, None),
        ("[<ffffffff81000000>] f+0x1/0x2", "[<ffffffff81000000>] f+0x1/0x2", None, None),
    ],
)
def test_prefixes(line: str, text: str, time: float | None, caller: str | None) -> None:
    stripped = strip_prefix(line)
    assert (stripped.text, stripped.time, stripped.caller) == (text, time, caller)


@pytest.mark.parametrize(
    ("line", "function", "reliable"),
    [
        (" foo+0x1/0x2", "foo", True),
        (" ? foo+0x1/0x2 [mod]", "foo", False),
        (" [<ffffffff81000000>] ? foo.isra.0+0x1/0x2", "foo.isra.0", False),
        (" foo+0x1/0x2 [mod 0123456789abcdef0123456789abcdef01234567]", "foo", True),
        (" [<     inline     >] foo kernel/x.c:12", "foo", True),
        (" foo kernel/x.c:12 [inline]", "foo", True),
    ],
)
def test_trace_lines(line: str, function: str, reliable: bool) -> None:
    entry = parse_entry(line)
    assert entry is not None
    assert (entry.function, entry.reliable) == (function, reliable)


@pytest.mark.parametrize("line", ["", "Code: 48 89", " RSP: 0018:ffff", "foo+0x1", "x" * 10000])
def test_no_trace_lines(line: str) -> None:
    assert parse_entry(line) is None


def test_hostile_text_ends() -> None:
    for text in (
        "BUG: KASAN: " * 200_000,
        "Call Trace:\n" * 100_000,
        "BUG: unable to handle kernel paging request\n" * 50_000,
        "Tainted: " + "G " * 500_000 + "#",
        "Code: " + "00 " * 500_000,
        "[" + " " * 1_000_000 + "] Oops: ",
        "\udcff\x00" * 100_000 + "Kernel panic - not syncing: \x1b[2J",
    ):
        parse_oops(text)
    assert len(parse_reports(("BUG: Bad page map\n" + BODY) * 200)) == 64


def test_line_numbers_are_those_of_the_log() -> None:
    assert parsed("first\nsecond\n" + NEW).line == 2
    text = LogText("a\nb")
    assert [line.text for line in text.lines(-3, 9)] == ["a", "b"]
