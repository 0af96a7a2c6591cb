"""Forms in which logs were found in the world: broken, doubled, coloured, from phones.

The lines are made up; only their form was seen.
"""

from __future__ import annotations

import pytest

from crashkit.oops import Oops, parse_oops, parse_reports

X86 = """\
[    1.000001] BUG: kernel NULL pointer dereference, address: 0000000000000018
[    1.000002] #PF: supervisor read access in kernel mode
[    1.000003] Oops: 0000 [#1] SMP
[    1.000004] CPU: 1 PID: 4711 Comm: tool Not tainted 6.1.0 #1
[    1.000005] RIP: 0010:made_up_read+0x12/0x40 [made_up]
[    1.000006] Code: 0f 1f 44 00 00 48 89 f8 90 90 <48> 8b 40 18 c3 90
[    1.000007] RAX: 0000000000000000 RBX: ffff888000000000 RCX: 0000000000000002
[    1.000008] Call Trace:
[    1.000009]  made_up_open+0x20/0x80 [made_up]
[    1.000010]  do_syscall_64+0x5d/0x90
[    1.000011] ---[ end trace 0000000000000000 ]---
"""
ARM = """\
Unable to handle kernel paging request at virtual address 5f5f6b63
Internal error: Oops: 5 [#1] PREEMPT SMP ARM
CPU: 1 PID: 66 Comm: kworker/1:0 Not tainted 3.18.31 #1
PC is at made_up_lookup+0x20/0x7c
LR is at made_up_open+0x3c/0x5c
pc : [<c01f3218>]    lr : [<c01f32a0>]    psr: 60000013
sp : cd009d54  ip : cd009d6c  fp : cd009d68
Backtrace:
[<c01f3200>] (made_up_lookup+0x0/0x7c) from [<c06a2b04>] (made_up_walk+0x20/0x24)
"""


def first(text: str) -> Oops:
    found = parse_oops(text, first_cause=True)
    assert found is not None
    return found


def as_usual(found: Oops) -> None:
    assert found.title == "BUG: unable to handle kernel NULL pointer dereference in made_up_read"
    assert (found.pid, found.comm, found.cpu, found.release) == (4711, "tool", 1, "6.1.0")
    assert found.fault_address == 0x18
    assert found.registers["rbx"] == 0xFFFF888000000000
    assert (len(found.code), found.trapping_byte) == (16, 10)
    assert [entry.function for entry in found.trace] == ["made_up_open", "do_syscall_64"]


def bare(text: str) -> str:
    return "".join(line.partition("] ")[2] + "\n" for line in text.splitlines())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("PID: 4711 Comm", "PID: 47\n11 Comm"),
        ("PID: 4711 Comm", "PID: 4711\nComm"),
        ("PID: 4711 Comm", "PID:\n4711 Comm"),
        ("Not tainted 6.1.0", "Not tainted\n6.1.0"),
        ("90 90 <48>", "90 90\n<48>"),
        ("90 90 <48>", "90 9\n0 <48>"),
        ("f8 90 90 <48> 8b", "f8\n90 90\n<48> 8b"),
        ("RBX: ffff", "RBX:\nffff"),
        ("x", "x"),
    ],
)
@pytest.mark.parametrize("stamped", [True, False])
def test_broken_lines(old: str, new: str, stamped: bool) -> None:
    as_usual(first((X86 if stamped else bare(X86)).replace(old, new)))


def test_a_broken_line_belongs_to_whom_was_before_it() -> None:
    text = X86.replace("] ", "][   C1] ")
    text = text.replace("90 90 <48>", "90 90\n<48>").replace(
        "[    1.000008]", "[    1.000007][   C2] another\n line\n[    1.000008]"
    )
    found = first(text)
    as_usual(found)
    (problem,) = found.problems
    assert problem.statement.endswith(": 2")


def test_a_broken_list_of_modules() -> None:
    text = X86.replace(
        "[    1.000005]",
        "[    1.000005] Modules linked in: one two(O)\nthree four(OE)"
        " [last unloaded: five]\n[    1.000005]",
        1,
    )
    found = first(text)
    assert found.modules is not None
    assert [module.name for module in found.modules] == ["one", "two", "three", "four"]
    assert found.last_unloaded == "five"
    as_usual(found)


def test_an_address_and_its_symbol_on_two_lines() -> None:
    text = bare(X86).replace(
        " made_up_open+0x20/0x80 [made_up]", " [<ffffffffc0001020>]\nmade_up_open+0x20/0x80"
    )
    (entry, _other) = first(text).trace
    assert (entry.function, entry.address) == ("made_up_open", 0xFFFFFFFFC0001020)


def test_half_a_number_is_no_number() -> None:
    found = first(X86.replace("PID: 4711 Comm: tool", "PID: 47\nCPU: 1 PID: 4711 Comm: tool"))
    assert found.comm == "tool"


