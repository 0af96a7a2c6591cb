"""makedumpfile from a later Debian suite: one that knows the kernels of the lab.

An older one on a newer kernel drops too much (1.7.2 on 6.12: slab pages) or too little (1.7.6 on
6.12: no free pages), and does not fail. It runs with its own C library, on the host and in guests.
"""

import re
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

from driver.archive import Archive, Package, cache_folder
from driver.errors import run
from driver.initramfs import Initramfs

SUITE = "forky"
#: What it prints about a kernel it does not know.
UNKNOWN_KERNEL = "The kernel version is not supported"
GUEST_FOLDER = "/lab/makedumpfile"
LOADER = "ld-linux-x86-64.so.2"


@dataclass(frozen=True, kw_only=True)
class Makedumpfile:
    """An unpacked makedumpfile."""

    #: Folder with the program, its libraries and their loader.
    folder: Path
    #: Upstream version.
    version: str

    def run(self, *words: str | Path, stdin: BinaryIO | None = None) -> None:
        """Run it on the host."""
        run([*command(self.folder), *words], stdin=stdin)

    def add_to(self, image: Initramfs) -> str:
        """Put it into *image*; return the command that runs it there."""
        for file in self.folder.iterdir():
            image.add(f"{GUEST_FOLDER}/{file.name}", file.read_bytes(), executable=True)
        return " ".join(command(Path(GUEST_FOLDER)))


@cache
def fetch_makedumpfile() -> Makedumpfile:
    """Return makedumpfile, downloaded if the cache does not have it."""
    archive = Archive(cache_folder(), (SUITE,))
    package = archive.unpack("makedumpfile")
    # The loader takes a colon, as in an epoch, for the end of a folder's name.
    folder = archive.cache / "makedumpfile" / package.version.replace(":", "_")
    if not folder.is_dir():
        part = folder.with_name(folder.name + ".part")
        _collect([archive.unpack(name) for name in archive.closure(package.name)], part)
        part.rename(folder)
    version = re.search(r"version (\S+)", run([*command(folder), "-v"]))
    return Makedumpfile(folder=folder, version=version[1] if version else "unknown")


def command(folder: Path) -> list[str]:
    """Words that run the makedumpfile in *folder* with the libraries there."""
    return [str(folder / LOADER), "--library-path", str(folder), str(folder / "makedumpfile")]


def _collect(packages: list[Package], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    everything = folder.with_name("all")
    shutil.rmtree(everything, ignore_errors=True)
    everything.mkdir(parents=True)
    for package in packages:
        for pattern in ("usr/lib/x86_64-linux-gnu/*.so.*", "usr/*bin/makedumpfile"):
            for file in package.root.glob(pattern):
                shutil.copy(file, everything)
    folder.mkdir()
    program = command(everything)
    listed = run([program[0], "--list", *program[1:]])
    for name in {"makedumpfile", LOADER, *re.findall(r"/(\S+)", listed)}:
        shutil.copy(everything / Path(name).name, folder)
    shutil.rmtree(everything)
