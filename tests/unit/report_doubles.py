"""A crash made by hand, shaped like crashkit.crash.Crash: the seed's, an empty, a hostile one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

from drgn import Architecture, Object, Platform, Program

from crashkit.arguments import Argument, MissingArgument
from crashkit.crash import (
    Banner,
    Crash,
    DebugInfo,
    FoldedStack,
    FoundObject,
    Limit,
    Stack,
    Thread,
)
from crashkit.errors import Reason, Unavailable
from crashkit.fault.model import Diagnosis, Fault, Link, Step
from crashkit.oops import Oops, parse_oops
from crashkit.target import Target
from crashkit.unwind import Frame, Segment
from crashkit.value import Certainty, Origin

CT = 0xFFFF893CA41E5140
WINNER = 0xFFFF893C7FC96B40
SKB = 0xFFFF893C9491A500
INIT_NET = 0xFFFFFFFFA0315E40

SEED_LOG = """\
[92957.332974] BUG: unable to handle kernel NULL pointer dereference at 0000000000000a30
[92957.332981] IP: [<ffffffffc086077d>] nf_ct_deliver_cached_events+0x2d/0x110 [nf_conntrack]
[92957.333112] CPU: 1 PID: 5027 Comm: Verdict3 Kdump: loaded \
Tainted: G           OE  ------------ T 3.10.0-1160.el7.x86_64 #1
[92957.333114] Hardware name: VMware, Inc. VMware Virtual Platform
[92957.333116] task: ffff893cad135280 ti: ffff893c4f524000 task.ti: ffff893c4f524000
[92957.333118] RIP: 0010:[<ffffffffc086077d>]  [<ffffffffc086077d>] \
nf_ct_deliver_cached_events+0x2d/0x110 [nf_conntrack]
[92957.333125] RSP: 0018:ffff893c4f527810  EFLAGS: 00010246
[92957.333127] RAX: 0000000000000000 RBX: ffff893ca41e5140 RCX: ffffffffa035de80
[92957.333128] RDX: ffff893c4f527fd8 RSI: 0000000000000200 RDI: ffff893ca41e5140
[92957.333130] RBP: ffff893c4f527850 R08: 0000000000000000 R09: ffff893ca41e5178
[92957.333138] CR2: 0000000000000a30 CR3: 000000007fda4000 CR4: 00000000001607e0
[92957.333202] Call Trace:
[92957.333221]  [<ffffffffc08372ce>] ipv4_confirm+0x4e/0x100 [nf_conntrack_ipv4]
[92957.333227]  [<ffffffff9fc94e38>] nf_iterate+0x98/0xe0
[92957.333231]  [<ffffffff9fc96240>] nf_reinject+0x160/0x1b0
[92957.333239]  [<ffffffffc0a48566>] nfqnl_recv_verdict+0x216/0x310 [nfnetlink_queue]
[92957.333244]  [<ffffffff9f9b4716>] ? nla_parse+0xb6/0x120
[92957.333247]  [<ffffffffc09b03a2>] nfnetlink_rcv_msg+0x162/0x270 [nfnetlink]
"""


@dataclass
class FakeCrash:
    """The parts of a Crash that the report, the recipes and the command line ask for."""

    target: Target
    types: str = "btf"
    debuginfo: tuple[DebugInfo, ...] = ()
    banner_: Banner | None = None
    log_: str | None = None
    oops: Oops | None = None
    thread: Thread = field(
        default_factory=lambda: Thread(
            cpu=None,
            pid=None,
            comm=None,
            task=None,
            context=None,
            absent=dict.fromkeys(("cpu", "pid", "comm", "task", "context"), Reason.NO_DEBUGINFO),
        )
    )
    frames: tuple[Frame, ...] = ()
    fault_frame: Frame | None = None
    faulting_function: str | None = None
    fault: Fault | None = None
    objects: tuple[FoundObject, ...] = ()
    limits: tuple[Limit, ...] = ()
    warnings: tuple[str, ...] = ()
    timing: dict[str, float] = field(default_factory=dict)
    recovered: Mapping[str, tuple[tuple[Argument, ...], tuple[MissingArgument, ...]]] = field(
        default_factory=dict
    )

    @property
    def banner(self) -> Banner:
        return self.banner_ if self.banner_ is not None else unavailable("the banner")

    @property
    def log(self) -> str:
        return self.log_ if self.log_ is not None else unavailable("the kernel log")

    @property
    def prog(self) -> object:
        return (
            unavailable("memory")
            if self.target.format == "text"
            else Program(Platform(Architecture.X86_64))
        )

    def lacks(self, what: str, missing: Unavailable, remedy: str) -> None:
        """Sections of panic.facts read the empty program; ``limits`` are the test's own."""

    @property
    def outer_frames(self) -> tuple[Frame, ...]:
        return self.frames

    def tasks(self) -> tuple[Object, ...]:
        unavailable("the tasks")

    def arguments(self, frame: Frame) -> tuple[tuple[Argument, ...], tuple[MissingArgument, ...]]:
        return self.recovered.get(frame.function or "", ((), ()))

    @property
    def crashed_stack(self) -> Stack:
        return Stack(thread=self.thread, running=True, frames=self.frames, end="user space")

    def cpu_stacks(self) -> tuple[Stack, ...]:
        return (self.crashed_stack, self.crashed_stack)

    def stack_of(self, pid: int) -> Stack:
        return self.crashed_stack if pid == self.thread.pid else unavailable(f"PID {pid}")

    def stack_on(self, cpu: int) -> Stack:
        return self.crashed_stack if cpu == self.thread.cpu else unavailable(f"CPU {cpu}")

    def all_stacks(self) -> tuple[FoldedStack, ...]:
        return (FoldedStack(stacks=(self.crashed_stack,) * 3),)

    def stack_words(self, stack: Stack, position: int) -> tuple[tuple[int, int | None], ...]:
        return ((0xFFFF893C4F527800, 0x57AC6E9D), (0xFFFF893C4F527808, None))

    def has_frame(self, function: str) -> bool:
        return any(frame.function == function for frame in self.frames)

    def close(self) -> None:
        pass

    def __enter__(self) -> FakeCrash:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def unavailable(what: str) -> NoReturn:
    raise Unavailable(what, Reason.NOT_IN_DUMP, "filtered")


