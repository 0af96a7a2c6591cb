"""Stacks of stock kernels: the command line's ways to ask, and what the guest itself knows."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from drgn import Object
from drgn.helpers.linux.cpumask import for_each_present_cpu
from drgn.helpers.linux.fs import fget
from drgn.helpers.linux.pid import find_task, for_each_task

from crashkit.arguments import Argument
from crashkit.crash import Crash
from crashkit.registers import CALLER_SAVED, GENERAL
from crashkit.report import bt_schema
from crashkit.unwind import Frame, Segment
from crashkit.value import Certainty
from tests.lab.conftest import lab_vmcore
from tests.samples.test_command_line import crashkit

pytestmark = pytest.mark.lab

STOCK = ["clash-stock-6.1", "clash-stock-6.12"]
KDUMP = "sysrq-6.1/kdump-zlib"
Open = Callable[..., Crash]


def frame_of(crash: Crash, function: str) -> Frame:
    frame = crash.find_frame(function) or next(
        (f for f in crash.frames if f.function == function), None
    )
    assert frame is not None, f"{function} is on the crashed stack"
    return frame


def arguments(crash: Crash, function: str) -> dict[str, Argument]:
    return {a.name: a for a in crash.arguments(frame_of(crash, function))[0]}


def proved(crash: Crash, function: str) -> dict[str, int]:
    found = arguments(crash, function).values()
    return {a.name: a.value for a in found if a.certainty is Certainty.PROVED}


# What the guest knows


def user_registers(crash: Crash) -> dict[str, int]:
    """The registers of the system call's caller, as the kernel printed them."""
    printed = crash.log[crash.log.rindex("RIP: 0033:") :]
    printed = printed[: printed.index("</TASK>")]
    return {name: int(value, 16) for name, value in re.findall(r"(R\w\w): ([0-9a-f]{16})", printed)}


@pytest.mark.parametrize("name", STOCK)
def test_the_system_calls_arguments_are_what_the_kernel_printed(opened: Open, name: str) -> None:
    crash = opened(name)
    printed = user_registers(crash)
    order = ("RDI", "RSI", "RDX", "R10", "R08", "R09")
    wanted = [printed[register] for register in order]
    parameters = ("fd", "buff", "len", "flags", "addr", "addr_len")
    assert proved(crash, "__sys_sendto") == dict(zip(parameters, wanted, strict=True))


@pytest.mark.parametrize("name", STOCK)
def test_the_faults_arguments_are_what_the_kernel_printed(opened: Open, name: str) -> None:
    crash = opened(name)
    assert crash.oops is not None
    known = proved(crash, "page_fault_oops")
    assert known["address"] == crash.oops.fault_address
    assert proved(crash, "exc_page_fault")["error_code"] == crash.oops.error_code
    fault = crash.fault_frame
    assert fault is not None
    held = {register: found.value for register, found in fault.registers.items()}
    printed = crash.oops.registers
    assert len(printed) >= 16
    assert {register: held.get(register) for register in printed if register in held} == {
        register: value for register, value in printed.items() if register in held
    }
    regs = Object(crash.prog, "struct pt_regs *", known["regs"])
    assert (int(regs.ip), int(regs.sp)) == (fault.pc, fault.sp)


@pytest.mark.parametrize("name", STOCK)
def test_the_netlink_skb_is_the_one_its_socket_sent(opened: Open, name: str) -> None:
    # The way from the task's open files does not pass through its stack.
    crash = opened(name)
    task = find_task(crash.prog, crash.thread.pid or 0)
    file = fget(task, user_registers(crash)["RDI"])
    sock = Object(crash.prog, "struct socket *", file.private_data).sk
    assert int(arguments(crash, "netlink_unicast")["ssk"].value) == int(sock)
    skbs = {
        function: arguments(crash, function)["skb"].value
        for function in ("netlink_rcv_skb", "nfnetlink_rcv_msg", "nfqnl_recv_verdict")
    }
    assert len(set(skbs.values())) == 1, skbs
    skb = Object(crash.prog, "struct sk_buff *", skbs["netlink_rcv_skb"])
    sent_by = Object(
        crash.prog, "struct netlink_skb_parms", address=int(skb.cb.address_of_())
    ).sk  # set by netlink_unicast_kernel()
    assert int(sent_by) == int(sock)
    assert proved(crash, "netlink_rcv_skb")["skb"] == int(skb)
    assert int(skb.head) <= proved(crash, "nfnetlink_rcv_msg")["nlh"] < int(skb.head) + int(skb.end)


@pytest.mark.parametrize("name", STOCK)
def test_the_packets_skb_is_the_queue_entrys(opened: Open, name: str) -> None:
    crash = opened(name)
    reinject = "nf_reinject" if crash.has_frame("nf_reinject") else "nfqnl_reinject"
    entry = Object(crash.prog, "struct nf_queue_entry *", proved(crash, reinject)["entry"])
    assert int(entry.skb) == int(crash.skb())
    assert proved(crash, "confirm_keeping_ct").get("skb", int(entry.skb)) == int(entry.skb)
    ct = Object(crash.prog, "struct nf_conn *", proved(crash, "nf_ct_deliver_cached_events")["ct"])
    nfct = int(crash.skb()._nfct) & ~7
    assert int(ct) != nfct  # the clash: the packet has another by now


# Interrupted frames


@pytest.mark.parametrize("name", STOCK)
def test_an_interrupted_frame_has_every_register_and_no_caller_by_an_entry(
    opened: Open, name: str
) -> None:
    crash = opened(name)
    fault = crash.fault_frame
    assert fault is not None
    assert set(GENERAL) <= fault.registers.keys()
    called = [f for f in crash.frames if not f.interrupted and not f.inlined]
    assert len(called) > 10
    assert all(not set(CALLER_SAVED) & f.registers.keys() for f in called[1:])


