"""made.json: what a dump was made with, so that it can be made again."""

import hashlib
import json
import re
from pathlib import Path

from driver.errors import run
from driver.guest import QEMU
from driver.kernels import Kernel

BUILD_ID = re.compile(rb"BUILD-ID=([0-9a-f]{40})")


def write_record(folder: Path, kernel: Kernel, facts: dict[str, object]) -> None:
    """Write ``made.json`` beside the ``vmcore`` in *folder*.

    :param facts: what the caller knows; comes first in the file
    """
    vmcore = folder / "vmcore"
    record = facts | {
        "kernel": kernel.release,
        "package": kernel.package,
        "package_version": kernel.version,
        "build_id": find_build_id(vmcore),
        "qemu": _qemu_version(),
        "size": vmcore.stat().st_size,
        "sha256": _digest(vmcore),
    }
    (folder / "made.json").write_text(json.dumps(record, indent=2) + "\n")


def find_build_id(vmcore: Path) -> str | None:
    """Build id of the kernel in VMCOREINFO, which dumps carry near their start."""
    with vmcore.open("rb") as file:
        found = BUILD_ID.search(file.read(1 << 20))
    return found[1].decode() if found else None


def _qemu_version() -> str | None:
    found = re.search(r"version (\S+)", run([QEMU, "--version"]))
    return found[1] if found else None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
