"""Where the values in registers and stack slots came from, within one function.

Forward analysis over the dump's own machine code. Every answer either follows from the
instructions or is :class:`~crashkit.dataflow.terms.Unknown`.
"""

from crashkit.dataflow.analysis import Dataflow, analyse
from crashkit.dataflow.function import alignment_of, analyse_function
from crashkit.dataflow.prototype import Parameter, parameters_of, prototype_of
from crashkit.dataflow.queries import (
    locations_of,
    locations_of_entry,
    prologue_saves,
    saves_at,
    saves_of_known_prologue,
    state_at,
)
from crashkit.dataflow.state import Slot, State
from crashkit.dataflow.terms import (
    UNKNOWN,
    Const,
    Defined,
    Entry,
    FrameAddress,
    Incoming,
    Load,
    Masked,
    Merged,
    Part,
    PerCpu,
    Result,
    Sum,
    Term,
    Unknown,
    add,
    lineage,
    parents,
    signed64,
    split,
)

__all__ = [
    "Const",
    "Dataflow",
    "Defined",
    "Entry",
    "FrameAddress",
    "Incoming",
    "Load",
    "Masked",
    "Merged",
    "Part",
    "Parameter",
    "PerCpu",
    "Result",
    "Slot",
    "State",
    "Sum",
    "Term",
    "UNKNOWN",
    "Unknown",
    "add",
    "alignment_of",
    "analyse",
    "analyse_function",
    "lineage",
    "locations_of",
    "locations_of_entry",
    "parameters_of",
    "parents",
    "prologue_saves",
    "prototype_of",
    "saves_at",
    "saves_of_known_prologue",
    "signed64",
    "split",
    "state_at",
]
