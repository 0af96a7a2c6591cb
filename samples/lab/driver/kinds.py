"""The scenarios ``kind-…``: one crash for each kind of panic, most by ``kinds/``'s own module."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from kernel.build import PAHOLE_FLAGS, file_prefix_maps, make, small_objects
from kernel.source import fetch_source

from driver.archive import cache_folder
from driver.bzimage import extract_vmlinux
from driver.errors import run
from driver.initramfs import build_program, find_program, shared_libraries
from driver.kernels import Kernel, build_tree
from driver.kinds_table import KINDS, Kind
from driver.scenarios import Scenario

KINDS_FOLDER = Path(__file__).resolve().parent.parent / "kinds"
#: ``kinds.ko`` is these files; ``kinds_plugin.ko`` one of its own name.
PARTS = ("kinds", "faults", "values", "memory", "jumps", "checks", "locks", "contexts")


def build_kinds(kernel: Kernel) -> tuple[Path, Path]:
    """Build the modules of ``kinds/`` for *kernel*, with BTF.

    :returns: ``kinds.ko`` and ``kinds_plugin.ko`` without DWARF; those that have it are beside
    """
    folder = cache_folder() / "modules" / kernel.release / f"kinds-{_digest(KINDS_FOLDER)}"
    built = folder / "kinds.stripped", folder / "kinds_plugin.stripped"
    if (folder / "complete").exists():
        return built
    shutil.copytree(KINDS_FOLDER, folder, dirs_exist_ok=True)
    # A module that has the name of one of its files would be that file alone.
    (folder / "kinds.c").rename(folder / "main.c")
    objects = " ".join(f"{'main' if part == 'kinds' else part}.o" for part in PARTS)
    lines = ("obj-m := kinds.o kinds_plugin.o", f"kinds-y := {objects}")
    (folder / "Makefile").write_text("\n".join(lines) + "\n")
    maps = {f"{folder}/": ""}
    if kernel.image.is_relative_to(small_objects()):
        make(fetch_source(), small_objects(), f"M={folder}", "modules", maps=maps)
    else:
        flags = f"KCFLAGS={file_prefix_maps(maps)}"
        run(["make", "-s", "-C", build_tree(kernel), f"M={folder}", flags, "modules"], timeout=300)
        _add_btf(folder / "kinds.ko", kernel)
    for stripped in built:
        _strip(stripped)
    (folder / "complete").touch()
    return built


# By content: other checkouts build in the same cache.
def _digest(folder: Path) -> str:
    content = b"".join(path.read_bytes() for path in sorted(folder.glob("*.[ch]")))
    return hashlib.sha256(content).hexdigest()[:12]


# Debian's header packages do not hold the kernel's BTF. The modules have no ids to resolve.
def _add_btf(module: Path, kernel: Kernel) -> None:
    vmlinux = module.with_name("vmlinux")
    extract_vmlinux(kernel.image, vmlinux)
    run(["pahole", "-J", *PAHOLE_FLAGS, "--btf_base", vmlinux, module])
    vmlinux.unlink()


def _strip(stripped: Path) -> None:
    run(["objcopy", "--strip-debug", stripped.with_suffix(".ko"), stripped])


def _parts(name: str, kind: Kind) -> Callable[[Kernel], dict[str, bytes]]:
    def parts(kernel: Kernel) -> dict[str, bytes]:
        if kind.module:
            module, plugin = (path.read_bytes() for path in build_kinds(kernel))
        else:
            module = plugin = b""
        unshare = find_program("unshare")
        tools = [unshare, *shared_libraries(unshare)]
        return {
            "/lab/scenario.sh": (KINDS_FOLDER / "kinds.sh").read_bytes(),
            "/lab/parameters": f"kind={name}\nsysctls='{' '.join(kind.sysctls)}'\n".encode(),
            "/lab/kinds.ko": module,
            "/lab/kinds_plugin.ko": plugin,
            "/bin/orders": build_program(KINDS_FOLDER / "orders.c"),
            **{str(path): path.read_bytes() for path in tools},
        }

    return parts


KIND_SCENARIOS = tuple(
    Scenario(
        name=f"kind-{name}",
        summary=kind.summary,
        expected=kind.shown,
        modules=(),
        arguments=kind.arguments,
        parts=_parts(name, kind),
        cpus=kind.cpus,
        # Under emulation, a kernel that patches its own code while it boots crashes now and then.
        tries=2,
        nmi_after=kind.nmi_after,
        nmis=kind.nmis,
        machine_check_after=kind.machine_check_after,
    )
    for name, kind in KINDS.items()
)
