"""Finding debug info files: explicit files and directories, then the usual places.

drgn could search by itself; it is told not to (``target.open_program``), so that a
report always says which files its names came from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from crashkit.value import facts

STANDARD_DIRECTORY = Path("/usr/lib/debug")


@facts
class DebugFile:
    """What became of debug info for the kernel or one module."""

    module: str
    """``vmlinux`` or the module's name."""
    status: str
    """``found``, ``in-core`` (names and types from the dump), ``missing``, ``mismatched``."""
    path: str | None = None


def vmlinux_candidates(
    release: str | None, build_id: str | None, directories: Sequence[Path]
) -> Iterator[Path]:
    """Yield existing files that may be the dump's vmlinux, most specific first.

    :param directories: roots laid out like ``/usr/lib/debug``; each is also searched itself
    """
    for root in (*directories, STANDARD_DIRECTORY):
        names = [f".build-id/{build_id[:2]}/{build_id[2:]}.debug"] if build_id else []
        if release and "/" not in release:
            names += [
                f"lib/modules/{release}/vmlinux",
                f"usr/lib/debug/lib/modules/{release}/vmlinux",
                f"boot/vmlinux-{release}",
                f"usr/lib/debug/boot/vmlinux-{release}",
                f"lib/modules/{release}/vmlinux.debug",
                f"vmlinux-{release}",
            ]
        names += ["vmlinux"] if root != STANDARD_DIRECTORY else []
        yield from (root / name for name in names if (root / name).is_file())
    if release and "/" not in release:
        system = (Path(f"/lib/modules/{release}/build/vmlinux"), Path(f"/boot/vmlinux-{release}"))
        yield from (path for path in system if path.is_file())


def module_files(release: str | None, directories: Sequence[Path]) -> dict[str, Path]:
    """Map module names to the debug file of each found under the directories.

    :returns: names with ``_`` for ``-``; the first directory that has one wins
    """
    found: dict[str, Path] = {}
    if not release or "/" in release:
        return found
    for root in (*directories, STANDARD_DIRECTORY):
        for tree in (f"lib/modules/{release}", f"usr/lib/debug/lib/modules/{release}"):
            for folder, _subfolders, files in os.walk(root / tree):
                for name in files:
                    stem, _, ending = name.partition(".")
                    if ending in ("ko", "ko.debug"):
                        found.setdefault(stem.replace("-", "_"), Path(folder, name))
    return found
