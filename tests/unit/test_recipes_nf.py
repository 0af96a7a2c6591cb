"""Netfilter recipes on text and on a kernel made by hand: what refutes, what stays open."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from drgn import Object, Program

from crashkit.arguments import Argument
from crashkit.decode import for_each_queue
from crashkit.fault import printed_fault
from crashkit.fault.model import Fault, Link
from crashkit.finding import Check, Finding, Verdict
from crashkit.oops import CodeLocation, parse_oops
from crashkit.recipe import load_recipes, run_recipe
from crashkit.unwind import Frame
from crashkit.value import Certainty, Origin
from tests.unit.kernel_doubles import Kernel, add_namespace, chain, empty_table
from tests.unit.netfilter_doubles import (
    GOLDEN_PACKET,
    modern_kernel,
    skb_with,
    udp_conntrack,
)
from tests.unit.report_doubles import FakeCrash, as_crash, empty, frame, seed
from tests.unit.test_decode_nfqueue import with_queue

CONNLIMIT = """\
Unable to handle kernel NULL pointer dereference at virtual address 0000007c
 printing eip:
e0a6b0f3
*pde = 00000000
Oops: 0000 [#1]
Modules linked in: ipt_connlimit iptable_filter ip_tables
CPU:    0
EIP:    0060:[<e0a6b0f3>]    Not tainted VLI
EFLAGS: 00010246   (2.6.11.10)
EIP is at match+0xf3/0x1d0 [ipt_connlimit]
eax: 00000000   ebx: 00000000   ecx: c1234567   edx: 00000000
Process swapper (pid: 0, threadinfo=c0398000 task=c0311bc0)
Call Trace:
 [<e0a6b2a1>] match+0x91/0xc0 [ipt_connlimit]
 [<e0a5c3d2>] ipt_do_table+0x192/0x340 [ip_tables]
Code: 43 17 89 d9 8d 04
 <0>Kernel panic - not syncing: Fatal exception in interrupt
"""
TABLE, BUCKETS = 0xFFFF_8880_0800_0000, 16
UDP_TIMEOUT, STREAM_TIMEOUT = 7500, 30000  # ticks, at 250 Hz
NOW = 0x1_4000_0000
HASH = 0x8A31_77F0


@dataclass
class MadeCrash(FakeCrash):
    """A crash whose program is a kernel made by hand."""

    program: Program | None = None

    @property
    def prog(self) -> object:
        return self.program

    @property
    def outer_frames(self) -> tuple[Frame, ...]:
        return self.frames


def find(name: str, crash: FakeCrash) -> Finding | None:
    recipe = load_recipes().find(name)
    assert recipe is not None
    found = run_recipe(recipe, as_crash(crash))
    assert found is None or found.error is None, found.error if found else ""
    return found


def check(found: Finding | None, name: str) -> Check:
    assert found is not None
    return next(one for one in found.checks if one.id == name)


def from_text(log: str) -> FakeCrash:
    crash = empty(log_=log, oops=parse_oops(log))
    printed = printed_fault(crash.oops) if crash.oops else None
    return replace(
        crash,
        target=replace(crash.target, format="text"),
        fault=printed,
        faulting_function=printed.symbol if printed else None,
    )


# ipt-connlimit-null


def test_connlimit_text_is_consistent_and_never_confirms() -> None:
    found = find("ipt-connlimit-null", from_text(CONNLIMIT))
    assert found is not None
    assert found.verdict is Verdict.INCONCLUSIVE
    assert {one.id for one in found.checks if one.holds} == {"module", "null"}
    assert check(found, "found").holds is None
    assert found.to_settle[0] == "the vmcore of this crash"


def test_connlimit_text_with_the_place_in_the_code() -> None:
    crash = from_text(CONNLIMIT)
    assert crash.oops is not None
    reports = [one for one in (crash.oops, *crash.oops.earlier) if one.fault_address is not None]
    place = CodeLocation(
        function="match", offset=0xF3, size=0x1D0, module="ipt_connlimit", address=0xE0A6B0F3
    )
    crash.oops = replace(reports[0], ip=place, trace=())
    found = find("ipt-connlimit-null", crash)
    assert found is not None
    assert check(found, "module").holds is True


def test_connlimit_text_of_another_address_is_refuted() -> None:
    log = CONNLIMIT.replace("NULL pointer dereference", "paging request").replace(
        "0000007c", "6b6b6be7"
    )
    found = find("ipt-connlimit-null", from_text(log))
    assert found is not None
    assert found.verdict is Verdict.REFUTED
    assert check(found, "null").holds is False


@pytest.mark.parametrize("log", ["", CONNLIMIT.replace("[ipt_connlimit]", "[ipt_recent]")])
def test_connlimit_needs_its_module(log: str) -> None:
    assert find("ipt-connlimit-null", from_text(log)) is None


def test_connlimit_is_not_every_crash_of_a_kernel_that_has_it() -> None:
    crash = from_text(CONNLIMIT)
    assert find("ipt-connlimit-null", replace(crash, fault_frame=frame(0, "nf_iterate"))) is None


# nf-conntrack-uninit-removal

REMOVAL = """\
[   36.1] BUG: unable to handle page fault for address: {address}
[   36.1] #PF: supervisor write access in kernel mode
[   36.1] #PF: error_code(0x0002) - not-present page
[   36.1] Oops: 0002 [#1] PREEMPT SMP NOPTI
[   36.1] CPU: 0 PID: 133 Comm: talk Not tainted 6.1.100 #1
[   36.1] RIP: 0010:__nf_ct_delete_from_lists+0xb2/0x160 [nf_conntrack]
[   36.1] RAX: 0000000000000000 RBX: 0000000000000368 RCX: f0a70e2089aff30d
[   36.1] RDX: {address} RSI: 0000000000000368 RDI: ffffffffc052d9e0
[   36.1] CR2: {address}
[   36.1] Call Trace:
[   36.1]  nf_ct_delete+0xb4/0x210 [nf_conntrack]
[   36.1]  nf_ct_gc_expired+0x5f/0x70 [nf_conntrack]
"""


def test_removal_text_is_consistent() -> None:
    found = find(
        "nf-conntrack-uninit-removal", from_text(REMOVAL.format(address="0" * 8 + "8a3177f0"))
    )
    assert found is not None
    assert found.verdict is Verdict.INCONCLUSIVE
    assert {one.id for one in found.checks if one.holds} == {
        "no-pointer",
        "collector",
    }


def test_removal_text_of_a_poison_is_refuted() -> None:
    found = find(
        "nf-conntrack-uninit-removal", from_text(REMOVAL.format(address="dead000000000122"))
    )
    assert found is not None
    assert found.verdict is Verdict.REFUTED


def removal(kernel: Kernel, ct: Object, bad: int, direction: int = 1) -> MadeCrash:
    """The removal of an entry that wrote through ``bad``."""
    pprev = f"ct->tuplehash[{direction}].hnnode.pprev"
    given: Fault | None = seed().fault
    assert given is not None
    link = Link(
        expression="ct",
        ctype="struct nf_conn *",
        value=ct.value_(),
        origin=Origin.REGISTER,
        certainty=Certainty.PROVED,
        register="r14",
    )
    fault = replace(
        given,
        symbol="__nf_ct_delete_from_lists",
        instruction="mov %rax,(%rdx)",
        access="write",
        address=bad,
        bad_register="rdx",
        expression=f"*{pprev}",
        null_or_bad=pprev,
        chain=(link,),
        registers={"rdx": bad, "r14": ct.value_()},
    )
    crash = MadeCrash(
        target=empty().target,
        program=kernel.prog,
        fault=fault,
        faulting_function=fault.symbol,
        fault_frame=frame(0, fault.symbol),
    )
    crash.log_ = ""
    return crash


def conntrack_kernel() -> Kernel:
    kernel = modern_kernel()
    kernel.struct("nf_udp_net", 8, ("timeouts", "u32 [2]", 0))
    kernel.struct("nf_ip_net", 8, ("udp", "struct nf_udp_net", 0))
    kernel.struct(
        "netns_ct",
        64,
        ("stat", "struct ip_conntrack_stat *", 24),
        ("nf_ct_proto", "struct nf_ip_net", 32),
    )
    net = add_namespace(kernel)
    timeouts = "ct.nf_ct_proto.udp.timeouts"
    kernel.set(net, {f"{timeouts}[0]": UDP_TIMEOUT, f"{timeouts}[1]": STREAM_TIMEOUT})
    kernel.variable("jiffies", "unsigned long", NOW)
    kernel.variable("nf_conntrack_hash", "struct hlist_nulls_head *", TABLE)
    kernel.variable("nf_conntrack_htable_size", "u32", BUCKETS)
    empty_table(kernel, TABLE, BUCKETS)
    return kernel


def deleted(kernel: Kernel, timeout: int = UDP_TIMEOUT, status: int = 0x388) -> Object:
    """An entry as 2d72afb34065 describes it, but for what is given."""
    ct = udp_conntrack(kernel, status=status)
    net = kernel.prog["init_net"].address_
    assert net is not None
    kernel.set(ct, {"ct_net.net": net, "timeout": timeout, "tuplehash[1].hnnode.pprev": HASH})
    return ct


def test_removal_of_an_entry_that_was_never_inserted() -> None:
    kernel = conntrack_kernel()
    found = find("nf-conntrack-uninit-removal", removal(kernel, deleted(kernel), HASH))
    assert found is not None
    holding = {one.id for one in found.checks if one.holds}
    assert holding >= {"no-pointer", "pprev", "hash-kept", "unhashed", "status", "timeout"}
    # No slab allocator in this kernel: what the entry is cannot be told, so nothing is confirmed.
    assert check(found, "ct-object").holds is None
    assert found.verdict is Verdict.INCONCLUSIVE


def test_removal_of_an_entry_of_the_table_is_refuted() -> None:
    kernel = conntrack_kernel()
    ct = deleted(kernel)
    chain(kernel, TABLE, 3, int(ct.tuplehash[1].hnnode.address_of_().value_()))
    kernel.set(ct, {"tuplehash[1].hnnode.pprev": HASH})
    found = find("nf-conntrack-uninit-removal", removal(kernel, ct, HASH))
    assert check(found, "unhashed").holds is False
    assert found is not None
    assert found.verdict is Verdict.REFUTED


def test_removal_of_an_entry_with_a_time_is_refuted() -> None:
    kernel = conntrack_kernel()
    ct = deleted(kernel, timeout=(NOW - 500) & 0xFFFF_FFFF)
    found = find("nf-conntrack-uninit-removal", removal(kernel, ct, HASH))
    assert check(found, "timeout").holds is False
    assert found is not None
    assert found.verdict is Verdict.REFUTED


@pytest.mark.parametrize(
    ("timeout", "now", "word"),
    [
        (UDP_TIMEOUT, UDP_TIMEOUT - 100, "both a duration and a time"),
        (123_456_789, NOW, "neither a duration nor a time"),
    ],
)
def test_removal_where_the_clock_does_not_decide(timeout: int, now: int, word: str) -> None:
    kernel = conntrack_kernel()
    kernel.variable("jiffies", "unsigned long", now)
    ct = deleted(kernel, timeout=timeout)
    undecided = check(find("nf-conntrack-uninit-removal", removal(kernel, ct, HASH)), "timeout")
    assert undecided.holds is None
    assert word in (undecided.why_not or "")


@pytest.mark.parametrize("status", [0x008, 0x200, 0])
def test_removal_of_an_entry_of_another_status_is_refuted(status: int) -> None:
    kernel = conntrack_kernel()
    crash = removal(kernel, deleted(kernel, status=status), HASH)
    found = find("nf-conntrack-uninit-removal", crash)
    assert check(found, "status").holds is False
    assert found is not None
    assert found.verdict is Verdict.REFUTED


def test_removal_that_faulted_elsewhere_is_refuted() -> None:
    kernel = conntrack_kernel()
    crash = removal(kernel, deleted(kernel), HASH)
    assert crash.fault is not None
    crash.fault = replace(crash.fault, null_or_bad="ct->tuplehash[1].hnnode.next")
    assert check(find("nf-conntrack-uninit-removal", crash), "pprev").holds is False


def test_removal_with_the_entry_not_in_the_dump_is_open() -> None:
    kernel = conntrack_kernel()
    ct = deleted(kernel)
    crash = removal(kernel, ct, HASH)
    kernel.drop(ct.value_())
    found = find("nf-conntrack-uninit-removal", crash)
    assert found is not None
    assert found.verdict is Verdict.INCONCLUSIVE


# nf-confirm-cthelper-null

CTHELPER = "nf-confirm-cthelper-null"
FLAGS = 0x84


def helper_crash(
    offset: int = 16, helper: int = 0, extension: bool = True, address: int = FLAGS
) -> MadeCrash:
    """A read of ``helper->flags`` for an entry whose extension is at ``offset``, 0 for none."""
    kernel = modern_kernel()
    kernel.enum("nf_ct_ext_id", NF_CT_EXT_HELPER=0, NF_CT_EXT_NAT=1)
    kernel.struct("nf_conn_help", 16, ("helper", "struct nf_conntrack_helper *", 0))
    kernel.struct("nf_conntrack_helper", 0x90, ("flags", "unsigned int", FLAGS))
    room = kernel.allocate("struct nf_ct_ext", **{"offset[0]": offset})
    kernel.put(room.value_() + 16, helper.to_bytes(8, "little"))
    ct = udp_conntrack(kernel, status=0)
    kernel.set(ct, {"ext": room.value_() if extension else 0})
    crash = removal(kernel, ct, 0)
    assert crash.fault is not None
    held = address - FLAGS if address > FLAGS else 0
    crash.fault = replace(
        crash.fault, address=address, access="read", registers={"rdx": held, "r14": ct.value_()}
    )
    crash.faulting_function = "nf_confirm_cthelper.constprop.0"
    return crash


def test_no_helper_in_its_extension() -> None:
    found = find(CTHELPER, helper_crash())
    assert found is not None
    holding = {one.id for one in found.checks if one.holds}
    assert holding >= {"null", "flags", "extension", "no-helper"}
    assert check(found, "marked").holds is False
    # As above: without a slab allocator nothing is confirmed.
    assert check(found, "ct-object").holds is None
    assert found.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("crash", "failed"),
    [
        (helper_crash(helper=0xFFFF_8880_0010_0000), "no-helper"),
        (helper_crash(offset=0), "extension"),
        (helper_crash(extension=False), "extension"),
        (helper_crash(address=0x10), "flags"),
        (helper_crash(address=0xDEAD_0000_0000_0184), "null"),
    ],
)
def test_other_reads_of_a_helper_are_refuted(crash: MadeCrash, failed: str) -> None:
    found = find(CTHELPER, crash)
    assert check(found, failed).holds is False
    assert found is not None
    assert found.verdict is Verdict.REFUTED


def test_no_helper_text() -> None:
    log = REMOVAL.format(address="0" * 14 + "84")
    log = log.replace("__nf_ct_delete_from_lists", "nf_confirm_cthelper")
    log = log.replace("nf_ct_gc_expired", "nf_reinject")
    found = find(CTHELPER, from_text(log))
    assert found is not None
    assert found.verdict is Verdict.INCONCLUSIVE
    assert {one.id for one in found.checks if one.holds} == {"null", "reinjected"}
    assert find(CTHELPER, from_text(log.replace("nf_confirm_cthelper", "nf_nat_manip_pkt"))) is None


# nfqueue-backlog

FULL = "[ 9.1] nf_queue: full at 1024 entries, dropping packets(s)"


def queue_crash(waiting: int, entries: int, log: str = FULL) -> MadeCrash:
    kernel = modern_kernel()
    packets = [kernel.allocate("struct nf_queue_entry", id=n) for n in range(entries)]
    net = with_queue(kernel, *packets)
    (queue,) = for_each_queue(kernel.prog, net)
    kernel.set(queue, {"queue_total": waiting, "queue_maxlen": 10})
    return MadeCrash(target=empty().target, program=kernel.prog, log_=log)


def test_backlog_text_is_consistent() -> None:
    found = find("nfqueue-backlog", from_text(FULL))
    assert found is not None
    assert found.verdict is Verdict.INCONCLUSIVE
    assert {one.id for one in found.checks if one.holds} == {"message"}


@pytest.mark.parametrize("log", ["", "nf_conntrack: table full, dropping packet"])
def test_backlog_needs_a_sign(log: str) -> None:
    assert find("nfqueue-backlog", from_text(log)) is None


@pytest.mark.parametrize(("waiting", "holds"), [(10, True), (9, True), (8, False), (0, False)])
def test_backlog_is_nine_of_ten(waiting: int, holds: bool) -> None:
    found = find("nfqueue-backlog", queue_crash(waiting, waiting))
    assert check(found, "full").holds is holds
    assert check(found, "listed").holds is True
    assert found is not None
    # No tasks in this kernel: who listens cannot be told, so nothing is confirmed.
    assert found.verdict is (Verdict.INCONCLUSIVE if holds else Verdict.REFUTED)


def test_backlog_whose_list_is_shorter_than_its_counter_is_refuted() -> None:
    found = find("nfqueue-backlog", queue_crash(10, 2))
    assert check(found, "listed").holds is False


# nfqueue-truncate

TRUNCATED = """\
[   31.1] kernel BUG at net/core/skbuff.c:3090!
[   31.1] invalid opcode: 0000 [#1] PREEMPT SMP NOPTI
[   31.1] CPU: 1 PID: 151 Comm: queue Not tainted 5.15.0 #1
[   31.1] RIP: 0010:__skb_checksum+0x2d4/0x2e0
[   31.1] RAX: 0000000000000000 RBX: 00000000ffffffed RCX: 0000000000000000
[   31.1] Call Trace:
[   31.1]  __skb_checksum_complete+0x31/0xc0
[   31.1]  icmp_rcv+0x194/0x3a0
[   31.1]  nf_reinject+0x1c1/0x200
[   31.1]  nfqnl_recv_verdict+0x2a5/0x4f0 [nfnetlink_queue]
"""


def truncated_crash(
    length: int = -19, tail: int = 0xAA + 1, certainty: Certainty = Certainty.PROVED
) -> MadeCrash:
    """The BUG for an skb whose network header is at 0xaa, its transport header at 0xbe."""
    kernel = modern_kernel()
    skb = skb_with(kernel, GOLDEN_PACKET)
    kernel.set(skb, {"len": length, "tail": tail})
    given = Argument(
        name="skb",
        ctype="struct sk_buff *",
        value=skb.value_(),
        origin=Origin.SAVED_REGISTER,
        certainty=certainty,
        how="pushed",
        identity=None,
    )
    return MadeCrash(
        target=empty().target,
        program=kernel.prog,
        log_=TRUNCATED,
        oops=parse_oops(TRUNCATED),
        faulting_function="__skb_checksum",
        frames=(frame(0, "__skb_checksum"), frame(1, "icmp_rcv"), frame(2, "nfqnl_recv_verdict")),
        recovered={"icmp_rcv": ((given,), ())},
    )


def test_truncated_packet() -> None:
    found = find("nfqueue-truncate", truncated_crash())
    assert found is not None
    holding = {one.id for one in found.checks if one.holds}
    assert holding >= {"verdict", "length", "truncated", "linear"}
    # As above: without a slab allocator nothing is confirmed.
    assert check(found, "skb").holds is None
    assert found.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("length", "tail", "failed"), [(1, 0xAB, "length"), (-19, 0xBE, "truncated")]
)
def test_whole_packet_is_refuted(length: int, tail: int, failed: str) -> None:
    found = find("nfqueue-truncate", truncated_crash(length, tail))
    assert check(found, failed).holds is False
    assert found is not None
    assert found.verdict is Verdict.REFUTED


def test_an_skb_that_is_not_proved_decides_nothing() -> None:
    found = find("nfqueue-truncate", truncated_crash(1, 0xBE, Certainty.INFERRED))
    assert check(found, "length").holds is None


def test_truncated_text() -> None:
    found = find("nfqueue-truncate", from_text(TRUNCATED))
    assert found is not None
    assert found.verdict is Verdict.INCONCLUSIVE
    assert {one.id for one in found.checks if one.holds} == {"verdict"}
    elsewhere = TRUNCATED.replace("nfqnl_recv_verdict", "ip_rcv")
    assert find("nfqueue-truncate", from_text(elsewhere)) is None
