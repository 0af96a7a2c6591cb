"""The ``target`` object of a document: the dump, the kernel in it, its debug info."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from crashkit.errors import Reason
from crashkit.report.parts import Json, Part, had

if TYPE_CHECKING:
    from crashkit.crash import Banner, Crash


def build_target(crash: Crash) -> Json:
    """Build the ``target`` object."""
    target = crash.target
    banner, why = had(lambda: crash.banner)
    part = Part(banner.absent if banner else None)
    part.put_plain("path", target.path)
    part.put("format", target.format)
    part.put("compression", target.compression)
    part.put("arch", target.arch or _printed_arch(crash), why)
    part.put("release", (banner and banner.release) or target.release, Reason.NOT_IN_DUMP)
    part.put("version", (banner and banner.version) or target.version, why)
    part.put("build_id", target.build_id, Reason.NOT_IN_DUMP)
    part.put("nodename", (banner and banner.nodename) or target.nodename, why)
    part.put("cpus", _cpus(banner, target.cpus), why)
    seconds = banner.crash_time if banner else target.crash_time
    part.put("crash_time", _utc(seconds), Reason.NOT_IN_DUMP)
    part.put("uptime_s", _rounded(banner.uptime_s) if banner else None, why)
    taint = banner.taint if banner else None
    part.put("taint", None if taint is None else list(taint), why)
    part.put("dump_level", target.dump_level, Reason.NOT_IN_DUMP)
    part.put("truncated", target.truncated)
    part.put("missing_bytes", target.missing_bytes)
    part.put("types", crash.types)
    part.put(
        "debuginfo",
        [{"module": d.module, "status": d.status, "path": d.path} for d in crash.debuginfo],
    )
    return part.done()


def _printed_arch(crash: Crash) -> str | None:
    # By the registers that the kernel printed.
    oops = crash.oops if crash.target.format == "text" else None
    return oops.arch if oops is not None else None


def _cpus(banner: Banner | None, noted: int | None) -> int | None:
    return banner.cpus if banner else noted


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def _utc(seconds: int | None) -> str | None:
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        return None  # a header's time stamp that no calendar has
