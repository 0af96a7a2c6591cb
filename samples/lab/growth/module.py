"""Build nf_conncount.ko with the edits, for the small kernel or a Debian one, with BTF."""

from pathlib import Path

from driver.archive import cache_folder
from driver.errors import LabError, run
from driver.kernels import HOST_SUITE, Kernel, build_tree
from kernel.build import PAHOLE_FLAGS, file_prefix_maps, make, small_objects
from kernel.source import Source, fetch_source

from growth.edits import copy_module_source


def affected_conncount(kernel: Kernel) -> bytes | None:
    """Return nf_conncount.ko for *kernel*, edited and without DWARF; None: its own will do.

    Bookworm's kernels have the fix. Of the kernels in later suites those up to 6.17 do not.
    The module with DWARF stays in the lab's cache, in ``growth/RELEASE``.
    """
    if kernel.suite != HOST_SUITE:
        return None
    source = fetch_source(".".join(kernel.release.split(".")[:2]))
    if source.version != kernel.version:
        raise LabError(f"the source is {source.version}, the kernel is {kernel.version}")
    folder = cache_folder() / "growth" / kernel.release
    copy_module_source(source.tree, folder)
    maps = {str(folder): "net/netfilter"}
    module = folder / "nf_conncount.ko"
    if kernel.image.is_relative_to(small_objects()):
        make(source, small_objects(), f"M={folder}", "modules", maps=maps)
    else:
        flags = f"KCFLAGS={file_prefix_maps(maps)}"
        run(["make", "-s", "-C", build_tree(kernel), f"M={folder}", flags, "modules"])
        _add_btf(module, kernel, source)
    stripped = folder / "stripped.ko"
    run(["objcopy", "--strip-debug", module, stripped])
    return stripped.read_bytes()


# Debian's header packages do not hold the kernel's BTF. The module has no ids to resolve.
def _add_btf(module: Path, kernel: Kernel, source: Source) -> None:
    vmlinux = module.with_name("vmlinux")
    extract = source.tree / "scripts/extract-vmlinux"
    run(["sh", "-c", '"$0" "$1" >"$2"', extract, kernel.image, vmlinux])
    run(["pahole", "-J", *PAHOLE_FLAGS, "--btf_base", vmlinux, module])
