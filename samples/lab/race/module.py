"""Build nf_conntrack.ko with the edits, for the small kernel or a Debian one, with BTF."""

from pathlib import Path

from driver.archive import cache_folder
from driver.errors import LabError, run
from driver.kernels import Kernel, build_tree
from kernel.build import PAHOLE_FLAGS, file_prefix_maps, make, small_objects
from kernel.source import Source, fetch_source

from race.edits import copy_module_source


def edited_conntrack(kernel: Kernel) -> bytes:
    """Return nf_conntrack.ko for *kernel*, with the edits and without DWARF.

    The module with DWARF stays in the lab's cache, in ``race/RELEASE``.
    """
    source = fetch_source()
    if source.version != kernel.version:
        raise LabError(f"the source is {source.version}, the kernel is {kernel.version}")
    folder = cache_folder() / "race" / kernel.release
    copy_module_source(source.tree / "net/netfilter", folder)
    maps = {str(folder): "net/netfilter"}
    if kernel.image.is_relative_to(small_objects()):
        make(source, small_objects(), f"M={folder}", "modules", maps=maps)
    else:
        flags = f"KCFLAGS={file_prefix_maps(maps)}"
        run(["make", "-s", "-C", build_tree(kernel), f"M={folder}", flags, "modules"])
        _add_btf(folder / "nf_conntrack.ko", kernel, source)
    stripped = folder / "stripped.ko"
    run(["objcopy", "--strip-debug", folder / "nf_conntrack.ko", stripped])
    return stripped.read_bytes()


# The steps of scripts/Makefile.modfinal. Debian's header packages hold neither the kernel's BTF nor
# resolve_btfids; without BTF nf_conntrack fails to register its kfuncs and does not load.
def _add_btf(module: Path, kernel: Kernel, source: Source) -> None:
    vmlinux = module.with_name("vmlinux")
    extract = source.tree / "scripts/extract-vmlinux"
    run(["sh", "-c", '"$0" "$1" >"$2"', extract, kernel.image, vmlinux])
    run(["pahole", "-J", *PAHOLE_FLAGS, "--btf_base", vmlinux, module])
    run([_resolve_btfids(source), "-b", vmlinux, module])


def _resolve_btfids(source: Source) -> Path:
    folder = cache_folder() / "race" / "tools"
    program = folder / "tools/bpf/resolve_btfids/resolve_btfids"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        make(source, folder, "allnoconfig")
        make(source, folder, "tools/bpf/resolve_btfids")
    return program
