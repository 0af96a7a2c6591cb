"""What a guest boots with: the initramfs of a scenario and that of the capture kernel."""

import lzma
from pathlib import Path

from driver.dumps import COPY
from driver.errors import LabError
from driver.initramfs import Initramfs, build_program, find_program
from driver.kernels import Kernel
from driver.makedumpfile import fetch_makedumpfile
from driver.scenarios import GUEST, Scenario

XTABLES = Path("/usr/lib/x86_64-linux-gnu/xtables")
PROGRAMS = ("ip", "iptables-legacy", "conntrack")
# Without it the dump has no VMCOREINFO note: it hands QEMU the address of the kernel's.
# conntrack's checksums come from a module that modules.dep does not name, unless built in.
ALWAYS = ("qemu_fw_cfg", "crc32c_generic")
# Everything that makedumpfile can say but its progress.
QUIET = "--message-level 22"


def scenario_image(scenario: Scenario, kernel: Kernel) -> Initramfs:
    """Return the initramfs in which *scenario* crashes *kernel*."""
    image = Initramfs()
    _add_base(image, GUEST / "init")
    for name in PROGRAMS:
        image.add_program(name)
    image.add_folder(XTABLES, "lib*.so")
    image.add("/bin/flows", build_program(GUEST / "flows.c"), executable=True)
    for script in ("network.sh", "load-capture.sh"):
        image.add(f"/lab/{script}", (GUEST / script).read_bytes())
    _add_modules(image, kernel, (*ALWAYS, *scenario.modules))
    for path, content in scenario.parts(kernel).items():
        image.add(path, content, executable=not path.startswith("/lab/"))
    return image


def add_capture(image: Initramfs, kernel: Kernel, dumps: list[str]) -> None:
    """Make the guest of *image* write a dump by kexec.

    :param dumps: for each dump, makedumpfile's options or COPY; the first goes to the first disk
    """
    capture = Initramfs()
    _add_base(capture, GUEST / "capture-init")
    program = fetch_makedumpfile().add_to(capture)
    commands = [COPY if options == COPY else f"{program} {QUIET} -F {options}" for options in dumps]
    lines = [f"nvme{number}n1 {command}\n" for number, command in enumerate(commands)]
    capture.add("/lab/dumps", "".join(lines))
    image.add_program("kexec")
    image.add("/lab/vmlinuz", kernel.image.read_bytes())
    image.add("/lab/capture.cpio", capture.archive())


def _add_base(image: Initramfs, init: Path) -> None:
    busybox = find_program("busybox").read_bytes()
    if b"/ld-linux" in busybox:
        raise LabError("busybox is linked dynamically: install busybox-static")
    image.add("/bin/busybox", busybox, executable=True)
    image.add("/bin/sh", busybox, executable=True)
    image.add("/init", init.read_bytes(), executable=True)


def _add_modules(image: Initramfs, kernel: Kernel, names: tuple[str, ...]) -> None:
    paths = []
    for file in kernel.module_files(names):
        path = f"/lab/modules.d/{file.name.removesuffix('.xz')}"
        image.add(path, _plain(file))
        paths.append(f"{path}\n")
    image.add("/lab/modules", "".join(paths))


# The kernel would take these modules only with a flag that busybox does not give.
def _plain(file: Path) -> bytes:
    data = file.read_bytes()
    return lzma.decompress(data) if file.suffix == ".xz" else data
