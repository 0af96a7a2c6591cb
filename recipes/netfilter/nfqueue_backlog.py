"""A full NFQUEUE that nobody serves.

A packet that meets an NFQUEUE rule waits until a program gives its verdict. When as many wait as
the queue may hold, the kernel drops every further one. Nothing crashes; a person takes the dump.

Recognised by: a queue at its limit, and no task that both has the listener's socket open and runs
or is ready to run.

Told apart from: a queue that was full and has been served since, and a full one whose listener is
at work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property

from drgn import Object, cast
from drgn.helpers.linux.fs import for_each_file

from crashkit.crash import Crash
from crashkit.crash.tasks import list_tasks
from crashkit.decode import QueueInstance, for_each_queue_entry, queue_instances
from crashkit.decode.fields import has_member, member, naming, net_pointer, text_at
from crashkit.decode.netns import namespaces
from crashkit.decode.values import member_value
from crashkit.errors import Reason, Unavailable
from crashkit.finding import CheckSpec, Observation, necessary, seen, supporting
from crashkit.memory import bounded
from crashkit.recipe import Meta
from crashkit.symbols import find_symbol
from crashkit.value import Origin, Reread, Value, facts

META = Meta(
    id="nfqueue-backlog",
    claim=(
        "an nfnetlink queue holds as many packets as it may, and no task that has its listener's"
        " socket open runs or is ready to run"
    ),
    references=(
        "net/netfilter/nfnetlink_queue.c: __nfqnl_enqueue_packet(), queue_maxlen",
        "libnetfilter_queue: NFQA_CFG_QUEUE_MAXLEN, NFQA_CFG_F_FAIL_OPEN",
    ),
    matches=("recipe-nfqueue-backlog",),
    rejects=("recipe-nfqueue-backlog-lookalike", "recipe-nfqueue-backlog-lookalike-working"),
    told_apart_from=(
        "a queue that was full before: it is short now",
        "more packets than a listener can serve: it runs, or is ready to",
    ),
    advice=(
        "continue or restart the listener; the rule's --queue-bypass lets packets pass where there"
        " is no listener, the listener's flag NFQA_CFG_F_FAIL_OPEN where the queue is full"
    ),
    history=(
        "packets came in, and no verdict was given on them",
        "the queue filled up; further packets were dropped, and their connections wait",
    ),
)

_MESSAGE = re.compile(r"nf_queue: full at (\d+) entries")
_AF_NETLINK = 16
_NETLINK_NETFILTER = 12
# include/linux/socket.h, include/uapi/linux/netlink.h
_STATE_MEMBERS = ("__state", "state")
# __state since Linux kernel commit 2f064a59a11f ("sched: Change task_struct::state") (in v5.14)
_MAX_FILES = 1_000_000
# Descriptors of one task; more than a table this long is none.
_STATES = {1: "asleep", 2: "in uninterruptible sleep", 4: "stopped", 8: "traced"}
# TASK_... (include/linux/sched.h); 0 is TASK_RUNNING: on a CPU, or ready for one.


@facts
class _Queue:
    # A queue and the namespace it belongs to, struct net *.
    facts: QueueInstance
    net: int

    @property
    def crowded(self) -> bool:
        waiting, most = self.facts.waiting, self.facts.maximum
        return bool(waiting and most and 10 * waiting >= 9 * most)

    def instance(self, crash: Crash) -> Object:
        # struct nfqnl_instance *
        return Object(crash.prog, "struct nfqnl_instance *", self.facts.address)


@facts
class _Owner:
    # A task that has the listener's socket open.
    task: Object
    socket: Object
    state: int
    words: str

    @property
    def ready(self) -> bool:
        return self.state == 0


def applies(crash: Crash) -> bool:
    """Whether a queue is near its limit, or the log says that one was."""
    if _message(crash) is not None:
        return True
    if crash.target.format == "text" or find_symbol(crash.prog, "nfnl_queue_net_id") is None:
        return False
    try:
        return any(queue.crowded for queue in _queues(crash))
    except Unavailable as missing:
        if missing.reason is Reason.NO_DEBUGINFO:
            return False  # no types: nothing but the log can complain
        raise


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("full", "a queue holds 9 of 10 packets it may", lambda: _is_full(scene))
    yield necessary("listed", "its packets are on its list", lambda: _is_listed(scene))
    yield necessary(
        "unattended", "no task with its listener's socket runs", lambda: _is_unattended(scene)
    )
    yield supporting("dropped", "packets were dropped for it", lambda: _has_dropped(scene))
    yield supporting("unread", "its listener's socket has messages", lambda: _has_unread(scene))
    yield supporting("message", "the log says that a queue is full", lambda: _was_told(crash))


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def queue(self) -> _Queue:
        # A crowded queue that nobody serves, else a crowded one, else the fullest.
        queues = sorted(_queues(self.crash), key=lambda q: q.facts.waiting or 0, reverse=True)
        if not queues:
            raise Unavailable("a queue", Reason.NOT_APPLICABLE, "no program listens on one")
        crowded = [queue for queue in queues if queue.crowded]
        if len(crowded) > 1:
            crowded.sort(key=lambda queue: _is_attended(self.owners_of(queue)))
        return (crowded or queues)[0]

    @cached_property
    def instance(self) -> Object:
        return self.queue.instance(self.crash)

    @cached_property
    def owners(self) -> tuple[_Owner, ...]:
        return self.owners_of(self.queue)

    def owners_of(self, queue: _Queue) -> tuple[_Owner, ...]:
        if queue.facts.peer_port is None:
            raise queue.facts.absent["peer_port"]
        held = self._netlink_sockets.get((queue.net, queue.facts.peer_port), ())
        return tuple(_owner(task, socket) for task, socket in held)

    @cached_property
    def _netlink_sockets(self) -> dict[tuple[int, int], list[tuple[Object, Object]]]:
        # (net, port) to each task that has a socket of it open, and the struct sock *.
        found: dict[tuple[int, int], list[tuple[Object, Object]]] = {}
        operations = find_symbol(self.crash.prog, "socket_file_ops")
        if operations is None:
            raise Unavailable("open sockets", Reason.NO_DEBUGINFO, "no symbol socket_file_ops")
        tasks = list_tasks(self.crash.prog)
        if tasks.problem is not None:
            raise tasks.problem  # a task that is not known may be the listener
        with naming("open files"):
            for task in tasks.found.values():
                files = bounded(for_each_file(task), _MAX_FILES, "open files")
                for _descriptor, file in files:
                    if file and int(file.f_op) == operations.address:
                        _note_socket(found, task, file)
        return found


def _note_socket(
    found: dict[tuple[int, int], list[tuple[Object, Object]]], task: Object, file: Object
) -> None:
    socket = cast("struct socket *", file.private_data).sk.read_()
    if not socket:
        return
    common = member(socket, "__sk_common")
    family, protocol = int(common.skc_family), int(socket.sk_protocol)
    if (family, protocol) != (_AF_NETLINK, _NETLINK_NETFILTER):
        return
    netlink = cast("struct netlink_sock *", socket)
    # portid since Linux kernel commit 15e473046cb6 ("netlink: Rename pid to portid to
    # avoid confusion") (in v3.7)
    key = (net_pointer(common.skc_net), int(member(netlink, "portid", "pid")))
    found.setdefault(key, []).append((task, socket))


def _owner(task: Object, socket: Object) -> _Owner:
    with naming("state of a listener"):
        name = text_at(task.prog_, int(task.comm.address_of_()), 16)
        state = int(member(task, *_STATE_MEMBERS))
        words = ", ".join(word for bit, word in _STATES.items() if state & bit)
        if not state:
            words = "running or ready to run"
        told = f"PID {int(task.pid)} {name} is {words or f'in state {state:#x}'}"
        return _Owner(task=task, socket=socket, state=state, words=told)


def _is_attended(owners: tuple[_Owner, ...]) -> bool:
    return any(owner.ready for owner in owners)


def _queues(crash: Crash) -> list[_Queue]:
    return [
        _Queue(facts=facts, net=int(net))
        for net in namespaces(crash.prog)
        for facts in queue_instances(crash.prog, net)
    ]


def _message(crash: Crash) -> str | None:
    try:
        said = _MESSAGE.search(crash.log)
        return said.group() if said else None
    except Unavailable:
        return None  # a lost log does not complain


def _number(scene: _Scene, name: str, path: str, value: int | None) -> Value:
    if value is None:
        raise scene.queue.facts.absent[name]
    return member_value(path, scene.instance, path, value)


def _is_full(scene: _Scene) -> Observation:
    facts = scene.queue.facts
    waiting = _number(scene, "waiting", "queue_total", facts.waiting)
    most = _number(scene, "maximum", "queue_maxlen", facts.maximum)
    note = f"queue {facts.queue_number}: {facts.waiting} of {facts.maximum}"
    return seen(scene.queue.crowded, waiting, most, note=note)


def _is_listed(scene: _Scene) -> Observation:
    entries = sum(1 for _entry in for_each_queue_entry(scene.instance))
    again = Reread(
        crash=f"list -h {int(scene.instance.queue_list.address_of_()):016x} | wc -l",
        crashkit=f"len(list(for_each_queue_entry({_shown(scene.instance)})))",
    )
    value = Value(
        name="entries of queue_list",
        value=entries,
        origin=Origin.MEMORY,
        address=int(scene.instance),
        reread=again,
    )
    waiting = _number(scene, "waiting", "queue_total", scene.queue.facts.waiting)
    return seen(entries == scene.queue.facts.waiting, value, waiting)


def _shown(instance: Object) -> str:
    return f"Object(prog, 'struct nfqnl_instance *', {int(instance):#x})"


def _is_unattended(scene: _Scene) -> Observation:
    facts = scene.queue.facts
    port = _number(scene, "peer_port", "peer_portid", facts.peer_port)
    owners = scene.owners
    shown = (_state_value(owner) for owner in owners)
    note = "; ".join(owner.words for owner in owners) or "no task has its socket"
    return seen(not _is_attended(owners), port, *shown, note=note)


def _state_value(owner: _Owner) -> Value:
    name = next(one for one in _STATE_MEMBERS if has_member(owner.task, one))
    return member_value(f"state of PID {int(owner.task.pid)}", owner.task, name, owner.state)


def _has_dropped(scene: _Scene) -> Observation:
    facts = scene.queue.facts
    full = _number(scene, "dropped", "queue_dropped", facts.dropped)
    unsent = _number(scene, "user_dropped", "queue_user_dropped", facts.user_dropped)
    return seen(bool(facts.dropped or facts.user_dropped), full, unsent)


def _has_unread(scene: _Scene) -> Observation:
    if not scene.owners:
        raise Unavailable("the listener's socket", Reason.NOT_APPLICABLE, "no task has it open")
    socket = scene.owners[0].socket
    path = "sk_backlog.rmem_alloc.counter"
    waiting = int(socket.sk_backlog.rmem_alloc.counter)
    value = member_value("sk_rmem_alloc", socket, path, waiting)
    return seen(waiting > 0, value, note=f"{waiting} bytes to read")


def _was_told(crash: Crash) -> Observation:
    said = _message(crash)
    words = said or "no such line"
    return seen(said is not None, Value(name="log", value=words, origin=Origin.TEXT))
