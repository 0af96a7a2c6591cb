"""Arguments of the functions on a stack: recovered, with the proof.

A parameter is *proved* when its value follows from the dump's bytes and the ABI: the
register that carried it on entry is still held in the frame, or the caller's code and
registers say what it passed. Ways that are independent must agree.
"""

from crashkit.arguments.answer import Answer
from crashkit.arguments.entry import recover_entry_registers
from crashkit.arguments.parts import Argument, Holder, MissingArgument
from crashkit.arguments.recover import StackArguments, recover_arguments, register_at_entry

__all__ = [
    "Answer",
    "Argument",
    "Holder",
    "MissingArgument",
    "StackArguments",
    "recover_arguments",
    "recover_entry_registers",
    "register_at_entry",
]
