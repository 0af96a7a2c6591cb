"""Architecture names, and the sentence for those crashkit does not read."""

from __future__ import annotations

from crashkit.errors import TargetError

X86_64 = "x86_64"

# e_machine (include/uapi/linux/elf-em.h) of the kernels that have kdump, as uname -m says it.
_NAMES = {
    (3, False): "i386",
    (3, True): "i386",  # QEMU, while the guest was not in long mode
    (8, False): "mips",
    (8, True): "mips64",
    (20, False): "ppc",
    (21, True): "ppc64",
    (22, False): "s390",
    (22, True): "s390x",
    (40, False): "arm",
    (50, True): "ia64",
    (62, True): X86_64,
    (183, True): "aarch64",
    (243, False): "riscv32",
    (243, True): "riscv64",
    (258, True): "loongarch64",
}


def name_of(number: int, *, is_64_bit: bool) -> str:
    """Name of an ELF ``e_machine``; what ``uname -m`` does not name comes from pyelftools."""
    name = _NAMES.get((number, is_64_bit))
    if name:
        return name
    # Imported here: it takes longer than reading a dump's headers.
    from elftools.elf.enums import ENUM_E_MACHINE

    known = {value: key for key, value in ENUM_E_MACHINE.items() if isinstance(value, int)}
    name = known.get(number, f"machine {number}").removeprefix("EM_").lower()
    return f"{name}, {64 if is_64_bit else 32} bit"


def require_x86_64(file: str, machine: str) -> None:
    """Check the architecture of a dump.

    :raises TargetError: it is not x86-64
    """
    if machine != X86_64:
        raise TargetError(
            f"{file} is a dump of another architecture ({machine}); crashkit reads x86_64 only: "
            "use a crash built for that architecture"
        )
