"""A network device cannot be removed: somebody keeps a reference to it.

netdev_run_todo() (net/core/dev.c) waits until only its own reference is left and
complains every ten seconds: "unregister_netdevice: waiting for X to become free". The
caller has let the RTNL go, but whoever destroys the namespace, or adds a device of that
name to it, waits along.

Recognised by: a task in that function, the device on the list in its stack frame,
unregistered, and more references than one in the device's counters. The message alone is
none: it stays in the log when the device is long gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from drgn import FaultError, Object, Program
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.percpu import per_cpu_ptr

from crashkit.crash import Crash
from crashkit.decode import decode_net_device
from crashkit.decode.conntrack_slab import CacheSlabs, find_slabs, skb_slabs
from crashkit.decode.fields import counter, has_member, naming
from crashkit.decode.net_device import REG_STATE_NAMES
from crashkit.decode.values import member_value, pointer_value
from crashkit.errors import Reason, Unavailable
from crashkit.finding import CheckSpec, Observation, necessary, seen, supporting
from crashkit.layout import offset_of
from crashkit.memory import bounded, is_kernel_address, read_bytes
from crashkit.recipe import Meta
from crashkit.symbols import find_symbol
from crashkit.unwind import Frame
from crashkit.value import Certainty, Origin, Reread, Value, facts

META = Meta(
    id="netdev-ref-leak",
    claim="a task waits for a network device that others still hold references to",
    references=("net/core/dev.c: netdev_run_todo(), netdev_wait_allrefs(), netdev_refcnt_read()",),
    matches=("recipe-netdev-ref-leak",),
    rejects=("recipe-netdev-ref-leak-lookalike",),
    told_apart_from=(
        "a device that went in the end: no task waits, only the message is left",
        "a device whose last reference is just being given back: the counters say one",
    ),
    advice="find what still names the device: routes, neighbours, sockets, packets, modules",
)

MAX_CPUS = 8192
MAX_DEVICES = 4096
MAX_STACK = 1 << 17

# netdev_wait_allrefs() became netdev_wait_allrefs_any() (net/core/dev.c), and is often inlined.
_WAITING = ("netdev_run_todo", "netdev_wait_allrefs_any", "netdev_wait_allrefs")
_MESSAGE = re.compile(
    r"unregister_netdevice: waiting for (\S{1,64}) to become free\. Usage count = (-?\d{1,10})"
)


@facts
class Message:
    """The last complaint of a log."""

    device: str
    count: int
    times: int
    """How often this device was complained about."""


def find_message(log: str) -> Message | None:
    """Find the last complaint about a device; None when there is none."""
    found = _MESSAGE.findall(log)
    if not found:
        return None
    name, count = found[-1]
    return Message(device=name, count=int(count), times=sum(f[0] == name for f in found))


def applies(crash: Crash) -> bool:
    """Whether the kernel complained about a device that does not go."""
    try:
        return find_message(crash.log) is not None
    except Unavailable:
        return False


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("message", "the kernel complained about a device", lambda: _said(scene))
    yield necessary("waits", "a task waits for that device", lambda: _waits(scene))
    yield necessary("state", "the device is unregistered, not freed", lambda: _state(scene))
    yield necessary("held", "others hold references to it", lambda: _held(scene))
    yield supporting("count", "as many as the last message says", lambda: _same_count(scene))
    yield supporting("skbs", "packets name it", lambda: _skbs(scene))
    yield supporting("routes", "IPv4 routes name it", lambda: _routes(scene))
    yield supporting("address", "its IPv4 or IPv6 side is still there", lambda: _protocols(scene))


@dataclass(frozen=True)
class _Waiter:
    # A task in netdev_run_todo(), and a device that is on its list.
    task: Object
    pid: int
    comm: str
    frame: Frame
    device: Object
    slot: int


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def message(self) -> Message:
        found = find_message(self.crash.log)
        if found is None:
            raise Unavailable("the message", Reason.NOT_IN_DUMP, "not in the log")
        return found

    @cached_property
    def looked_at(self) -> int:
        return len(self.crash.tasks())

    @cached_property
    def waiters(self) -> tuple[_Waiter, ...]:
        found = [waiter for task in self._tasks() for waiter in self._of(task)]
        if not found and any("the list of tasks" in limit.what for limit in self.crash.limits):
            raise Unavailable("the waiting task", Reason.NOT_IN_DUMP, "not all tasks are known")
        return tuple(found)

    def _tasks(self) -> Iterator[Object]:
        # Those whose stack holds an address in a waiting function; only they are walked.
        prog = self.crash.prog
        found = [find_symbol(prog, name) for name in _WAITING]
        ranges = [(symbol.address, symbol.address + symbol.size) for symbol in found if symbol]
        if not ranges:
            raise Unavailable("netdev_run_todo()", Reason.NO_DEBUGINFO, "no symbol")
        for task in self.crash.tasks():
            if not task.stack:
                continue  # dead, and not yet reaped
            words = memoryview(_stack(prog, task)).cast("Q")
            if any(start < word < end for word in words for start, end in ranges):
                yield task

    def _of(self, task: Object) -> Iterator[_Waiter]:
        # A task that may wait, for we know not what, leaves the question open.
        stack = self.crash.stack_of(task)
        thread = stack.thread
        frames = [f for f in stack.frames if f.function in _WAITING and not f.inlined]
        if not frames and stack.reason is not None:
            raise Unavailable(f"the stack of PID {thread.pid}", stack.reason, stack.end)
        found = [
            _Waiter(task, thread.pid or 0, thread.comm or "?", frame, device, slot)
            for frame in frames
            for device, slot in _listed(self.crash.prog, frame)
        ]
        if frames and not found:
            what = f"what PID {thread.pid} waits for"
            raise Unavailable(what, Reason.NOT_SAVED, f"no list in {frames[-1].function}'s frame")
        yield from found

    @cached_property
    def waiter(self) -> _Waiter:
        name = self.message.device
        for waiter in self.waiters:
            if decode_net_device(waiter.device).name == name:
                return waiter
        raise Unavailable("the device", Reason.NOT_APPLICABLE, f"no task waits for {name}")

    def device(self) -> Object:
        return self.waiter.device

    @cached_property
    def references(self) -> int:
        return references_of(self.device())


def _stack(prog: Program, task: Object) -> bytes:
    size = int(prog["THREAD_SIZE"])
    if not 0 < size <= MAX_STACK:
        raise Unavailable("kernel stacks", Reason.CORRUPTED, f"of {size} bytes")
    return read_bytes(prog, int(task.stack), size, "a task's stack")


def _listed(prog: Program, frame: Frame) -> Iterator[tuple[Object, int]]:
    # The list head is a variable of netdev_run_todo(): the word of its frame whose list
    # comes back to it, through devices.
    if frame.cfa is None or not 0 < frame.cfa - frame.sp <= MAX_STACK:
        return
    place = offset_of(prog.type("struct net_device"), "todo_list")
    for slot in range(frame.sp, frame.cfa - 8, 8):
        try:
            nodes = _nodes(prog, slot)
        except (FaultError, Unavailable):
            continue  # no list head
        yield from ((Object(prog, "struct net_device *", node - place), slot) for node in nodes)


def _nodes(prog: Program, head: int) -> list[int]:
    # The nodes of the list at ``head``, each of which must point back.
    def at(address: int) -> Object:
        return Object(prog, "struct list_head", address=address)

    nodes: list[int] = []
    node, before = int(at(head).next), head
    while node != head:
        if not is_kernel_address(node) or int(at(node).prev) != before:
            raise Unavailable("a list", Reason.CORRUPTED)
        if len(nodes) >= MAX_DEVICES:
            raise Unavailable("a list", Reason.BUDGET, f"more than {MAX_DEVICES} nodes")
        nodes.append(node)
        node, before = int(at(node).next), node
    if int(at(head).prev) != before:
        raise Unavailable("a list", Reason.CORRUPTED)
    return nodes


def references_of(device: Object) -> int:
    """Add up a device's references, signed as netdev_refcnt_read() does.

    :param device: ``struct net_device *``
    :raises Unavailable: a CPU's counter is not in the dump
    """
    with naming("the device's references"):
        if not has_member(device, "pcpu_refcnt"):
            return counter(device.dev_refcnt)
        cpus = bounded(for_each_possible_cpu(device.prog_), MAX_CPUS, "possible CPUs")
        return sum(int(per_cpu_ptr(device.pcpu_refcnt, cpu)[0]) for cpu in cpus)


def are_held(references: int, *, own_is_counted: bool) -> bool:
    """Whether somebody else than the core holds references.

    alloc_netdev_mqs() takes one for the core itself (net/core/dev.c); old kernels took none.

    :param own_is_counted: known to be so; else one reference decides nothing
    :raises Unavailable: one reference, and nobody knows whose
    """
    if references == 1 and not own_is_counted:
        raise Unavailable("holders", Reason.AMBIGUOUS, "one reference, perhaps the core's own")
    return references > 1


def _said(scene: _Scene) -> Observation:
    said = scene.message
    value = Value(
        name="waiting for",
        value=said.device,
        origin=Origin.TEXT,
        reread=Reread(crash="log | grep unregister_netdevice", crashkit="crash.log"),
    )
    return seen(
        True,
        value,
        note=f"{said.times} time{'s' * (said.times > 1)}, last with usage count {said.count}",
    )


def _waits(scene: _Scene) -> Observation:
    name = scene.message.device
    for waiter in scene.waiters:
        if decode_net_device(waiter.device).name != name:
            continue
        task = Value(
            name="task",
            value=int(waiter.task),
            origin=Origin.MEMORY,
            ctype="struct task_struct *",
            identity=f"{waiter.comm} ({waiter.pid})",
            reread=Reread(crash=f"bt {waiter.pid}", crashkit=f"crash.stack_of({waiter.pid})"),
        )
        device = pointer_value("dev", waiter.device, Origin.MEMORY, Certainty.PROVED)
        note = f"{waiter.comm} ({waiter.pid}) in {waiter.frame.function}, list at {waiter.slot:x}"
        return seen(True, task, device, note=note)
    value = Value(
        name="tasks looked at",
        value=scene.looked_at,
        origin=Origin.MEMORY,
        reread=Reread(crash="foreach bt | grep netdev_run_todo", crashkit="crash.all_stacks()"),
    )
    return seen(False, value, note=f"none of them waits for {name} now")


def _state(scene: _Scene) -> Observation:
    state = int(scene.device().reg_state)
    value = member_value("dev->reg_state", scene.device(), "reg_state", state)
    unregistered = int(scene.crash.prog.constant("NETREG_UNREGISTERED"))
    return seen(state == unregistered, value, note=REG_STATE_NAMES.get(state, "?"))


def _held(scene: _Scene) -> Observation:
    # Trackers of references (4d92b95ff2f9 "net: add net device refcount tracker infrastructure",
    # in v5.17) came when the core's own was counted already.
    counted = has_member(scene.device(), "dev_registered_tracker")
    held = are_held(scene.references, own_is_counted=counted)
    own = " one of them the core's own" if counted else ""
    return seen(held, _references(scene), note=f"{scene.references} references,{own}".rstrip(","))


def _references(scene: _Scene) -> Value:
    member = "pcpu_refcnt" if has_member(scene.device(), "pcpu_refcnt") else "dev_refcnt"
    return member_value(f"sum of dev->{member}", scene.device(), member, scene.references)


def _same_count(scene: _Scene) -> Observation:
    said = scene.message.count
    note = f"the message says {said}"
    return seen(scene.references == said, _references(scene), note=note)


def _skbs(scene: _Scene) -> Observation:
    found = []
    for slabs in skb_slabs(scene.crash.prog):
        found += _naming(slabs, scene, "struct sk_buff", "dev")
    return _named(scene, found, "struct sk_buff", "dev")


def _routes(scene: _Scene) -> Observation:
    prog = scene.crash.prog
    with naming("ipv4_dst_ops"):
        cache = int(prog["ipv4_dst_ops"].kmem_cachep)
    slabs = find_slabs(prog, (cache,))[cache]
    found = _naming(slabs, scene, "struct rtable", "dst.dev")
    return _named(scene, found, "struct rtable", "dst.dev")


def _naming(slabs: CacheSlabs, scene: _Scene, ctype: str, member: str) -> list[int]:
    # Allocated objects whose member points to the device.
    offset = offset_of(scene.crash.prog.type(ctype), member)
    needle = int(scene.device()).to_bytes(8, "little")
    return [
        address
        for address, data in slabs.objects()
        if data[offset : offset + 8] == needle and not slabs.is_free(address)
    ]


def _named(scene: _Scene, found: list[int], ctype: str, member: str) -> Observation:
    values = [
        member_value(f"->{member}", Object(scene.crash.prog, f"{ctype} *", address), member, device)
        for device, address in ((int(scene.device()), address) for address in found[:8])
    ]
    if not values:
        device = pointer_value("looked for", scene.device(), Origin.MEMORY, Certainty.PROVED)
        return seen(False, device, note="none")
    shown = ", ".join(f"{address:016x}" for address in found[:8])
    return seen(True, *values, note=f"{len(found)}: {shown}")


def _protocols(scene: _Scene) -> Observation:
    device, left, values = scene.device(), [], []
    for member, name in (("ip_ptr", "IPv4"), ("ip6_ptr", "IPv6")):
        if not has_member(device, member):
            continue
        pointer = int(device.member_(member))
        values.append(member_value(f"dev->{member}", device, member, pointer))
        left += [name] if pointer else []
    if not values:
        raise Unavailable("ip_ptr", Reason.NOT_APPLICABLE, "a kernel without IP")
    return seen(bool(left), *values, note=" and ".join(left) or "both gone")
