"""The command line: parse, call, print, exit code."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crashkit._version import __version__
from crashkit.cli.options import Options, check, with_common
from crashkit.cli.output import Output, complain
from crashkit.errors import CrashkitError, Reason, Unavailable
from crashkit.report.escape import safe

if TYPE_CHECKING:
    from crashkit.crash import Crash

INTERRUPTED = 130
INTERNAL = 1
_RUN_CODES = {"confirmed": 0, "refuted": 10, "inconclusive": 11}
_DOES_NOT_APPLY = 12

app = typer.Typer(
    name="crashkit",
    help="Turn a Linux vmcore into an explained crash.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
recipes_app = typer.Typer(help="List, show, check and begin recipes.", no_args_is_help=True)
app.add_typer(recipes_app, name="recipes")


def _version(asked: bool) -> None:
    if asked:
        print(f"crashkit {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _run(
    formats: tuple[str, ...],
    syntaxes: tuple[str, ...],
    work: Callable[[], int],
    options: Options,
    about: Path | None = None,
) -> None:
    # Every way a command can end, as one sentence and one exit code.
    try:
        check(options, formats, syntaxes)
        code = work()
    except Unavailable as missing:
        complain(f"{safe(about)}: {_one_line(missing)}" if about else _one_line(missing))
        code = 4 if missing.reason is Reason.NO_DEBUGINFO else 5
    except CrashkitError as error:
        complain(_one_line(error))
        code = error.exit_code
    except KeyboardInterrupt:
        complain("interrupted")
        code = INTERRUPTED
    except Exception as bug:  # noqa: BLE001 - the last resort: a sentence instead of a traceback
        complain(f"internal error: {type(bug).__name__}: {_one_line(bug)}; -vv shows where")
        if options.verbose > 1:
            traceback.print_exc()
        code = INTERNAL
    raise typer.Exit(code)


def _one_line(error: BaseException) -> str:
    return safe(" ".join(str(error).split()))


def command(
    where: typer.Typer,
    name: str,
    *,
    formats: tuple[str, ...] = ("text", "json"),
    syntaxes: tuple[str, ...] = ("att",),
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register a function as a command of ``where``; it returns the exit code.

    :param formats: the values of ``--format`` that it knows
    :param syntaxes: those of ``--syntax``
    """

    def register(function: Callable[..., int]) -> Callable[..., int]:
        where.command(name)(with_common(function, partial(_run, formats, syntaxes)))
        return function

    return register


# readable=False: opening it says why it cannot be read, and what to do.
Vmcore = Annotated[
    Path, typer.Argument(metavar="VMCORE", readable=False, help="The dump, or its directory.")
]


@command(app, "triage")
def triage(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="VMCORE|DIR|LOG [VMLINUX]", readable=False, help="In either order."),
    ],
    options: Options,
) -> int:
    """Explain a crash: everything, as one report."""
    from crashkit.cli.dead_end import Telling, open_or_what_is_left
    from crashkit.cli.inputs import tell_apart, warn
    from crashkit.pipeline import triage as explain
    from crashkit.recipe import load_recipes

    dump, symbols = tell_apart(files)
    extra = options.recipes or []
    with closing(Output(options.output, files, options.color)) as output:
        telling = Telling(options)
        with open_or_what_is_left(dump, options, symbols, telling) as (crash, failed):
            report = explain(crash, recipes=load_recipes(extra), reached=telling.tell)
            if not failed:  # it was said
                warn(crash, options)
        as_json = options.output_format == "json"
        output.write(report.json() if as_json else report.text(options.verbose))
        return failed or report.exit_code