def test_what_is_whole_is_not_joined() -> None:
    text = bare(X86).replace("Call Trace:", "Modules linked in: one\nCall Trace:")
    found = first(text)
    assert found.modules is not None
    assert [module.name for module in found.modules] == ["one"]
    as_usual(found)


def test_lines_between_the_opening_and_the_oops() -> None:
    head, mark, rest = X86.partition("[    1.000003]")
    busy = "".join(f"[    1.000002] i2c_made_up {n}: supply not found\n" for n in range(60))
    reports = parse_reports(head + busy + mark + rest)
    assert len(reports) == 1
    as_usual(reports[0])


def test_two_faults_stay_two() -> None:
    later = X86.replace("[    1.", "[    2.").replace("[#1]", "[#2]")
    assert len(parse_reports(X86 + later)) == 2


def test_every_line_twice() -> None:
    text = "".join(f"{line}\n{line}\n" for line in X86.splitlines())
    found = first(text)
    as_usual(found)


def test_a_function_that_calls_itself_is_not_folded() -> None:
    again = "[    1.000009]  made_up_open+0x20/0x80 [made_up]\n"
    found = first(X86.replace(again, again * 4))
    assert [entry.function for entry in found.trace][:4] == ["made_up_open"] * 4


@pytest.mark.parametrize("escape", ["\x1b", ""])
def test_colours_with_and_without_the_escape(escape: str) -> None:
    lines = [
        f"{escape}[33m{line[:15]}{escape}[0m{escape}[31m{line[15:]}{escape}[0m"
        for line in X86.splitlines()
    ]
    as_usual(first("\n".join(lines) + "\n"))


@pytest.mark.parametrize(
    "prefix", ["<4>[  900.71{:04}] c1 ", "[  900.71{:04},1] ", "[  900.71{:04}] c1  "]
)
def test_phones_name_the_cpu(prefix: str) -> None:
    lines = [prefix.format(n) + line for n, line in enumerate(ARM.splitlines())]
    other = prefix.replace("c1", "c2").replace(",1", ",2").format(99) + "CPU2: stopping"
    found = first("\n".join([*lines[:-1], other, lines[-1]]) + "\n")
    assert found.title == "BUG: unable to handle kernel paging request in made_up_lookup"
    assert (found.time, found.arch) == (900.71, "arm")
    assert found.registers["sp"] == 0xCD009D54
    assert [entry.function for entry in found.trace] == ["made_up_lookup", "made_up_walk"]
    assert [problem.name for problem in found.problems][-1] == "interleaved"


def test_places_without_a_name_are_no_strange_lines() -> None:
    bare_ones = (
        " ? 0xffffffffc00b7000\n [<f7a39000>] ? 0xf7a38fff\n([<00000000027f8000>] 0x27f8000)\n"
        "[c000000010ff3a30] [c000000010ff3ad0] 0xc000000010ff3ad0 (unreliable)\n"
    )
    text = bare(X86).replace(" do_syscall_64", f"{bare_ones} do_syscall_64")
    found = first(text)
    assert found.problems == ()
    as_usual(found)


def test_where_an_object_was_allocated_is_no_report_of_its_own() -> None:
    text = """\
[    5.000001] BUG made_up_cache: Objects remaining on kmem_cache_close()
[    5.000002] INFO: Slab 0xffffea001f0eba00 objects=34 used=1 fp=0xffff8807c3aecb00 flags=0x4080
[    5.000003] Pid: 22919, comm: modprobe Not tainted 3.2.0 #2
[    5.000004] Call Trace:
[    5.000005]  [<ffffffff810fcdcd>] slab_err+0xb0/0xd2
[    5.000006]  [<ffffffffa0112bdc>] made_up_exit+0x10/0x12 [made_up]
[    5.000007] INFO: Allocated in made_up_alloc+0x22/0x90 [made_up] age=4615311 cpu=2 pid=12966
[    5.000008]  made_up_alloc+0x22/0x90 [made_up]
"""
    (found,) = parse_reports(text)
    assert found.kind == "slab-corruption"
    assert found.trace[-1].function == "made_up_exit"


def test_riscv_before_5_12() -> None:
    text = """\
[    8.000001] Unable to handle kernel paging request at virtual address 00000061fed09482
[    8.000002] Oops [#1]
[    8.000003] CPU: 0 PID: 1842 Comm: kworker/0:1H Not tainted 5.10.6 #26
[    8.000004] epc: ffffffe00022affe ra : ffffffe00022afea sp : ffffffe086d3fe30
[    8.000005]  gp : ffffffe0018416a8 tp : ffffffe080735040 t0 : ffffffe086d3fcc0
[    8.000006] status: 0000000000000120 badaddr: 00000061fed09482 cause: 000000000000000d
"""
    found = first(text)
    assert (found.arch, found.fault_address) == ("riscv", 0x61FED09482)
    assert found.registers["epc"] == 0xFFFFFFE00022AFFE
    assert found.registers["tp"] == 0xFFFFFFE080735040
