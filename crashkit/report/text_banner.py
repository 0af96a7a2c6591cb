"""The banner of a text report: crash's fields under crash's names."""

from __future__ import annotations

import posixpath

from crashkit.report.columns import WIDTH, bare, wrap
from crashkit.report.parts import Json

_TAINTS = {  # kernel/panic.c: taint_flags
    "P": "proprietary module", "F": "module forced in", "S": "CPU out of specification",
    "R": "module forced out", "M": "machine check", "B": "bad page", "U": "asked by user space",
    "D": "oops", "A": "ACPI table overridden", "W": "warning before",
    "C": "staging driver", "I": "firmware workaround", "O": "out-of-tree module",
    "E": "unsigned module", "L": "soft lockup before", "K": "live patch", "X": "by distribution",
    "T": "struct randomization", "N": "test", "J": "fwctl",
}  # fmt: skip

# RHEL's own use of letters ("T" since el6, kernel/panic.c of its kernels).
_RHEL = {"T": "RHEL: technology preview"}


def banner(document: Json) -> list[str]:
    """The full banner of report A."""
    target, panic = document["target"], document["panic"]
    kernel = "; ".join(_kernel(target))
    lines = [
        f"     KERNEL: {kernel}",
        f"   DUMPFILE: {posixpath.basename(target['path'])}  [{_dump(target)}]",
        _row(
            ("DATE", _date(target["crash_time"])),
            ("UPTIME", uptime(target["uptime_s"])),
            ("CPUS", _known(target["cpus"])),
        ),
        _row(("RELEASE", _known(target["release"])), ("NODENAME", _known(target["nodename"]))),
    ]
    if target["version"]:
        lines.append(f"    VERSION: {target['version']}")
    if taint := taint_words(target["taint"], target["release"]):
        lines += wrap(taint, WIDTH, " " * 13, "      TAINT: ")
    if panic["message"]:
        lines += wrap(f'"{panic["message"]}"', WIDTH, " " * 13, "      PANIC: ")
    return [*lines, who(document)]


def short_banner(document: Json) -> list[str]:
    """The two lines of report B."""
    target = document["target"]
    taint = taint_words(target["taint"], target["release"])
    first = _row(
        ("RELEASE", _known(target["release"])),
        ("UPTIME", uptime(target["uptime_s"])),
        ("CPUS", _known(target["cpus"])),
    )
    lines = wrap(taint, WIDTH, " " * 13, "      TAINT: ") if taint else []
    return [first, *lines, who(document)]


def who(document: Json) -> str:
    """The thread that crashed, on one line."""
    panic = document["panic"]
    fields = [
        ("PID", _known(panic["pid"])),
        ("COMMAND", "unknown" if panic["comm"] is None else f'"{panic["comm"]}"'),
        ("TASK", "unknown" if panic["task"] is None else bare(panic["task"])),
        ("CPU", _known(panic["cpu"])),
    ]
    if panic["context"] not in (None, "process"):
        fields.append(("CONTEXT", panic["context"]))
    return _row(*fields)


def _row(*fields: tuple[str, str]) -> str:
    name, value = fields[0]
    rest = "".join(f"  {name}: {value}" for name, value in fields[1:])
    return f"{name:>11}: {value}{rest}"


def _known(value: object) -> str:
    return "unknown" if value is None else str(value)


def _kernel(target: Json) -> list[str]:
    sources = {"dwarf": "DWARF", "hybrid": "DWARF and in-core", "btf": "in-core: kallsyms, BTF"}
    words = sources.get(target["types"], "no types" if target["types"] == "symbols" else "none")
    files = [entry for entry in target["debuginfo"] if entry["module"] in ("vmlinux", "kernel")]
    path = next((entry["path"] for entry in files if entry["path"]), None)
    return [path, words] if path else [f"from the dump ({words})" if words != "none" else "unknown"]


def _dump(target: Json) -> str:
    words = [target["format"]]
    if target["compression"] not in (None, "none"):
        words.append(target["compression"])
    if target["dump_level"] is not None:
        words.append(f"-d {target['dump_level']}")
    if target["truncated"]:
        words.append("TRUNCATED")
    return ", ".join(words)


def _date(text: str | None) -> str:
    return "unknown" if text is None else text.replace("T", " ").replace("Z", " UTC")


def uptime(seconds: float | None) -> str:
    """Write an uptime as crash does: ``1 day, 01:49:17``."""
    if seconds is None or seconds < 0:
        return "unknown"
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour:02}:{minute:02}:{second:02}"
    if not days:
        return clock
    return f"{days} day{'s' if days != 1 else ''}, {clock}"


def taint_words(letters: list[str] | None, release: str | None = None) -> str:
    """Explain taint letters as the distribution of ``release`` means them; empty: none."""
    if letters is None:
        return "unknown"
    meaning = _TAINTS | (_RHEL if release and ".el" in release else {})
    words = ", ".join(meaning.get(letter, f"{letter}: ?") for letter in letters)
    return f"{' '.join(letters)} ({words})" if letters else ""
