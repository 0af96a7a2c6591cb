"""What the OOM killer was asked for, and whom it chose."""

from __future__ import annotations

from drgn import Object, Program

from crashkit.decode.fields import Absent, Fields, counter, member, printable, text_at
from crashkit.decode.memory_slabs import flag_names, flag_words
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

_DEEPEST = 64


@facts
class OomRequest:
    """``struct oom_control``. A None field has its reason in ``absent``."""

    gfp_mask: int | None
    gfp_flags: str | None
    """Names from the kernel's own table."""
    order: int | None
    """Of the pages wanted: 2^order together; -1: a person asked (sysrq f)."""
    constraint: str | None
    """``none``, ``cpuset``, ``memory_policy`` or ``memcg``."""
    total_pages: int | None
    """Pages (with swap) of what ran out."""
    memcg: str | None
    """Path of the memory cgroup that ran out; empty: the whole system."""
    memcg_usage: int | None
    """Pages that the cgroup had taken."""
    memcg_limit: int | None
    """Pages that it may take (``memory.max``)."""
    chosen: int | None
    """``struct task_struct *`` of the task to kill, 0: none."""
    chosen_pid: int | None
    chosen_comm: str | None
    """Escaped."""
    absent: Absent


def decode_oom_control(oc: Object) -> OomRequest:
    """Read a request to the OOM killer.

    :param oc: ``struct oom_control *``
    :raises Unavailable: nothing of it can be read
    """
    fields = Fields("struct oom_control")
    prog = oc.prog_
    gfp = fields.number("gfp_mask", oc, "gfp_mask")
    chosen = fields.take("chosen", lambda: _chosen(oc))
    return OomRequest(
        gfp_mask=gfp,
        gfp_flags=None if gfp is None else fields.take("gfp_flags", lambda: gfp_text(prog, gfp)),
        order=fields.number("order", oc, "order"),
        constraint=fields.take("constraint", lambda: _constraint(oc)),
        total_pages=fields.number("total_pages", oc, "totalpages"),
        memcg=fields.take("memcg", lambda: _memcg(oc)),
        memcg_usage=fields.take("memcg_usage", lambda: _memcg_pages(oc, "usage")),
        memcg_limit=fields.take("memcg_limit", lambda: _memcg_pages(oc, "max")),
        chosen=chosen,
        chosen_pid=fields.take("chosen_pid", lambda: int(oc.chosen.pid.value_())) if chosen else 0,
        chosen_comm=(
            fields.take("chosen_comm", lambda: printable(oc.chosen.comm.string_()))
            if chosen
            else ""
        ),
        absent=fields.reasons(),
    )


def gfp_text(prog: Program, mask: int) -> str:
    """Write a GFP mask as the kernel does, ``GFP_KERNEL|__GFP_ZERO``.

    :raises Unavailable: the kernel's table of names is not in the dump
    """
    return flag_words(mask, flag_names(prog, "gfpflag_names"))


def _chosen(oc: Object) -> int:
    # (void *)-1: the search was given up (mm/oom_kill.c: oom_evaluate_task()).
    value = int(oc.chosen.value_())
    if value == (1 << 64) - 1:
        raise Unavailable("chosen", Reason.NOT_APPLICABLE, "the search was given up")
    return value


def _constraint(oc: Object) -> str:
    value = int(oc.constraint.value_())
    for enumerator in oc.constraint.type_.enumerators or ():
        if enumerator.value == value:
            return str(enumerator.name).removeprefix("CONSTRAINT_").lower()
    raise Unavailable("constraint", Reason.CORRUPTED, f"{value} has no name")


def _memcg(oc: Object) -> str:
    memcg = oc.memcg.read_()
    if not memcg:
        return ""
    return _path(memcg.css.cgroup.kn.read_())


def _path(node: Object) -> str:
    # drgn's cgroup_path() follows parents for as long as there are any.
    names: list[str] = []
    while len(names) < _DEEPEST:
        # Renamed so that nobody reads it without RCU (include/linux/kernfs.h).
        parent = member(node, "__parent", "parent").read_()
        if not parent:
            return "/" + "/".join(reversed(names))
        names.append(text_at(node.prog_, int(node.name.value_()), 128))
        node = parent
    raise Unavailable("memcg", Reason.CORRUPTED, f"more than {_DEEPEST} levels")


def _memcg_pages(oc: Object, name: str) -> int:
    # struct page_counter; its members of Linux before v4.18 have other names.
    memcg = oc.memcg.read_()
    if not memcg:
        raise Unavailable(name, Reason.NOT_APPLICABLE, "the whole system ran out")
    return counter(memcg.memory.member_(name))
