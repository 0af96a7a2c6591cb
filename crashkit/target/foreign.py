"""Files that are not a dump crashkit reads, told apart by their first bytes."""

from __future__ import annotations

from crashkit.errors import TargetError
from crashkit.target import elf
from crashkit.target.source import Source

HEAD_SIZE = 65536
"""Bytes of a file looked at to tell what it is."""

# Magic, where it is, what it is, what to do. {file} is the path.
_FOREIGN: tuple[tuple[bytes, int, str], ...] = (
    (b"PK\x03\x04", 0, "is a zip archive: unpack it first with `unzip {file}`"),
    (b"7z\xbc\xaf\x27\x1c", 0, "is a 7z archive: unpack it first with `7z x {file}`"),
    (b"ustar", 257, "is a tar archive: unpack it first with `tar xf {file}`"),
    (b"HdrS", 0x202, "is a kernel boot image (vmlinuz), not a dump: give the vmcore"),
    (
        b"PAGEDU64",
        0,
        "is a Windows crash dump; for a Linux guest run `dump-guest-memory` without -w",
    ),
    (
        b"PAGEDUMP",
        0,
        "is a Windows crash dump; for a Linux guest run `dump-guest-memory` without -w",
    ),
    (b"LibvirtQemudSave", 0, "is a saved virtual machine: use `virsh dump --memory-only` instead"),
    (b"QEVM", 0, "is a migration stream of QEMU: use `dump-guest-memory` instead"),
    (b"\xed\x23\x8f\x61\x73\x01\x19\xa8", 0, "is an LKCD dump, a format no current kernel writes"),
)

_ELF_KINDS = {
    elf.ET_REL: "is an object file or kernel module, not a dump: give the vmcore",
    elf.ET_EXEC: "is a program or vmlinux, not a dump: give the vmcore, and this file with -s",
    elf.ET_DYN: "is a library, program or vmlinux, not a dump: give the vmcore, this file with -s",
}

_TEXT_CONTROLS = frozenset(b"\t\n\r\x1b\f\b\a")


def refuse_foreign(source: Source, head: bytes) -> None:
    """Refuse a file that is recognised and is no dump.

    :raises TargetError: says what it is and what to do
    """
    for magic, place, what in _FOREIGN:
        if head[place : place + len(magic)] == magic:
            raise TargetError(f"{source.name} {what.format(file=source.name)}")


def refuse_elf_image(source: Source, head: bytes) -> None:
    """Refuse an ELF file that is no core file.

    :raises TargetError: says what it is and what to do
    """
    kind = elf.elf_type(head)
    if kind == elf.ET_CORE:
        return
    if kind is None:
        raise TargetError(f"{source.name} is cut inside its ELF header; copy the dump again")
    what = _ELF_KINDS.get(
        kind, f"is an ELF file of unknown type {kind}, not a dump: give the vmcore"
    )
    raise TargetError(f"{source.name} {what}")


def is_symbol_file(head: bytes) -> bool:
    """Whether these first bytes are of an ELF program, library, vmlinux or module."""
    return head.startswith(elf.MAGIC) and elf.elf_type(head) in _ELF_KINDS


def is_text(head: bytes) -> bool:
    """Whether these first bytes are of text, such as a console log.

    A log cut by a crash may hold runs of NUL bytes and broken UTF-8, so a few
    strange bytes are allowed; random bytes have about six in ten.
    """
    body = head.replace(b"\0", b"")
    if not body or len(body) * 2 < len(head):
        return False
    strange = sum(1 for byte in body if byte < 0x20 and byte not in _TEXT_CONTROLS)
    high = sum(1 for byte in body if byte >= 0x7F)
    return strange * 50 <= len(body) and high * 3 <= len(body)
