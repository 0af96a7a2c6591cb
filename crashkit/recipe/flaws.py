"""What the linter says of a recipe: one flaw, where it is, and what to do."""

from __future__ import annotations

import ast

from crashkit.value import facts


@facts
class Flaw:
    """Something in a recipe that breaks a rule."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


class Flaws(list[Flaw]):
    """The flaws of one file, as they are found."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def add(self, where: ast.AST | int, message: str) -> None:
        """Note one.

        :param where: the node it is at, or a line
        """
        line = where if isinstance(where, int) else getattr(where, "lineno", 1)
        self.append(Flaw(path=self._path, line=line, message=message))
