"""Kernels to boot: Debian's cloud images, their modules and what modules are built against."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from driver.archive import KERNEL_SUITES, Archive, Package, cache_folder
from driver.errors import LabError, run
from driver.toolroot import run_inside, tool_root

#: What may follow ``--kernel``: a series, then a suite if the first that has it will not do, then
#: a flavour other than cloud-amd64.
CHOICE = re.compile(r"(\d+(?:[.]\d+)?)(?:@([a-z-]+))?(?:/([a-z0-9-]+))?")
# The kind of tools that the machine has itself: those of Debian 12.
HOST_SUITE = "bookworm"


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
    #: Suite it is from, one of ``KERNEL_SUITES``.
    suite: str = HOST_SUITE

    def module_files(self, names: tuple[str, ...]) -> list[Path]:
        """Files of the modules *names* and of those they need, in loading order.

        Names of modules that this kernel has built in, or does not have, are left out.
        """
        table = _dependencies(self.modules / "modules.dep")
        files: list[str] = []
        for name in names:
            files += [file for file in table.get(name, []) if file not in files]
        return [self.modules / file for file in files]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A Debian kernel in the archive today."""

    #: Suite it is from, one of ``KERNEL_SUITES``.
    suite: str
    #: What ``uname -r`` prints.
    release: str
    #: The packages that hold its image and its modules.
    packages: tuple[str, ...]


def choose(wanted: str) -> Choice:
    """Return the newest Debian kernel of *wanted*: ``6.1``, ``7`` or ``6.12@trixie/amd64``.

    :raises LabError: no suite has one that comes with its modules
    """
    found = CHOICE.fullmatch(wanted)
    if found is None or found[2] not in (None, *KERNEL_SUITES):
        raise LabError(f"{wanted!r} names no kernel: 6.1, 7, 6.12@trixie, 6.1/amd64")
    suites = [found[2]] if found[2] else list(KERNEL_SUITES)
    for suite in suites:
        archive = Archive(cache_folder(), KERNEL_SUITES[suite])
        kinds = _kinds(archive, found[1], found[3] or "cloud-amd64")
        for release, names in reversed(kinds.items()):
            packages = _holding(names)
            if packages:
                return Choice(suite=suite, release=release, packages=packages)
    raise LabError(f"none of {', '.join(suites)} has a kernel {wanted} with its modules")


# Release → kind of package → name, newest release last. From 6.19, linux-image is empty: the image
# is in linux-binary, or linux-binary-unsigned until it is signed, and the modules in linux-modules.
def _kinds(archive: Archive, series: str, flavour: str) -> dict[str, dict[str, str]]:
    version = rf"{re.escape(series)}[.][0-9.]+([+][0-9a-z.]+|-[0-9]+)*"
    pattern = rf"linux-(image|binary|binary-unsigned|modules)-{version}-{flavour}"
    table: dict[str, dict[str, str]] = {}
    for name, _version in archive.matching(pattern):
        kind, release = re.fullmatch(r"linux-([a-z-]+)-(\d.*)", name).groups()
        table.setdefault(release, {})[kind] = name
    return table


def _holding(names: dict[str, str]) -> tuple[str, ...]:
    image = names.get("binary") or names.get("binary-unsigned")
    if image is None:
        return (names["image"],) if "image" in names else ()
    return (image, names["modules"]) if "modules" in names else ()


def debian_kernel(wanted: str) -> Kernel:
    """Return the newest Debian kernel of *wanted*, see :func:`choose`."""
    choice = choose(wanted)
    archive = Archive(cache_folder(), KERNEL_SUITES[choice.suite])
    image, *others = (archive.unpack(name) for name in choice.packages)
    root = others[0].root if others else image.root
    modules = _first(root, f"lib/modules/{choice.release}", f"usr/lib/modules/{choice.release}")
    if not (modules / "modules.dep").exists():
        run(["depmod", "-b", modules.parents[2], choice.release])
    return Kernel(
        release=choice.release,
        image=_first(
            image.root,
            f"boot/vmlinuz-{choice.release}",
            f"usr/lib/modules/{choice.release}/vmlinuz",
            f"usr/lib/modules/{choice.release}/vmlinuz.unsigned",
        ),
        modules=modules,
        package=image.name,
        version=image.version,
        suite=choice.suite,
    )


def _first(root: Path, *places: str) -> Path:
    for place in places:
        if (root / place).exists():
            return root / place
    raise LabError(f"{root} has none of {', '.join(places)}")


def debuginfo(wanted: str) -> Path:
    """Return the folder holding ``usr/lib/debug`` of the newest Debian kernel of *wanted*."""
    choice = choose(wanted)
    archive = Archive(cache_folder(), KERNEL_SUITES[choice.suite])
    return archive.unpack(f"linux-image-{choice.release}-dbg").root


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
    if kernel.suite == HOST_SUITE:
        run(["make", "-s", "-C", build_tree(kernel), f"M={folder}", "modules"], timeout=300)
    else:
        _build_inside(kernel, folder)
    stripped = folder / f"{source.stem}.stripped"
    run(["strip", "-g", "-o", stripped, folder / f"{source.stem}.ko"])
    return stripped


def _build_inside(kernel: Kernel, folder: Path) -> None:
    headers = f"linux-headers-{kernel.release}"
    archive = Archive(cache_folder(), KERNEL_SUITES[kernel.suite])
    root = tool_root(archive, headers, kernel.version)
    shutil.rmtree(root / "build")
    shutil.copytree(folder, root / "build")
    run_inside(root, "make", "-s", "-C", f"/usr/src/{headers}", "M=/build", "modules")
    shutil.copytree(root / "build", folder, dirs_exist_ok=True)


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
