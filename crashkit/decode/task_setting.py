"""Where a task ran: its program, parents, cgroup, namespaces and container."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import TypeVar

from drgn import Object, Program
from drgn.helpers.linux.cgroup import cgroup_path
from drgn.helpers.linux.fs import d_path
from drgn.helpers.linux.mm import cmdline

from crashkit.decode.fields import has_member, naming, printable
from crashkit.errors import Reason, Unavailable
from crashkit.memory import BROKEN_WALK, bounded
from crashkit.value import facts

T = TypeVar("T")

MAX_PARENTS = 32
MAX_ARGUMENTS = 256
_KTHREAD = 0x0020_0000  # include/linux/sched.h: PF_KTHREAD
_NAMESPACES = (
    ("mnt", "mnt_ns"),
    ("uts", "uts_ns"),
    ("ipc", "ipc_ns"),
    ("net", "net_ns"),
    ("cgroup", "cgroup_ns"),
    ("time", "time_ns"),
)
_ID = r"(?P<id>[0-9a-f]{12,64})"
# How container engines name the cgroups they make.
_CONTAINERS = (
    ("docker", re.compile(rf"/docker[/-]{_ID}(?:\.scope)?(?:/|$)")),
    ("containerd", re.compile(rf"/cri-containerd-{_ID}\.scope(?:/|$)")),
    ("cri-o", re.compile(rf"/crio-{_ID}(?:\.scope)?(?:/|$)")),
    ("podman", re.compile(rf"/libpod-{_ID}(?:\.scope)?(?:/|$)")),
    ("kubernetes", re.compile(rf"/kubepods[^/]*/(?:[^/]+/)*?(?:pod[\w-]+/)?{_ID}(?:/|$)")),
    ("lxc", re.compile(r"/lxc(?:\.payload)?[./](?P<id>[\w.-]+)(?:/|$)")),
    ("systemd-nspawn", re.compile(r"/machine\.slice/(?P<id>[\w\\.-]+)\.(?:scope|service)(?:/|$)")),
)


@facts
class Ancestor:
    """A task that another descends from."""

    pid: int
    comm: str


@facts
class Container:
    """What the name of a cgroup says of a container: inferred, any process may choose names."""

    engine: str
    id: str


@facts
class TaskSetting:
    """Where a task ran; None carries its reason in ``absent``."""

    pid: int | None
    """In the initial PID namespace."""
    tgid: int | None
    comm: str | None
    kernel_thread: bool | None
    argv: tuple[str, ...] | None
    """From the process's own memory, which it can rewrite; escaped."""
    executable: str | None
    """Path in its mount namespace."""
    uid: int | None
    """Effective user ID in the initial user namespace."""
    parents: tuple[Ancestor, ...] | None
    """Real parents, nearest first, up to init."""
    cgroup: str | None
    """Path in the unified hierarchy, or in that of the memory controller (version 1)."""
    container: Container | None
    namespaces: tuple[str, ...] | None
    """Kinds of namespace that are not the initial ones: ``net``, ``pid``, ``mnt``."""
    pid_in_namespace: int | None
    """Its PID as the innermost PID namespace numbers it, where that is not the initial one."""
    nodename: str | None = None
    """Host name that it sees (``uname -n``), where its UTS namespace is not the initial one."""
    absent: Mapping[str, Reason] = field(default_factory=dict)


def decode_task_setting(task: Object) -> TaskSetting:
    """Read where a task ran.

    :param task: ``struct task_struct *``
    """
    absent: dict[str, Reason] = {}

    def get(key: str, read: Callable[[Object], T | None]) -> T | None:
        try:
            with naming(f"{key} of the task"):
                value = read(task)
        except Unavailable as missing:
            absent[key] = missing.reason
            return None
        except BROKEN_WALK:
            absent[key] = Reason.CORRUPTED
            return None
        if value is None:
            absent[key] = Reason.NOT_APPLICABLE
        return value

    cgroup = get("cgroup", _cgroup)
    container = container_of_cgroup(cgroup) if cgroup is not None else None
    if container is None:
        absent["container"] = absent.get("cgroup", Reason.NOT_APPLICABLE)
    return TaskSetting(
        pid=get("pid", lambda t: int(t.pid)),
        tgid=get("tgid", lambda t: int(t.tgid)),
        comm=get("comm", lambda t: printable(t.comm.string_())),
        kernel_thread=get("kernel_thread", _is_kernel_thread),
        argv=get("argv", _argv),
        executable=get("executable", _executable),
        uid=get("uid", lambda t: int(t.cred.euid.val)),
        parents=get("parents", lambda t: tuple(_parents(t))),
        cgroup=cgroup,
        container=container,
        namespaces=get("namespaces", _namespaces),
        pid_in_namespace=get("pid_in_namespace", _pid_in_namespace),
        nodename=get("nodename", _nodename),
        absent=absent,
    )


