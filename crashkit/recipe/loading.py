"""Finding recipe files and turning them into recipes."""

from __future__ import annotations

import difflib
import os
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crashkit.errors import RecipeError, UsageError
from crashkit.finding import Check, CheckSpec, Fix
from crashkit.recipe.meta import Meta, Source, read_source
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash import Crash

MAX_FILES = 2000
"""Recipe files of one directory tree."""

ENTRY_POINTS = "crashkit.recipes"
"""Entry-point group whose entries name package directories with recipes."""


@facts
class Recipe:
    """A recipe ready to run."""

    meta: Meta
    source: Source
    applies: Callable[[Crash], bool]
    """The cheap question whether the symptom fits at all."""
    checks: Callable[[Crash], Iterator[CheckSpec]]
    """The checks in the order a person would make them."""
    fix: Callable[[Crash], Fix | None] | None = None
    """Whether this binary has the fix, seen in its instructions."""
    history: Callable[[Crash], Sequence[str]] | None = None
    """What led to the states, told with this dump's values."""
    to_settle: Callable[[Crash, Sequence[Check]], Sequence[str]] | None = None
    """What would turn an inconclusive verdict into another."""
    classes: Callable[[Crash, Sequence[Check]], Sequence[str]] | None = None
    """Which of META.classes this crash is; without it, all of them."""
    advice: Callable[[Crash, Sequence[Check]], Sequence[str]] | None = None
    """What to do today about this crash, in clauses; without it, META.advice."""


@facts
class Recipes:
    """The recipes of all directories, and what was wrong with the others."""

    recipes: tuple[Recipe, ...]
    errors: tuple[RecipeError, ...] = ()

    def find(self, recipe_id: str) -> Recipe | None:
        """Find a recipe by its id."""
        return next((recipe for recipe in self.recipes if recipe.meta.id == recipe_id), None)


def own_directory() -> Path | None:
    """Find crashkit's own recipes: in the wheel, else beside the package in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for place in (package / "_recipes", package.parent / "recipes"):
        if place.is_dir():
            return place
    return None


def recipe_directories(extra: Sequence[Path] = ()) -> list[Path]:
    """List the directories to scan: crashkit's own, those of installed packages, ``extra``."""
    own = own_directory()
    return [*([own] if own else []), *_installed(), *extra]


def _installed() -> Iterator[Path]:
    # A package is located, not imported: only the recipe files themselves are ever run.
    if not any(map(_may_declare, sys.path)):
        return
    from importlib.metadata import entry_points  # with what it reads 20 ms, and few need it

    for entry in sorted(entry_points(group=ENTRY_POINTS)):
        try:
            spec = find_spec(entry.module)
        except (ImportError, ValueError):
            spec = None
        yield from (Path(place) for place in (spec and spec.submodule_search_locations) or ())


def _may_declare(place: str) -> bool:
    # Whether a distribution installed there may have entry points for recipes.
    try:
        with os.scandir(place or ".") as entries:
            named = [entry.path for entry in entries if entry.name.endswith("-info")]
    except FileNotFoundError:
        return False
    except OSError:
        return True  # a zip file
    return any(ENTRY_POINTS in _entry_points(folder) for folder in named)


def _entry_points(folder: str) -> str:
    try:
        return Path(folder, "entry_points.txt").read_text(errors="replace")
    except OSError:
        return ""  # most have none


def read_sources(
    directories: Sequence[Path], *, trusted: Path | None = None
) -> tuple[list[Source], list[RecipeError]]:
    """Read every recipe file below the directories without running any.

    A second recipe of one id is an error; the first one found stays.

    :param trusted: a directory whose files may be run to learn their META
    """
    sources: dict[str, Source] = {}
    errors: list[RecipeError] = []
    for directory in directories:
        if not directory.is_dir():
            errors.append(RecipeError(f"recipes: {directory} is not a directory"))
            continue
        for path in recipe_files(directory):
            name = str(path.relative_to(directory))
            source = _known_good(path, name) if directory == trusted else None
            try:
                source = source or read_source(path, name)
            except RecipeError as error:
                errors.append(error)
                continue
            first = sources.setdefault(source.meta.id, source)
            if first is not source:
                errors.append(
                    RecipeError(
                        f"recipe {source.name}: id {source.meta.id} is that of {first.name}"
                    )
                )
    return [sources[recipe_id] for recipe_id in sorted(sources)], errors