def as_crash(fake: FakeCrash) -> Crash:
    return cast(Crash, fake)


def frame(index: int, function: str | None, offset: int | None = 0, **more: Any) -> Frame:
    given: dict[str, Any] = {
        "pc": 0xFFFFFFFF9FC00000 + index,
        "sp": 0xFFFF893C4F527800 + 8 * index,
        "slot": None,
        "cfa": None,
        "size": 0x100,
        "module": None,
        "segment": Segment.TASK,
        **more,
    }
    return Frame(index=index, function=function, offset=offset, **given)


def empty(**more: Any) -> FakeCrash:
    """A dump of which nothing could be read."""
    return FakeCrash(target=Target(path="/dumps/vmcore", format="kdump"), types="none", **more)


def seed() -> FakeCrash:
    """The crash of the seed article, with the dump at hand."""
    return FakeCrash(
        target=Target(
            path="/dumps/vmcore",
            format="kdump",
            compression="lzo",
            arch="x86_64",
            release="3.10.0-1160.el7.x86_64",
            dump_level=31,
        ),
        types="dwarf",
        debuginfo=(DebugInfo(module="vmlinux", status="found", path="/usr/lib/debug/vmlinux"),),
        banner_=Banner(
            kernel="/usr/lib/debug/vmlinux",
            dumpfile="vmcore",
            cpus=4,
            crash_time=1660000000,
            uptime_s=92957.0,
            nodename="node",
            release="3.10.0-1160.el7.x86_64",
            version="#1 SMP Mon Oct 19 16:18:59 UTC 2020",
            taint=("O", "E"),
        ),
        log_=SEED_LOG,
        oops=parse_oops(SEED_LOG),
        thread=Thread(
            cpu=1, pid=5027, comm="Verdict3", task=0xFFFF893CAD135280, context="process"
        ),
        frames=_seed_frames(),
        fault=_seed_fault(),
        objects=(_seed_skb(), _seed_packet()),
        recovered={
            "nf_ct_deliver_cached_events": ((_argument("ct", "struct nf_conn *", CT),), ()),
            "nf_iterate": (
                (_argument("skb", "struct sk_buff *", SKB, Certainty.INFERRED),),
                (MissingArgument(name="state", ctype="struct nf_hook_state *",
                                 reason=Reason.OPTIMIZED_OUT),),
            ),
        },
        timing={"open": 0.1},
    )  # fmt: skip


def _argument(
    name: str, ctype: str, value: int, certainty: Certainty = Certainty.PROVED
) -> Argument:
    return Argument(
        name=name,
        ctype=ctype,
        value=value,
        origin=Origin.SAVED_REGISTER,
        certainty=certainty,
        how=f"{name} was pushed",
        identity="slab object",
    )