def container_of_cgroup(path: str) -> Container | None:
    """Recognise a container by the path of its cgroup; None: no engine names one so."""
    for engine, pattern in _CONTAINERS:
        if found := pattern.search(path):
            return Container(engine=engine, id=found["id"])
    return None


def _is_kernel_thread(task: Object) -> bool:
    return bool(int(task.flags) & _KTHREAD)


def _argv(task: Object) -> tuple[str, ...] | None:
    if _is_kernel_thread(task):
        return None
    words = cmdline(task)
    if words is None:
        return None
    return tuple(printable(word) for word in words[:MAX_ARGUMENTS])


def _executable(task: Object) -> str | None:
    if not task.mm or not task.mm.exe_file:
        return None
    return printable(d_path(task.mm.exe_file.f_path.address_of_()))


def _parents(task: Object) -> Iterator[Ancestor]:
    seen = {int(task)}
    for parent in bounded(_upwards(task), MAX_PARENTS, "the task's parents"):
        if int(parent) in seen:
            raise Unavailable("the task's parents", Reason.CORRUPTED, "they form a ring")
        seen.add(int(parent))
        yield Ancestor(pid=int(parent.pid), comm=printable(parent.comm.string_()))


def _upwards(task: Object) -> Iterator[Object]:
    # A thread's parent is its process's; swapper, PID 0, is its own.
    parent = task.group_leader.real_parent
    while parent and int(parent.pid) != 0:
        yield parent
        parent = parent.real_parent


def _cgroup(task: Object) -> str | None:
    cgroups = task.cgroups
    if not cgroups:
        return None
    unified = _path(cgroups.dfl_cgrp) if has_member(cgroups, "dfl_cgrp") else None
    if unified not in (None, "/"):
        return unified
    # Version 1: each controller has a hierarchy of its own; the deepest path says most.
    paths = [unified] if unified else []
    paths += [_path(state.cgroup) for state in cgroups.subsys if state and state.cgroup]
    return max(paths, key=len, default=None)


def _path(cgroup: Object) -> str:
    return printable(cgroup_path(cgroup))


def _namespaces(task: Object) -> tuple[str, ...] | None:
    own = task.nsproxy
    if not own:
        return None  # a task that has ended its life gave them back
    first = task.prog_["init_nsproxy"]
    found = [
        name
        for name, key in _NAMESPACES
        if has_member(own, key) and own.member_(key).value_() != first.member_(key).value_()
    ]
    if (_pid_level(task) or 0) > 0:
        found.append("pid")
    if task.cred.user_ns.value_() != _initial_user_namespace(task.prog_):
        found.append("user")
    return tuple(sorted(found))


def _nodename(task: Object) -> str | None:
    own, first = task.nsproxy, task.prog_["init_nsproxy"]
    if not own or own.uts_ns.value_() == first.uts_ns.value_():
        return None
    return printable(own.uts_ns.name.nodename.string_()) or None


def _initial_user_namespace(prog: Program) -> int:
    address = prog["init_user_ns"].address_
    if address is None:
        raise Unavailable("init_user_ns", Reason.NO_DEBUGINFO, "it has no address")
    return int(address)


def _pid_level(task: Object) -> int | None:
    pid = task.thread_pid
    return int(pid.level) if pid else None


def _pid_in_namespace(task: Object) -> int | None:
    level = _pid_level(task)
    if not level or level >= MAX_PARENTS:
        return None
    return int(task.thread_pid.numbers[level].nr)