def recipe_files(directory: Path) -> list[Path]:
    """List the recipe files below a directory; hidden and private ones are none."""
    found = []
    for path in directory.rglob("*.py"):
        parts = path.relative_to(directory).parts
        if not any(part.startswith((".", "_")) for part in parts) and path.is_file():
            found.append(path)
        if len(found) >= MAX_FILES:
            break
    return sorted(found)


def load_recipes(extra: Sequence[Path] = ()) -> Recipes:
    """Load all recipes; what is wrong with one does not keep the others from loading."""
    sources, errors = read_sources(recipe_directories(extra), trusted=own_directory())
    recipes = []
    for source in sources:
        try:
            recipes.append(load(source))
        except RecipeError as error:
            errors.append(error)
    return Recipes(recipes=tuple(recipes), errors=tuple(errors))


def _known_good(path: Path, name: str) -> Source | None:
    # crashkit's own recipes are read strictly by the tests. To parse them in each run would
    # take longer than to run them, so their bytecode and their own META are taken.
    module_name = "crashkit_recipe_" + path.stem
    module = types.ModuleType(module_name)
    try:
        code = SourceFileLoader(module_name, str(path)).get_code(module_name)
        if code is None:
            return None
        sys.modules[module_name] = module  # dataclasses look their module up there
        exec(code, module.__dict__)  # noqa: S102 - our own file
    except Exception:  # noqa: BLE001 - reading it strictly says what is wrong
        return None
    meta, doc = module.__dict__.get("META"), module.__doc__
    if not isinstance(meta, Meta) or not doc:
        return None
    return Source(path=path, name=name, code=code, doc=doc, meta=meta)


def find_source(recipe_id: str, extra: Sequence[Path] = ()) -> Source:
    """Find one recipe's file by its id; nothing is run.

    :raises UsageError: no recipe of that id
    :raises RecipeError: there is none, but a broken file that is named like it
    """
    sources, errors = read_sources(recipe_directories(extra))
    for source in sources:
        if source.meta.id == recipe_id:
            return source
    stem = recipe_id.replace("-", "_")
    for error in errors:
        if f"{stem}.py" in str(error):
            raise error
    close = difflib.get_close_matches(recipe_id, [source.meta.id for source in sources], n=1)
    hint = f"did you mean {close[0]}?" if close else "`crashkit recipes list` names them"
    raise UsageError(f"no recipe {recipe_id}; {hint}")


def load(source: Source) -> Recipe:
    """Run a recipe file, which only defines things, and take its parts.

    :raises RecipeError: it raised; the message names file and line
    """
    module = types.ModuleType("crashkit_recipe_" + source.meta.id.replace("-", "_"))
    module.__file__ = str(source.path)
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    try:
        exec(source.code, module.__dict__)  # noqa: S102 - a recipe is code
    except Exception as bug:  # a recipe is anybody's code: its bug, named, stops no other recipe
        raise RecipeError(f"recipe {where(source, bug)}: {describe(bug)}") from bug
    parts: dict[str, Any] = {
        name: getattr(module, name, None)
        for name in ("applies", "checks", "fix", "history", "to_settle", "classes", "advice")
    }
    return Recipe(meta=source.meta, source=source, **parts)


def where(source: Source, bug: BaseException) -> str:
    """Name the place in a recipe that raised: ``netfilter/clash.py:41``."""
    line, trace = None, bug.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(source.path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return source.name if line is None else f"{source.name}:{line}"


def describe(bug: BaseException) -> str:
    """Describe an exception in one line."""
    words = " ".join(str(bug).split())[:300]
    return f"{type(bug).__name__}: {words}" if words else type(bug).__name__
