"""Kernel log text to facts about a crash; pure text, no dump needed."""

from crashkit.oops.blame import plain_name
from crashkit.oops.code import CodeBytes
from crashkit.oops.key import key_functions, stack_key
from crashkit.oops.parse import Oops, ended_by, first_cause_of, parse_oops, parse_reports
from crashkit.oops.problems import Problem
from crashkit.oops.trace import CodeLocation, TraceEntry, printed
from crashkit.oops.who import LinkedModule

__all__ = [
    "CodeBytes",
    "CodeLocation",
    "LinkedModule",
    "Oops",
    "Problem",
    "TraceEntry",
    "ended_by",
    "first_cause_of",
    "key_functions",
    "parse_oops",
    "parse_reports",
    "plain_name",
    "printed",
    "stack_key",
]
