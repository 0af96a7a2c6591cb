"""The commands ``explain`` and ``dis``."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from crashkit.cli.app import Vmcore, app, command
from crashkit.cli.options import Options
from crashkit.cli.output import Output

_PLACE = Annotated[
    str, typer.Argument(metavar="SYMBOL|ADDRESS", help="Also symbol+0x1f and module:symbol.")
]
_REVERSE = Annotated[bool, typer.Option("-r", help="From the function's start to the address.")]
_LINES = Annotated[bool, typer.Option("-l", help="With source lines (debug information).")]


def register() -> None:
    """Add the commands to the application."""
    command(app, "explain")(explain)
    command(app, "dis", syntaxes=("att", "intel"))(dis)


def explain(vmcore: Vmcore, options: Options) -> int:
    """Explain the faulting instruction: what it evaluated, where the bad value came from."""
    from crashkit.cli.inputs import open_crash, warn
    from crashkit.pipeline import exit_code
    from crashkit.report import build_explain, render_explain, render_json

    with closing(Output(options.output, [vmcore], options.color)) as output:
        with open_crash(vmcore, options) as crash:
            document = build_explain(crash)
            warn(crash, options)
            code = exit_code(crash)
        as_json = options.output_format == "json"
        output.write(
            render_json(document) if as_json else render_explain(document, options.verbose)
        )
        return code


def dis(
    vmcore: Vmcore,
    place: _PLACE,
    options: Options,
    reverse: _REVERSE = False,
    lines: _LINES = False,
) -> int:
    """Disassemble from the dump, members as comments; the faulting instruction is marked."""
    from crashkit.cli.inputs import open_dump, warn
    from crashkit.crash.code import find_code
    from crashkit.fault.listing import list_function
    from crashkit.pipeline import exit_code
    from crashkit.report import build_dis, render_dis, render_json

    with closing(Output(options.output, [vmcore], "never")) as output:
        with open_dump(vmcore, options, "no code to disassemble") as crash:
            function, address = find_code(crash.prog, place)
            listing = list_function(
                crash.prog,
                function,
                until=address if reverse else None,
                syntax=options.syntax,
                sources=lines,
            )
            document = build_dis(crash, listing, address)
            warn(crash, options)
            code = exit_code(crash)
        as_json = options.output_format == "json"
        output.write(render_json(document) if as_json else render_dis(document, options.verbose))
        return code
