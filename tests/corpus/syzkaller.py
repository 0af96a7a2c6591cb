"""Reading syzkaller's own test reports: headers, an empty line, the raw log.

Format: google/syzkaller, ``pkg/report/testdata/linux/report``. ``TITLE`` and ``TYPE`` are
what syzkaller makes of the log; a file without them must give no report.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crashkit.oops import Oops

_HEADER = re.compile(r"(?P<name>[A-Z]+):(?: (?P<value>.*))?$")
_CHECKOUT = Path(__file__).resolve().parents[2]


def corpus() -> Path:
    """Name the folder: ``$CRASHKIT_CORPUS``, else beside the checkout."""
    given = os.environ.get("CRASHKIT_CORPUS")
    return Path(given) if given else _CHECKOUT.parent / "shared" / "corpus" / "syzkaller"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One file."""

    name: str
    title: str | None
    type: str | None
    log: str


def read_samples(folder: Path) -> Iterator[Sample]:
    """Read every file of the folder that is named by a number."""
    for path in sorted(folder.iterdir(), key=lambda path: (len(path.name), path.name)):
        if path.name.isdigit():
            yield read_sample(path)


def read_sample(path: Path) -> Sample:
    """Read one file; its expected report is left out."""
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    headers: dict[str, str] = {}
    start = 0
    for line in text.splitlines(keepends=True):
        found = _HEADER.match(line.rstrip("\n"))
        if not found and not line.startswith("#"):
            break
        start += len(line)
        if found:
            headers.setdefault(found["name"], found["value"] or "")
    log = text[start:]
    end = log.find("\nREPORT:\n")
    return Sample(
        name=path.name,
        title=headers.get("TITLE"),
        type=headers.get("TYPE"),
        log=log if end < 0 else log[: end + 1],
    )


_NOT_THE_KERNELS = re.compile(
    r"SYZFAIL|go runtime error|trusty: |unexpected kernel reboot|"
    r".* in <.*::"  # Rust names, which syzkaller gives back unmangled
)
_CORRUPTED = re.compile(r" in corrupted\b.*$")
_OLD_KASAN = re.compile(r"(?:\.part\.NUM)? at addr ADDR$")
_WHOLE_LINE = {"WARNING: possible circular locking dependency detected": "possible deadlock"}


def is_comparable(sample: Sample) -> bool:
    """Whether the title is one of a kernel's report (docs/oops.md, "Differences")."""
    return sample.title is None or not _NOT_THE_KERNELS.match(sample.title)


def is_same_title(sample: Sample, found: Oops | None) -> bool:
    """Compare titles modulo the differences that docs/oops.md lists."""
    wanted, title = sample.title or "", found.title if found else ""
    if wanted == title:
        return True
    if found is None:
        return False
    wanted = _OLD_KASAN.sub("", _WHOLE_LINE.get(wanted, wanted))
    stem = _CORRUPTED.sub("", wanted)
    if stem != wanted:
        return title.split(" in ")[0] == stem
    return title == wanted


KINDS = {
    # TYPE of syzkaller (pkg/report/crash/types.go) to the values of panic.kind it may be
    "ATOMIC_SLEEP": {"scheduling-while-atomic"},
    "BUG": {"invalid-opcode-bug", "usercopy"},
    "DoS": {
        "divide-error", "double-fault", "general-protection", "init-killed", "no-root-fs",
        "oom", "page-fault", "panic-other", "stack-corruption", "stack-overflow", "sysrq",
        "hung-task", "slab-corruption", "warning",
    },
    "HANG": {"hung-task", "rcu-stall", "soft-lockup", "hard-lockup"},
    "KCSAN-DATARACE": {"warning"},
    "LEAK": {"warning"},
    "LOCKDEP": {"warning", "spinlock-deadlock"},
    "MEMORY_SAFETY_BUG": {"page-fault", "exec-fault", "write-protect", "list-corruption",
                          "slab-corruption"},
    "MEMORY_SAFETY_UBSAN": {"warning"},
    "NULL-POINTER-DEREFERENCE": {"null-pointer-dereference"},
    "KASAN-NULL-POINTER-DEREFERENCE-READ": {"null-pointer-dereference"},
    "REFCOUNT_WARNING": {"refcount"},
    "UBSAN": {"warning"},
    "WARNING": {"warning", "usercopy", "list-corruption"},
}  # fmt: skip
_FAMILIES = {
    "KASAN": {"slab-corruption", "stack-corruption", "page-fault"},
    "KFENCE": {"slab-corruption"},
    "KMSAN": {"warning"},
}


def is_same_kind(sample: Sample, found: Oops | None) -> bool:
    """Whether ``panic.kind`` is what syzkaller's TYPE says."""
    if sample.type is None or found is None:
        return sample.type is None
    family = sample.type.partition("-")[0]
    return found.kind in KINDS.get(sample.type, _FAMILIES.get(family, set()))
