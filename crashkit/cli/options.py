"""The options that every command on a dump takes, declared once."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from crashkit.cli.paths import check_directories
from crashkit.errors import UsageError
from crashkit.value import facts


@facts
class Options:
    """The common options as given."""

    symbols: Annotated[
        list[Path] | None,
        typer.Option(
            "--symbols",
            "-s",
            metavar="FILE",
            readable=False,
            help="vmlinux or module file; repeatable.",
        ),
    ] = None
    debug_directory: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", readable=False, help="Tree like /usr/lib/debug; repeatable."),
    ] = None
    types: Annotated[
        str, typer.Option(metavar="auto|dwarf|btf", help="Where names and types come from.")
    ] = "auto"
    format: Annotated[str, typer.Option(metavar="text|json|jsonl", help="Output format.")] = "text"
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", readable=False, help="Write there, not stdout."
        ),
    ] = None
    recipes: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", readable=False, help="More recipes; repeatable."),
    ] = None
    redact: Annotated[bool, typer.Option("--redact", help="Hide names and addresses.")] = False
    download: Annotated[bool, typer.Option("--download", help="Ask debuginfod.")] = False
    syntax: Annotated[str, typer.Option(metavar="att|intel", help="Assembler syntax.")] = "att"
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="More detail; twice for all.")
    ] = 0
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No warnings on stderr.")] = False
    color: Annotated[
        str, typer.Option(metavar="auto|always|never", help="Colour; NO_COLOR is honoured.")
    ] = "auto"

    @property
    def output_format(self) -> str:
        """``text``, ``json`` or, where the command knows it, ``jsonl``."""
        return "json" if self.json else self.format


_CHOICES = {
    "types": ("auto", "dwarf", "btf"),
    "format": ("text", "json"),
    "syntax": ("att",),
    "color": ("auto", "always", "never"),
}
_LATER = {"format": ("jsonl", "markdown", "html"), "syntax": ("intel",)}


def check(
    options: Options,
    formats: tuple[str, ...] = _CHOICES["format"],
    syntaxes: tuple[str, ...] = _CHOICES["syntax"],
) -> None:
    """Refuse values that the command does not take, and those that are not built yet.

    :param formats: the values of ``--format`` that the command knows
    :param syntaxes: those of ``--syntax``
    :raises UsageError: with the values that are; or a directory of recipes cannot be read
    """
    for name, allowed in {**_CHOICES, "format": formats, "syntax": syntaxes}.items():
        value = getattr(options, name)
        if value in allowed:
            continue
        if value in _LATER.get(name, ()):
            raise UsageError(f"--{name} {value} is not built yet; use {' or '.join(allowed)}")
        raise UsageError(f"--{name} {value}: not one of {', '.join(allowed)}")
    if options.redact:
        raise not_built("--redact")
    check_directories("--recipes", options.recipes or [])


def not_built(what: str) -> UsageError:
    """Make the error for something the contract names and this version lacks."""
    return UsageError(f"{what} is not built yet")


@functools.cache
def _hints() -> dict[str, Any]:
    return typing.get_type_hints(Options, include_extras=True)


def with_common(
    function: Callable[..., int], run: Callable[[Callable[[], int], Options, Path | None], None]
) -> Callable[..., None]:
    """Give a command the common options.

    :param function: takes its own parameters and, last, ``options``
    :param run: calls the command and ends the process with its exit code; it is given what
        the command is about, where that is one file
    """
    hints = typing.get_type_hints(function, include_extras=True)
    own = [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name != "options"
    ]
    common_hints = _hints()
    common = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(Options, name),
            annotation=annotation,
        )
        for name, annotation in common_hints.items()
    ]

    def command(**given: Any) -> None:  # noqa: ANN401 - as typer parsed them
        options = Options(**{name: given.pop(name) for name in common_hints})
        run(
            lambda: function(**given, options=options),
            options,
            given.get("vmcore", given.get("file")),
        )

    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    command.__signature__ = inspect.Signature([*keyword, *common])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in [*keyword, *common]}
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    return command
