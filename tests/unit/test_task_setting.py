"""Where a task ran: parents, container, and what is said of what is missing."""

from __future__ import annotations

import pytest
from drgn import Object

from crashkit.decode.task_setting import Container, container_of_cgroup, decode_task_setting
from crashkit.errors import Reason
from tests.unit.kernel_doubles import Kernel

ID = "4f1d" * 16


@pytest.mark.parametrize(
    ("path", "engine", "name"),
    [
        (f"/docker/{ID}", "docker", ID),
        (f"/system.slice/docker-{ID}.scope", "docker", ID),
        (f"/system.slice/docker/{ID}/x", "docker", ID),
        (f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope", "containerd", ID),
        (f"/kubepods/burstable/pod0b-3c/{ID}", "kubernetes", ID),
        (f"/machine.slice/libpod-{ID}.scope/container", "podman", ID),
        ("/lxc.payload.web-1/system.slice", "lxc", "web-1"),
        ("/machine.slice/machine-db.scope", "systemd-nspawn", "machine-db"),
        ("/user.slice/user-1000.slice/session-2.scope", None, None),
        ("/docker-fans/0123456789ab-notes", None, None),
    ],
)
def test_a_container_is_known_by_its_cgroup(
    path: str, engine: str | None, name: str | None
) -> None:
    expected = Container(engine=engine, id=name) if engine and name else None
    assert container_of_cgroup(path) == expected


@pytest.fixture
def kernel() -> Kernel:
    made = Kernel()
    made.struct(
        "task_struct",
        96,
        ("flags", "unsigned int", 0),
        ("pid", "int", 4),
        ("tgid", "int", 8),
        ("comm", "char [16]", 16),
        ("real_parent", "struct task_struct *", 32),
        ("group_leader", "struct task_struct *", 40),
    )
    return made


def task(
    kernel: Kernel, pid: int, comm: bytes, parent: Object | None = None, flags: int = 0
) -> Object:
    made = kernel.allocate("struct task_struct", pid=pid, tgid=pid, comm=comm, flags=flags)
    kernel.set(made, {"group_leader": int(made), "real_parent": int(parent or 0)})
    return made


def test_parents_go_up_to_init(kernel: Kernel) -> None:
    idle = task(kernel, 0, b"swapper/0")
    first = task(kernel, 1, b"init", idle)
    shell = task(kernel, 44, b"bash", first)
    found = decode_task_setting(task(kernel, 99, b"orders", shell))
    assert found.parents is not None
    assert [(p.pid, p.comm) for p in found.parents] == [(44, "bash"), (1, "init")]
    assert (found.pid, found.comm, found.kernel_thread) == (99, "orders", False)


def test_parents_in_a_ring_are_corrupt(kernel: Kernel) -> None:
    one = task(kernel, 5, b"one")
    two = task(kernel, 6, b"two", one)
    kernel.set(one, {"real_parent": int(two)})
    found = decode_task_setting(one)
    assert found.parents is None
    assert found.absent["parents"] is Reason.CORRUPTED


def test_what_types_do_not_describe_is_said(kernel: Kernel) -> None:
    found = decode_task_setting(task(kernel, 5, b"one\x1b[2J"))
    assert found.comm == r"one\x1b[2J"
    for key in ("cgroup", "container", "namespaces", "uid"):
        assert getattr(found, key) is None
        assert found.absent[key] is Reason.NO_DEBUGINFO


def test_a_kernel_thread_has_no_arguments(kernel: Kernel) -> None:
    found = decode_task_setting(task(kernel, 12, b"kworker/0:1", flags=0x0020_0000))
    assert found.kernel_thread
    assert found.argv is None
    assert found.absent["argv"] is Reason.NOT_APPLICABLE


@pytest.mark.parametrize(("own", "seen"), [(True, "orders-7"), (False, None)])
def test_a_host_name_of_its_own(kernel: Kernel, own: bool, seen: str | None) -> None:
    kernel.struct("new_utsname", 65, ("nodename", "char [65]", 0))
    kernel.struct("uts_namespace", 65, ("name", "struct new_utsname", 0))
    kernel.struct("nsproxy", 8, ("uts_ns", "struct uts_namespace *", 0))
    kernel.struct(
        "task_struct", 96, ("flags", "unsigned int", 0), ("pid", "int", 4), ("tgid", "int", 8),
        ("comm", "char [16]", 16), ("real_parent", "struct task_struct *", 32),
        ("group_leader", "struct task_struct *", 40), ("nsproxy", "struct nsproxy *", 48),
    )  # fmt: skip
    names = [
        kernel.allocate("struct uts_namespace", None, **{"name.nodename": name})
        for name in (b"host", b"orders-7")
    ]
    kernel.variable("init_nsproxy", "struct nsproxy")
    place = kernel.prog["init_nsproxy"].address_
    assert place is not None
    kernel.put(place, names[0].value_().to_bytes(8, "little"))
    proxy = kernel.allocate("struct nsproxy", uts_ns=int(names[own]))
    one = task(kernel, 99, b"orders")
    kernel.set(one, {"nsproxy": int(proxy)})
    found = decode_task_setting(one)
    assert found.nodename == seen
    assert own or found.absent["nodename"] is Reason.NOT_APPLICABLE
