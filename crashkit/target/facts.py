"""Target: what a dump file says of itself before drgn is asked."""

from __future__ import annotations

from dataclasses import field

from crashkit.target.notes import NotedRegisters
from crashkit.target.vmcoreinfo import VmcoreInfo
from crashkit.value import facts


@facts
class Target:
    """Facts read from the file's own headers; what is not known is None."""

    path: str
    """The file itself, also when a directory was given."""
    file: str | None = None
    """Where its bytes are, when not at ``path``: it was unpacked, joined or completed."""
    format: str
    """``elf elf-flattened kdump kdump-flattened kdump-split text``."""
    compression: str | None = None
    """``none zlib lzo snappy zstd mixed``; None for text."""
    arch: str | None = None
    """``x86_64``; None for text."""
    release: str | None = None
    """VMCOREINFO ``OSRELEASE``, escaped."""
    build_id: str | None = None
    """VMCOREINFO ``BUILD-ID``, lower-case hex."""
    crash_time: int | None = None
    """Unix seconds: VMCOREINFO ``CRASHTIME``, else the time stamp of a kdump header."""
    dump_level: int | None = None
    """``makedumpfile -d`` of a kdump file; an ELF file does not record it."""
    truncated: bool = False
    """Part of the dump is lost: the file is cut, was never finished, or pages are garbled."""
    missing_bytes: int = 0
    """At least so many bytes are missing at the end of the file."""
    vmcoreinfo: VmcoreInfo = field(default_factory=VmcoreInfo)
    """VMCOREINFO as a mapping with typed look-ups; empty for text."""
    found_vmcoreinfo: bytes | None = None
    """VMCOREINFO as it was found in memory, where the file has no note of it."""
    nodename: str | None = None
    """``utsname.nodename`` of a kdump header, escaped."""
    version: str | None = None
    """``utsname.version`` of a kdump header (``#1 SMP ...``), escaped."""
    machine: str | None = None
    """``utsname.machine`` of a kdump header, escaped."""
    cpus: int | None = None
    """Number of CPUs whose registers (NT_PRSTATUS notes) are in the dump."""
    registers: tuple[NotedRegisters, ...] = ()
    """What the NT_PRSTATUS notes say, in their order."""
    warnings: tuple[str, ...] = ()
    """Sentences for the person who reads the report."""

    @property
    def readable(self) -> str:
        """Path to open: ``path``, or where the bytes are instead."""
        return self.file or self.path
