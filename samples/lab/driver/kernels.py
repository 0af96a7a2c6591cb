"""Kernels to boot: Debian's cloud images, their modules and what modules are built against."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from driver.archive import Archive, Package, cache_folder
from driver.errors import LabError, run

#: Kernel series that the lab's scenarios are known to work with.
SERIES = ("6.1", "6.12")


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A kernel that can be booted."""

    #: What ``uname -r`` prints.
    release: str
    #: The bzImage.
    image: Path
    #: ``lib/modules/RELEASE`` with a ``modules.dep``.
    modules: Path
    #: Name of the package, or of the build.
    package: str
    #: Version of the package, or of the source.
    version: str

    def module_files(self, names: tuple[str, ...]) -> list[Path]:
        """Files of the modules *names* and of those they need, in loading order.

        Names of modules that this kernel has built in, or does not have, are left out.
        """
        table = _dependencies(self.modules / "modules.dep")
        files: list[str] = []
        for name in names:
            files += [file for file in table.get(name, []) if file not in files]
        return [self.modules / file for file in files]


def debian_kernel(series: str) -> Kernel:
    """Return the newest Debian cloud kernel of *series*, such as ``6.1``."""
    archive = Archive(cache_folder())
    name, _ = archive.newest(image_pattern(series))
    package = archive.unpack(name)
    release = name.removeprefix("linux-image-")
    modules = package.root / "lib" / "modules" / release
    if not (modules / "modules.dep").exists():
        run(["depmod", "-b", package.root, release])
    return Kernel(
        release=release,
        image=package.root / "boot" / f"vmlinuz-{release}",
        modules=modules,
        package=package.name,
        version=package.version,
    )


def image_pattern(series: str) -> str:
    """Pattern for the names of image packages of *series*: signed ones, no debug files."""
    return rf"linux-image-{re.escape(series)}[.][0-9.]+([-+][0-9a-z]+)*-cloud-amd64"


def debuginfo(series: str) -> Path:
    """Return the folder holding ``usr/lib/debug`` of the newest Debian kernel of *series*."""
    archive = Archive(cache_folder())
    name, _ = archive.newest(image_pattern(series))
    return archive.unpack(f"{name}-dbg").root


def build_tree(kernel: Kernel) -> Path:
    """Return the folder to build modules for a Debian *kernel* in, from its header packages."""
    archive = Archive(cache_folder())
    first = f"linux-headers-{kernel.release}"
    needed = [name for name in archive.depends(first) if name.startswith(("linux-h", "linux-k"))]
    packages = [archive.unpack(name) for name in (first, *needed)]
    merged = archive.cache / "headers" / f"{first}_{kernel.version}"
    if not merged.is_dir():
        _merge(packages, merged)
    return merged / "usr" / "src" / first


def build_module(kernel: Kernel, source: Path, folder: Path) -> Path:
    """Build the external module of the one C file *source* in *folder*.

    :returns: the module without debug information; ``folder`` keeps the one that has it
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, folder)
    (folder / "Makefile").write_text(f"obj-m := {source.stem}.o\n")
    run(["make", "-s", "-C", build_tree(kernel), f"M={folder}", "modules"], timeout=300)
    stripped = folder / f"{source.stem}.stripped"
    run(["strip", "-g", "-o", stripped, folder / f"{source.stem}.ko"])
    return stripped


# The packages name each other by absolute paths in their makefiles.
def _merge(packages: list[Package], merged: Path) -> None:
    part = merged.with_name(merged.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    for package in packages:
        shutil.copytree(package.root, part, symlinks=True, dirs_exist_ok=True)
    for makefile in part.glob("usr/src/*/Makefile"):
        text = re.sub(r"(?<![\w/.])/usr/src/", f"{merged}/usr/src/", makefile.read_text())
        makefile.write_text(text)
    part.replace(merged)


def _dependencies(path: Path) -> dict[str, list[str]]:
    if not path.is_file():
        raise LabError(f"{path} is missing: run depmod over the modules")
    table = {}
    for line in path.read_text().splitlines():
        file, _, needed = line.partition(":")
        name = Path(file).name.split(".ko")[0].replace("-", "_")
        table[name] = [*reversed(needed.split()), file]
    return table
