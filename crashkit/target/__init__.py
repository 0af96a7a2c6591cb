"""What is read from a dump file before drgn is asked, and opening it.

:func:`identify` tells the format and what the headers say; :func:`open_program`
gives the :class:`drgn.Program`. The only package that knows file formats.
"""

from __future__ import annotations

from crashkit.target.facts import Target
from crashkit.target.foreign import is_symbol_file
from crashkit.target.identification import identify, identify_source
from crashkit.target.notes import NotedRegisters
from crashkit.target.opening import open_program
from crashkit.target.places import find_kdump_log, find_log, is_split_part, read_text
from crashkit.target.vmcoreinfo import VmcoreInfo

__all__ = [
    "NotedRegisters",
    "Target",
    "VmcoreInfo",
    "find_kdump_log",
    "find_log",
    "is_split_part",
    "identify",
    "identify_source",
    "is_symbol_file",
    "open_program",
    "read_text",
]
