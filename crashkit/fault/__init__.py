"""Why the crashing instruction faulted: the expression, its bad part, and its history."""

from crashkit.fault.chain import Identify
from crashkit.fault.diagnosis import BadValue, diagnose, is_noncanonical
from crashkit.fault.explain import explain_fault, name_of
from crashkit.fault.model import Diagnosis, Fault, Link, Step
from crashkit.fault.printed import printed_fault
from crashkit.fault.printed_code import PrintedInstruction, printed_listing

__all__ = [
    "BadValue",
    "Diagnosis",
    "Fault",
    "Identify",
    "Link",
    "Step",
    "diagnose",
    "explain_fault",
    "is_noncanonical",
    "name_of",
    "PrintedInstruction",
    "printed_fault",
    "printed_listing",
]