def _seed_frames() -> tuple[Frame, ...]:
    inner = ("machine_kexec", "__crash_kexec", "crash_kexec", "oops_end", "no_context",
             "__bad_area_nosemaphore", "bad_area", "__do_page_fault", "do_page_fault",
             "page_fault")  # fmt: skip
    outer = ((10, "ipv4_confirm", 0x4E, "nf_conntrack_ipv4"), (11, "nf_iterate", 0x98, None),
             (12, "nf_reinject", 0x160, None), (13, "nfqnl_recv_verdict", 0x216, "nfnetlink_queue"),
             (14, "nfnetlink_rcv_msg", 0x162, "nfnetlink"), (15, "netlink_rcv_skb", 0xAB, None),
             (16, "nfnetlink_rcv", 0x28F, "nfnetlink"), (17, "netlink_unicast", 0x170, None),
             (18, "netlink_sendmsg", 0x308, None), (19, "sock_sendmsg", 0xB6, None))  # fmt: skip
    fault = frame(
        9,
        "nf_ct_deliver_cached_events",
        0x2D,
        module="nf_conntrack",
        interrupted=True,
        exception="page_fault",
        pc=0xFFFFFFFFC086077D,
    )
    return (
        *(frame(index, name, 0x10) for index, name in enumerate(inner)),
        fault,
        *(frame(i, name, offset, module=module) for i, name, offset, module in outer),
    )


def _seed_fault() -> Fault:
    event_cb = "ct->ct_net->ct.nf_conntrack_event_cb"
    chain = (
        Link(
            expression="ct",
            ctype="struct nf_conn *",
            value=CT,
            origin=Origin.REGISTER,
            certainty=Certainty.PROVED,
            register="rdi",
            identity="slab object nf_conntrack",
        ),
        Link(
            expression="ct->ct_net",
            ctype="struct net *",
            value=0,
            origin=Origin.REGISTER,
            certainty=Certainty.PROVED,
            register="rax",
            now=INIT_NET,
            now_identity="init_net",
        ),
    )
    steps = (
        Step(address=None, offset=0x10, instruction="mov %rdi,%rbx", expression="ct", value=CT),
        Step(
            address=None,
            offset=0x26,
            instruction="mov 0xf0(%rdi),%rax",
            expression="ct->ct_net",
            value=0,
            now=INIT_NET,
        ),
        Step(
            address=None,
            offset=0x2D,
            instruction="mov 0xa30(%rax),%rdx",
            expression=event_cb,
            trapping=True,
        ),
    )
    return Fault(
        ip=0xFFFFFFFFC086077D,
        symbol="nf_ct_deliver_cached_events",
        offset=0x2D,
        size=0x110,
        module="nf_conntrack",
        source=None,
        instruction="mov 0xa30(%rax),%rdx",
        access="read",
        address=0xA30,
        bad_register="rax",
        expression=event_cb,
        null_or_bad="ct->ct_net",
        alternatives=(),
        certainty=Certainty.PROVED,
        diagnosis=Diagnosis(kind="null", statement="ct->ct_net is NULL"),
        chain=chain,
        steps=steps,
        memory_disagrees=True,
        registers={"rax": 0, "rdi": CT, "rbx": CT, "r13": SKB},
        conflict=None,
        absent={},
        why={},
    )


def _seed_skb() -> FoundObject:
    return FoundObject(
        kind="sk_buff",
        address=SKB,
        found_by="R13, pushed by nf_iterate",
        facts={"device_name": "ens192", "conntrack": WINNER, "nr_frags": None,
               "absent": {"nr_frags": Reason.NOT_IN_DUMP}},
    )  # fmt: skip


def _seed_packet() -> FoundObject:
    return FoundObject(
        kind="packet",
        address=SKB,
        found_by="the skb's network header",
        facts={
            "ip": {"source": "10.76.59.158", "destination": "10.76.59.115", "total_length": 102,
                   "ttl": 64, "identification": 0x9720, "protocol": 17, "checksum": "valid"},
            "transport": {"source_port": None, "destination_port": 4789},
            "protocol_name": "udp",
        },
    )  # fmt: skip


EVIL = "\x1b[2J\x1b]0;owned\x07\x00\u202e'\"\r\n\t\udcff"


def hostile() -> FakeCrash:
    """A crash whose every text is under an attacker's hand."""
    crash = seed()
    log = f"[    1.0] BUG: kernel NULL pointer dereference, address: {EVIL}\n" + EVIL * 50
    crash.oops = parse_oops(log)
    crash.log_ = log
    crash.thread = Thread(cpu=1, pid=1, comm=EVIL, task=CT, context="process")
    crash.frames = (frame(0, EVIL, 1, module=EVIL, interrupted=True), frame(1, None, None))
    crash.objects = (FoundObject(kind=EVIL, address=CT, found_by=EVIL, facts={EVIL: [EVIL]}),)
    crash.warnings = (EVIL,)
    crash.limits = (Limit(what=EVIL, reason=Reason.CORRUPTED, remedy=EVIL),)
    crash.recovered = {EVIL: ((_argument(EVIL, EVIL, CT),), ())}
    crash.fault = None
    return crash


def raising(error: Exception) -> Callable[..., NoReturn]:
    def call(*_: object) -> NoReturn:
        raise error

    return call
