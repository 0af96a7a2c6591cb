"""The compiler and the tools with which another Debian suite builds modules, in a folder.

The header packages of a suite name its own gcc, and hold programs linked with its own C library.
Nothing is installed: packages are unpacked, and make runs with that folder as its root.
"""

import shutil
from pathlib import Path

from driver.archive import Archive
from driver.errors import run

# What the makefiles and scripts of a kernel run; the compiler is needed by the headers themselves.
TOOLS = (
    "base-files",
    "coreutils",
    "dash",
    "findutils",
    "gcc",
    "grep",
    "make",
    "mawk",
    "sed",
)
NOT_NEEDED = r"linux-(image|base|binary|modules)\b"
# A user namespace lets others than root have a root of their own.
ENTER = """
	mount --rbind /dev "$0/dev" && mount --rbind /proc "$0/proc" && exec chroot "$0" "$@"
"""


def tool_root(archive: Archive, headers: str, version: str) -> Path:
    """Return the folder that has *headers*, its compiler and its tools."""
    root = archive.cache / "toolroots" / f"{headers}_{version}"
    if not root.is_dir():
        part = root.with_name(root.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        archive.unpack_together(archive.closure(headers, *TOOLS, without=NOT_NEEDED), part)
        for name, target in (("awk", "mawk"), ("sh", "dash")):
            link = part / "usr/bin" / name
            if not link.exists():
                link.symlink_to(target)
        for name in ("build", "dev", "proc", "tmp"):
            (part / name).mkdir(exist_ok=True)
        part.rename(root)
    return root


def run_inside(root: Path, *words: str) -> None:
    """Run a command with *root* as the root folder."""
    run(["unshare", "-rm", "sh", "-c", ENTER, root, *words], timeout=600)
