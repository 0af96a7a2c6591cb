"""What only the kernel's own words tell: used where the dump itself has no answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from drgn.helpers.common.format import escape_ascii_string

from crashkit.crash.parts import Banner, Thread
from crashkit.crash.stack import Stack
from crashkit.errors import Reason
from crashkit.oops import CodeLocation, Oops, TraceEntry
from crashkit.target import Target
from crashkit.unwind import Frame


def with_printed_modules(stack: Stack, oops: Oops | None) -> Stack:
    """Give frames the modules that the log's trace prints beside the same places.

    For a dump whose list of modules cannot be read; a frame that has a module keeps it.
    """
    modules = _modules(oops) if oops is not None else {}

    def named(frame: Frame) -> Frame:
        printed = modules.get((frame.function, frame.offset))
        return frame if frame.module or printed is None else replace(frame, module=printed)

    fault = None if stack.fault is None else named(stack.fault)
    return replace(stack, frames=tuple(named(frame) for frame in stack.frames), fault=fault)


def _modules(oops: Oops) -> dict[tuple[str | None, int | None], str]:
    places: list[CodeLocation | TraceEntry] = [entry for entry in oops.trace if entry.reliable]
    if oops.ip is not None:
        places.append(oops.ip)
    return {(p.function, p.offset): p.module for p in places if p.module is not None}


def with_printed_facts(banner: Banner, oops: Oops | None, cpu: int | None) -> Banner:
    """Fill in the uptime and the taint from the report in the log, where memory lacks them.

    :param cpu: number of the CPU that crashed: notes of fewer CPUs do not count them all
    """
    absent = dict(banner.absent)
    if banner.cpus is not None and cpu is not None and cpu >= banner.cpus:
        banner = replace(banner, cpus=None)
        absent["cpus"] = Reason.NOT_IN_DUMP
    if oops is None:
        return replace(banner, absent=absent)
    uptime, taint = banner.uptime_s, banner.taint
    if uptime is None and oops.time is not None:
        uptime = oops.time
        absent.pop("uptime_s", None)
    if taint is None and oops.taint is not None:
        taint = oops.taint
        absent.pop("taint", None)
    return replace(banner, uptime_s=uptime, taint=taint, absent=absent)


def printed_banner(target: Target, oops: Oops | None) -> Banner:
    """Make the banner of a log without a dump."""
    keys = ("cpus", "crash_time", "uptime_s", "nodename", "version", "taint")
    absent = dict.fromkeys(keys, Reason.NOT_APPLICABLE)
    release = oops.release if oops else None
    if release is None:
        absent["release"] = Reason.NOT_APPLICABLE
    banner = Banner(
        kernel=None,
        dumpfile=Path(target.path).name,
        cpus=None,
        crash_time=None,
        uptime_s=None,
        nodename=None,
        release=release,
        version=None,
        taint=None,
        absent=absent,
    )
    return with_printed_facts(banner, oops, None)


def printed_thread(oops: Oops | None, why: Reason) -> Thread:
    """Make the crashed thread's facts of what the log prints of it.

    :param why: the reason for what it does not
    """
    facts: dict[str, int | str | None] = {
        "cpu": oops.cpu if oops else None,
        "pid": oops.pid if oops else None,
        "comm": escape_ascii_string(oops.comm.encode()) if oops and oops.comm else None,
        "context": oops.context if oops else None,
    }
    absent = dict.fromkeys(("task", *(k for k, value in facts.items() if value is None)), why)
    return Thread(task=None, absent=absent, **facts)  # type: ignore[arg-type]