def test_a_stopped_cpu_shows_the_nmi_and_then_what_it_interrupted(opened: Open) -> None:
    crash = opened(KDUMP)
    others = [s for s in crash.cpu_stacks() if s.thread.cpu != crash.thread.cpu]
    assert others
    for stack in others:
        assert stack.frames[0].segment is Segment.NMI, stack.end
        interrupted = next(f for f in stack.frames if f.interrupted)
        assert set(GENERAL) <= interrupted.registers.keys()
        assert stack.starts_another(stack.frames.index(interrupted))
        entered = stack.frames[stack.frames.index(interrupted) - 1]
        found, _missing = crash.arguments(entered)
        assert all("calls" not in a.how for a in found)  # nobody called the entry code
    text = crashkit("bt", "-a", lab_vmcore(KDUMP)).stdout
    assert text.count("--- <NMI exception stack> ---") == len(others)


# The command line


def bt(name: str, *options: object) -> dict[str, Any]:
    done = crashkit("bt", "--json", "--types", "btf", *options, lab_vmcore(name))
    assert (done.returncode, done.stderr) == (0, "")
    document: dict[str, Any] = json.loads(done.stdout)
    jsonschema.validate(document, bt_schema())
    return document


@pytest.mark.parametrize("name", STOCK)
def test_all_tasks_are_each_counted_once(opened: Open, name: str) -> None:
    crash = opened(name)
    stacks = bt(name, "--all-tasks")["stacks"]
    assert [s["count"] for s in stacks] == sorted((s["count"] for s in stacks), reverse=True)
    assert all(s["count"] == len(s["threads"]) for s in stacks)
    tasks = Counter(int(t["task"], 16) for s in stacks for t in s["threads"])
    assert set(tasks.values()) == {1}
    with_pid = {int(task) for task in for_each_task(crash.prog)}
    idle = len(list(for_each_present_cpu(crash.prog)))
    assert with_pid <= tasks.keys()
    assert sum(s["count"] for s in stacks) == len(tasks) == len(with_pid) + idle
    assert len(stacks) < len(tasks) / 2
    assert [s["end"] for s in stacks if not s["complete"] or s["damage"]] == []


def test_every_cpu_one_cpu_and_one_task_give_the_same_stack() -> None:
    name = STOCK[0]
    every = bt(name, "-a")["stacks"]
    cpus = [stack["thread"]["cpu"] for stack in every]
    assert sorted(cpus) == list(range(len(every)))
    assert all(stack["running"] for stack in every)
    listed = bt(name, "-c", f"0-{len(every) - 1}")["stacks"]
    assert {s["thread"]["cpu"]: s for s in listed} == {s["thread"]["cpu"]: s for s in every}
    crashed = bt(name)
    pid = crashed["thread"]["pid"]
    assert bt(name, "-p", pid)["stacks"] == crashed["stacks"]
    assert crashed["stacks"][0] in every


def test_a_sleeping_task_by_its_pid() -> None:
    (stack,) = bt(STOCK[0], "-p", 1)["stacks"]
    assert (stack["thread"]["pid"], stack["running"]) == (1, False)
    functions = [frame["function"] for frame in stack["frames"]]
    assert functions[:2] == ["__schedule", "schedule"]
    assert functions[-1].startswith(("entry_SYSCALL_64", "ret_from_fork"))


def test_a_task_or_cpu_that_is_not_there_is_a_sentence() -> None:
    vmcore = lab_vmcore(STOCK[0])
    for option, words in ((("-p", 999_999), "PID 999999"), (("-c", 77), "CPU 77")):
        done = crashkit("bt", *option, vmcore)
        assert done.returncode == 5
        assert words in done.stderr
        assert done.stdout == ""


@pytest.mark.parametrize("name", STOCK)
def test_raw_words_are_the_stacks_memory(opened: Open, name: str) -> None:
    prog = opened(name).prog
    document = bt(name, "-f")
    words = [word for frame in document["frames"] for word in frame["words"]]
    assert len(words) > 100
    for word in words:
        assert prog.read_u64(int(word["address"], 16)) == int(word["value"], 16)
    held = {int(word["address"], 16): int(word["value"], 16) for word in words}
    slots = [frame for frame in document["frames"] if frame["slot"] and not frame["inlined"]]
    inside = [frame for frame in slots if int(frame["slot"], 16) in held]
    assert len(inside) >= len(slots) - 2
    assert all(held[int(f["slot"], 16)] == int(f["pc"], 16) for f in inside)
    text = crashkit("bt", "-f", "--types", "btf", lab_vmcore(name)).stdout
    first = words[0]
    assert f"    {int(first['address'], 16):016x}: {int(first['value'], 16):016x} " in text


def test_verbose_has_a_proof_for_each_argument() -> None:
    document = bt(STOCK[0])
    plain, verbose = (
        crashkit("bt", *option, "--types", "btf", lab_vmcore(STOCK[0])).stdout
        for option in ((), ("-v",))
    )
    flat = " ".join(verbose.split())
    shown = [a for frame in document["frames"] for a in frame["arguments"]]
    assert len(shown) > 20
    for argument in shown:
        origins = ", ".join([argument["origin"], *argument["corroborated_by"]])
        assert f"{argument['name']}: {argument['how']} [{origins}]" in flat
    assert set(plain.splitlines()) <= set(verbose.splitlines())