@command(app, "bt")
def bt(
    vmcore: Vmcore,
    options: Options,
    all_cpus: Annotated[bool, typer.Option("-a", help="What runs on each CPU.")] = False,
    pid: Annotated[int | None, typer.Option("-p", metavar="PID", help="One task.")] = None,
    cpu: Annotated[
        str | None, typer.Option("-c", metavar="CPU[,CPU-CPU]", help="What runs on these CPUs.")
    ] = None,
    all_tasks: Annotated[bool, typer.Option(help="All tasks; identical stacks folded.")] = False,
    raw: Annotated[bool, typer.Option("-f", help="With the words of each frame.")] = False,
) -> int:
    """Show stack traces with arguments: the crashed thread's unless told (-v: their proofs)."""
    from crashkit.cli.inputs import open_crash, open_dump, warn
    from crashkit.cli.stacks import Wanted, chosen_stacks
    from crashkit.pipeline import exit_code
    from crashkit.report import build_bt, render_bt, render_json

    wanted = Wanted.of(all_cpus=all_cpus, pid=pid, cpus=cpu, all_tasks=all_tasks)
    with closing(Output(options.output, [vmcore], options.color)) as output:
        with (
            open_dump(vmcore, options, "no other stack than the one printed")
            if wanted != Wanted()
            else open_crash(vmcore, options)
        ) as crash:
            document = build_bt(crash, chosen_stacks(crash, wanted), raw=raw)
            warn(crash, options)
            code = exit_code(crash)
        as_json = options.output_format == "json"
        output.write(render_json(document) if as_json else render_bt(document, options.verbose))
        return code


@command(app, "run")
def run(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="The recipe's id.")],
    vmcore: Vmcore,
    options: Options,
) -> int:
    """Run one recipe: exit 0 confirmed, 10 refuted, 11 inconclusive, 12 does not apply."""
    from crashkit.cli.inputs import open_crash, warn
    from crashkit.pipeline import NO_SYMBOLS, exit_code
    from crashkit.recipe import find_source, load, run_recipe
    from crashkit.report import build_run, render_json, render_run

    chosen = load(find_source(recipe, options.recipes or []))
    with closing(Output(options.output, [vmcore], options.color)) as output:
        with open_crash(vmcore, options) as crash:
            finding, unknown = None, None
            try:
                finding = run_recipe(chosen, crash)
            except Unavailable as missing:
                unknown = str(missing)
            if finding is None and not unknown:
                unknown = _why_not_known(crash)
            document = build_run(crash, recipe, finding, unknown)
            warn(crash, options)
            code = exit_code(crash)
        as_json = options.output_format == "json"
        output.write(render_json(document) if as_json else render_run(document, options.verbose))
    if code == NO_SYMBOLS:
        return code
    if finding is None:
        return _RUN_CODES["inconclusive"] if unknown else _DOES_NOT_APPLY
    if finding.error:
        complain(f"recipe {finding.error}")
        return INTERNAL
    return _RUN_CODES[finding.verdict.value]


def _why_not_known(crash: Crash) -> str | None:
    # Most symptoms are told by the log: without it, one that was not seen may have been there.
    try:
        return None if crash.log else "the kernel log is empty"
    except Unavailable as missing:
        return str(missing)


@command(recipes_app, "list")
def recipes_list(options: Options) -> int:
    """List the recipes; nothing of them is run."""
    from crashkit.recipe import read_sources, recipe_directories
    from crashkit.report import build_recipes, render_json, render_recipes

    sources, errors = read_sources(recipe_directories(options.recipes or []))
    document = build_recipes(sources, [str(e) for e in errors])
    with closing(Output(options.output, (), options.color)) as output:
        as_json = options.output_format == "json"
        output.write(render_json(document) if as_json else render_recipes(document))
    return INTERNAL if errors else 0


@command(recipes_app, "show")
def recipes_show(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="The recipe's id.")],
    options: Options,
) -> int:
    """Show what a recipe claims, its fix and its references; nothing of it is run."""
    from crashkit.recipe import find_source
    from crashkit.report import build_recipe, render_json, render_recipe

    document = build_recipe(find_source(recipe, options.recipes or []))
    with closing(Output(options.output, (), options.color)) as output:
        as_json = options.output_format == "json"
        output.write(render_json(document) if as_json else render_recipe(document))
    return 0
