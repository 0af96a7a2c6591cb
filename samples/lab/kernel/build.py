"""Build the small kernel that the lab's own samples share.

``PYTHONPATH=samples/lab python3 -m kernel.build`` builds it and prints the folder of the build.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from driver.archive import cache_folder
from driver.errors import LabError, run
from driver.kernels import Kernel

from kernel.source import Source, fetch_source

#: Name of the kernel on the command line.
SMALL = "small"
FRAGMENT = Path(__file__).with_name("config.fragment")
#: scripts/pahole-flags.sh but for -j: with threads the order of types differs from build to build.
PAHOLE_FLAGS = ("--btf_gen_floats", "--lang_exclude=rust")
#: Seconds that one run of make may take.
MAKE_S = 3600.0


def small_kernel() -> Kernel:
    """Return the small kernel, built if source or fragment changed since the last time."""
    source = fetch_source()
    stamp = f"{source.version}\n{FRAGMENT.read_text()}"
    complete = _home() / "complete"
    if not complete.exists() or complete.read_text() != stamp:
        complete.unlink(missing_ok=True)
        _configure(source)
        _compile(source)
        complete.write_text(stamp)
    return _read_kernel(source)


def small_objects() -> Path:
    """Return the build folder: vmlinux and modules with DWARF; modules are built against it."""
    return _home() / "objects"


def make(
    source: Source, objects: Path, *targets: str, maps: Mapping[str, str] | None = None
) -> None:
    """Run the kernel's make in *objects* without a trace of who builds it, when and where.

    The same source, fragment and compiler give the same build id.

    :param maps: further folders, and what the build is to call them
    """
    flags = file_prefix_maps({f"{source.tree}/": "", str(objects): ".", **(maps or {})})
    environment = {
        "LC_ALL": "C",
        "KBUILD_BUILD_USER": "lab",
        "KBUILD_BUILD_HOST": "crashkit",
        "KBUILD_BUILD_TIMESTAMP": source.date,
        "KBUILD_BUILD_VERSION": "1",
        "KCFLAGS": flags,
        "KAFLAGS": flags,
    }
    words = ["env", *(f"{name}={value}" for name, value in environment.items())]
    words += ["make", "-s", f"-j{os.cpu_count()}", "-C", str(source.tree), f"O={objects}"]
    fixed = ("ARCH=x86_64", "LOCALVERSION=", f"PAHOLE_FLAGS={' '.join(PAHOLE_FLAGS)}")
    run([*words, *fixed, *targets], timeout=MAKE_S)


def file_prefix_maps(maps: Mapping[str, str]) -> str:
    """Return the compiler options that rename folders in debug information and messages."""
    return " ".join(f"-ffile-prefix-map={folder}={name}" for folder, name in maps.items())


def unhonoured(fragment: Path, config: Path) -> list[str]:
    """Return the lines of *fragment* that Kconfig dropped or changed in *config*."""
    actual = dict(_settings(config))
    return [
        f"{name}={value}" for name, value in _settings(fragment) if actual.get(name, "n") != value
    ]


def _settings(path: Path) -> list[tuple[str, str]]:
    lines = [line for line in path.read_text().splitlines() if line.startswith("CONFIG_")]
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


def _home() -> Path:
    return cache_folder() / "kernel-small"


def _configure(source: Source) -> None:
    small_objects().mkdir(parents=True, exist_ok=True)
    make(source, small_objects(), f"KCONFIG_ALLCONFIG={FRAGMENT}", "allnoconfig")
    lost = unhonoured(FRAGMENT, small_objects() / ".config")
    if lost:
        raise LabError(f"Kconfig did not honour {', '.join(lost)}: correct {FRAGMENT.name}")


def _compile(source: Source) -> None:
    make(source, small_objects(), "bzImage", "modules")
    root = _home() / "root"
    shutil.rmtree(root, ignore_errors=True)
    install = (f"INSTALL_MOD_PATH={root}", "INSTALL_MOD_STRIP=1", "modules_install")
    make(source, small_objects(), *install)


def _read_kernel(source: Source) -> Kernel:
    release = (small_objects() / "include/config/kernel.release").read_text().strip()
    return Kernel(
        release=release,
        image=small_objects() / "arch/x86/boot/bzImage",
        modules=_home() / "root/lib/modules" / release,
        package="linux-source-6.1",
        version=source.version,
    )


if __name__ == "__main__":
    print(small_kernel() and small_objects())
