"""Build an initramfs: a newc cpio archive of files, host programs and kernel modules.

Format: Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's source.
"""

import re
import stat
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

from driver.errors import LabError, run

FOLDERS = ("bin", "dev", "lab", "proc", "root", "run", "sys", "tmp")


@dataclass
class Initramfs:
    """The content of an initramfs, path by path."""

    #: Absolute path in the guest → (mode, content).
    files: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def add(self, path: str, content: bytes | str, *, executable: bool = False) -> None:
        """Put a file at *path*."""
        data = content.encode() if isinstance(content, str) else content
        self.files[path] = (stat.S_IFREG | (0o755 if executable else 0o644), data)

    def add_program(self, name: str) -> None:
        """Put the host's program *name* and the libraries it is linked with at their own paths."""
        path = find_program(name)
        self.add(str(path), path.read_bytes(), executable=True)
        for library in shared_libraries(path):
            self.add(str(library), library.read_bytes(), executable=True)

    def add_folder(self, folder: Path, pattern: str) -> None:
        """Put the host's files matching *pattern* in *folder* at their own paths."""
        for path in sorted(folder.glob(pattern)):
            self.add(str(path), path.read_bytes(), executable=True)

    def archive(self) -> bytes:
        """Return the cpio archive."""
        parents = {str(p) for path in self.files for p in PurePosixPath(path).parents}
        folders = sorted((parents | {f"/{name}" for name in FOLDERS}) - {"/"})
        entries = [(folder, stat.S_IFDIR | 0o755, b"") for folder in folders]
        entries += [(path, mode, data) for path, (mode, data) in sorted(self.files.items())]
        entries.append(("/TRAILER!!!", 0, b""))
        return b"".join(_entry(i + 1, *entry) for i, entry in enumerate(entries))


def find_program(name: str) -> Path:
    """Path of the host's program *name*, looked for where root's programs are, too."""
    for folder in ("/usr/sbin", "/usr/bin"):
        path = Path(folder, name)
        if path.exists():
            return path
    raise LabError(f"{name} is not installed: see samples/lab/apt-packages.txt")


def shared_libraries(program: Path) -> list[Path]:
    """Libraries that *program* is linked with, the dynamic loader among them."""
    if b"/ld-linux" not in program.read_bytes():
        return []
    return [Path(found) for found in re.findall(r"(/\S+) \(0x", run(["ldd", program]))]


@cache
def build_program(source: Path) -> bytes:
    """Compile the guest program *source* and return it, linked statically."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, source.stem)
        run(["gcc", "-static", "-O2", "-s", "-Wall", "-Wextra", "-pthread", "-o", program, source])
        return program.read_bytes()


def _entry(inode: int, path: str, mode: int, data: bytes) -> bytes:
    name = path.lstrip("/").encode() + b"\0"
    numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name
    return _pad(head) + _pad(data)


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
