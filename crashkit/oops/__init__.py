"""Kernel log text to facts about a crash; pure text, no dump needed."""

from crashkit.oops.key import key_functions, stack_key
from crashkit.oops.parse import Oops, parse_oops, parse_reports
from crashkit.oops.title import plain_name
from crashkit.oops.trace import CodeLocation, TraceEntry, printed

__all__ = [
    "CodeLocation",
    "Oops",
    "TraceEntry",
    "key_functions",
    "parse_oops",
    "parse_reports",
    "plain_name",
    "printed",
    "stack_key",
]
