"""Arguments of the functions on a stack, recovered from where they still are.

A first form of the engine: a parameter is *proved* when the register that carried it on
entry is still held, at the frame's pc, in a register known there or in a stack slot of
the frame that the function itself reads back. Nothing is taken from a caller yet.
"""

from crashkit.arguments.entry import recover_entry_registers
from crashkit.arguments.parts import Argument, MissingArgument
from crashkit.arguments.recover import recover_arguments

__all__ = ["Argument", "MissingArgument", "recover_arguments", "recover_entry_registers"]
