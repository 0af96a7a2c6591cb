"""The commands ``recipes lint`` and ``recipes new``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from crashkit.cli.app import command, recipes_app
from crashkit.cli.options import Options
from crashkit.cli.output import Output

_FLAWED = 1

_NAMED = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PATH|ID]...", help="Files, folders or ids; all unless given."),
]
_ID = Annotated[str, typer.Argument(metavar="ID", help="Its id, like lost-wakeup.")]
_GROUP = Annotated[str, typer.Option(metavar="NAME", help="Its subsystem: a directory.")]


def register() -> None:
    """Add the commands to the application."""
    command(recipes_app, "lint")(lint)
    command(recipes_app, "new", formats=("text",))(new)


def lint(options: Options, named: _NAMED = None) -> int:
    """Say what is wrong with recipes; nothing of them is run. Exit code 1 with findings."""
    from crashkit.recipe.linting import lint_all
    from crashkit.report.json_text import render_json
    from crashkit.report.recipes_list import build_lint, render_lint

    with closing(Output(options.output, (), options.color)) as output:
        count, flaws = lint_all(named or (), options.recipes or ())
        document = build_lint(count, flaws)
        as_json = options.output_format == "json"
        output.write(render_json(document) if as_json else render_lint(document))
    return _FLAWED if flaws else 0


def new(recipe: _ID, options: Options, group: _GROUP = "generic") -> int:
    """Write a recipe to begin with, and a test for it, below the folder that -o names."""
    from crashkit.recipe.skeleton import write_skeleton
    from crashkit.report.escape import safe

    folder = options.output or Path()
    made = write_skeleton(recipe, group, folder)
    lines = (
        f"{made.recipe}: fill in what says TODO; then",
        f"  crashkit recipes lint {made.recipe}",
        f"  crashkit run {recipe} VMCORE --recipes {folder}",
        f"{made.test}: move it to your tests, without the underscore",
    )
    Output(None, (), "never").write("".join(f"{safe(line)}\n" for line in lines))
    return 0
