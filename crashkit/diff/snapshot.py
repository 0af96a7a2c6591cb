"""One dump as it is compared: its facts, its modules, its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

from drgn.helpers.linux.module import for_each_module

from crashkit.crash import Crash
from crashkit.decode.fields import naming, printable
from crashkit.diff.parts import PARTS
from crashkit.diff.readings import Listing
from crashkit.errors import Reason, Unavailable
from crashkit.memory import BROKEN_WALK, bounded
from crashkit.symbols import find_symbol
from crashkit.value import facts

T = TypeVar("T")

MAX_MODULES = 10_000


@facts
class Boot:
    """What tells one boot of a kernel from another; None: not known."""

    boot_id: str | None = None
    """As /proc/sys/kernel/random/boot_id, once somebody asked for it."""
    layout: tuple[int | None, ...] | None = None
    """Addresses that the kernel chooses by chance when it boots."""
    uptime_s: float | None = None
    crash_time: int | None = None
    """Unix seconds."""

    @property
    def booted(self) -> float | None:
        """When it was booted, Unix seconds."""
        if self.crash_time is None or self.uptime_s is None:
            return None
        return self.crash_time - self.uptime_s


@facts
class Snapshot:
    """What is taken of one dump or log."""

    is_text: bool
    boot: Boot
    facts: Mapping[str, str | Unavailable]
    """By the keys of :data:`NAMES`."""
    modules: frozenset[str] | Unavailable
    parts: Mapping[str, Listing | Unavailable]
    """By the parts' keys; empty for a log."""

    def fact(self, key: str) -> str | None:
        """A fact, or None where it is not known."""
        value = self.facts[key]
        return None if isinstance(value, Unavailable) else value


NAMES = {
    "nodename": "NODENAME", "arch": "MACHINE", "release": "RELEASE", "version": "VERSION",
    "build_id": "BUILD ID", "cpus": "CPUS", "memory": "MEMORY", "crash_time": "DATE",
    "uptime": "UPTIME", "booted": "BOOTED", "command_line": "COMMAND LINE", "taint": "TAINT",
    "dump_level": "DUMP LEVEL", "title": "PANIC", "kind": "KIND", "comm": "COMMAND",
    "stack_key": "STACK KEY",
}  # fmt: skip
"""Keys of the facts and how they are called."""


def take(crash: Crash) -> Snapshot:
    """Take everything of one dump or log that is compared."""
    is_text = crash.target.format == "text"
    boot = _boot(crash, is_text=is_text)
    parts = {} if is_text else {part.key: _read(part.read, crash) for part in PARTS}
    return Snapshot(
        is_text=is_text,
        boot=boot,
        facts=_facts(crash, boot, parts),
        modules=_read(_printed_modules if is_text else _modules, crash),
        parts=parts,
    )


def _read(read: Callable[[Crash], T], crash: Crash) -> T | Unavailable:
    try:
        with naming("this"):
            return read(crash)
    except Unavailable as missing:
        return missing
    except BROKEN_WALK as broken:
        return Unavailable("this", Reason.CORRUPTED, str(broken))


def _boot(crash: Crash, *, is_text: bool) -> Boot:
    banner = crash.banner
    if is_text:
        return Boot(uptime_s=banner.uptime_s, crash_time=banner.crash_time)
    boot_id, layout = _read(_boot_id, crash), _read(_layout, crash)
    return Boot(
        boot_id=None if isinstance(boot_id, Unavailable) else boot_id,
        layout=None if isinstance(layout, Unavailable) else layout,
        uptime_s=banner.uptime_s,
        crash_time=banner.crash_time,
    )


def _boot_id(crash: Crash) -> str | None:
    # drivers/char/random.c: zero until the file is read for the first time.
    raw = bytes(crash.prog["sysctl_bootid"].to_bytes_())
    return raw.hex() if any(raw) else None


def _layout(crash: Crash) -> tuple[int | None, ...] | None:
    # CONFIG_RANDOMIZE_BASE and CONFIG_RANDOMIZE_MEMORY; without them it is the same each time.
    symbol = find_symbol(crash.prog, "init_task")
    if symbol is None:
        return None
    return (symbol.address, _base(crash, "page_offset_base"), _base(crash, "vmalloc_base"))


def _base(crash: Crash, name: str) -> int | None:
    try:
        return int(crash.prog[name].value_())
    except LookupError:
        return None


def _modules(crash: Crash) -> frozenset[str]:
    walk = bounded(for_each_module(crash.prog), MAX_MODULES, "modules")
    return frozenset(printable(module.name.string_()) for module in walk)


def _printed_modules(crash: Crash) -> frozenset[str]:
    if crash.oops is None or crash.oops.modules is None:
        raise Unavailable("modules", Reason.NOT_IN_DUMP, "the log does not list them")
    return frozenset(module.name for module in crash.oops.modules)


def _facts(
    crash: Crash, boot: Boot, parts: Mapping[str, Listing | Unavailable]
) -> dict[str, str | Unavailable]:
    target, banner, oops = crash.target, crash.banner, crash.oops
    taint = banner.taint
    known: dict[str, object] = {
        "nodename": banner.nodename,
        "arch": target.arch or (oops.arch if oops else None),
        "release": banner.release,
        "version": banner.version,
        "build_id": target.build_id,
        "cpus": banner.cpus,
        "memory": _total(parts.get("memory")),
        "crash_time": _date(boot.crash_time),
        "uptime": None if boot.uptime_s is None else f"{boot.uptime_s:.2f} s",
        "booted": _date(boot.booted),
        "command_line": None if not parts else _read(_command_line, crash),
        "taint": None if taint is None else ("".join(taint) or "none"),
        "dump_level": target.dump_level,
        "title": oops.title if oops else None,
        "kind": oops.kind if oops else None,
        "comm": oops.comm if oops else None,
        "stack_key": oops.stack_key if oops else None,
    }
    reasons = banner.absent
    facts: dict[str, str | Unavailable] = {}
    for key, value in known.items():
        if value is None:
            facts[key] = Unavailable(NAMES[key], reasons.get(key, Reason.NOT_IN_DUMP))
        else:
            facts[key] = value if isinstance(value, Unavailable) else str(value)
    return facts


def _total(memory: Listing | Unavailable | None) -> str | Unavailable | None:
    if memory is None or isinstance(memory, Unavailable):
        return memory
    total = memory.find("total")
    size = total.numbers["bytes"] if total else None
    return size if size is None or isinstance(size, Unavailable) else f"{size // 1024} KiB"


def _command_line(crash: Crash) -> str:
    return printable(crash.prog["saved_command_line"].string_())


def _date(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        return None  # a time stamp that no calendar has
