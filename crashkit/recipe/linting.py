"""Reading recipes for what is wrong with them; nothing of them is run."""

from __future__ import annotations

import ast
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from crashkit.errors import RecipeError, UsageError
from crashkit.finding import Fix
from crashkit.recipe.flaws import Flaw, Flaws
from crashkit.recipe.lint_checks import lint_checks
from crashkit.recipe.lint_imports import lint_imports
from crashkit.recipe.lint_reads import lint_reads
from crashkit.recipe.loading import find_source, recipe_directories, recipe_files
from crashkit.recipe.meta import Meta, read_source

_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+\Z")
_COMMIT = re.compile(r"[0-9a-f]{12,40}\Z")
_LIKE_COMMIT = re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,40}\b")
_SHORTEST = 11
_RELEASE = re.compile(r"v\d{1,2}\.\d{1,3}(?:\.\d{1,3})?(?:-rc\d{1,2})?\Z")
_STABLE = re.compile(r"\d{1,2}\.\d{1,3}\.\d{1,4}\Z")
_AT = re.compile(r"recipe (?P<name>.*?)(?::(?P<line>\d+))?: (?P<words>.*)", re.DOTALL)


def lint_all(named: Sequence[str], extra: Sequence[Path] = ()) -> tuple[int, list[Flaw]]:
    """Lint what was named: recipe files, directories of them, ids; everything unless named.

    :param extra: further directories in which ids are looked up
    :returns: how many files were read, and the flaws
    :raises UsageError: no file, directory or recipe of that name
    """
    files: dict[Path, None] = {}
    for place in named or map(str, recipe_directories(extra)):
        files |= dict.fromkeys(_files_of(place, extra))
    flaws = [flaw for path in files for flaw in lint_file(path)]
    return len(files), [*flaws, *_same_ids(list(files))]


def _files_of(place: str, extra: Sequence[Path]) -> list[Path]:
    path = Path(place)
    try:
        kind = path.stat().st_mode
    except PermissionError as error:
        raise UsageError(f"{place} is below a directory that this user may not enter") from error
    except OSError:
        kind = 0
    if stat.S_ISDIR(kind):
        if not os.access(path, os.R_OK | os.X_OK):
            raise UsageError(f"{place} cannot be read by this user; run as root or ask its owner")
        return recipe_files(path)
    if stat.S_ISREG(kind):
        return [path]
    if path.suffix == ".py" or "/" in place:
        raise UsageError(f"{place} is no file or directory; name a recipe's file, folder or id")
    try:
        return [find_source(place, extra).path]
    except RecipeError as broken:
        stem = place.replace("-", "_") + ".py"
        for directory in recipe_directories(extra):
            found = [file for file in recipe_files(directory) if file.name == stem]
            if found:
                return found
        raise broken


def _same_ids(files: Sequence[Path]) -> list[Flaw]:
    first: dict[str, Path] = {}
    flaws = []
    for path in files:
        try:
            recipe_id = read_source(path, str(path)).meta.id
        except RecipeError:
            continue
        if first.setdefault(recipe_id, path) != path:
            message = f"id {recipe_id} is that of {first[recipe_id]}; choose another"
            flaws.append(Flaw(path=str(path), line=1, message=message))
    return flaws


def lint_file(path: Path) -> list[Flaw]:
    """Lint one recipe file."""
    flaws = Flaws(str(path))
    if path.name.startswith((".", "_")):
        flaws.add(1, "the name begins with a dot or an underscore, so it is never loaded")
    try:
        meta = read_source(path, str(path)).meta
    except RecipeError as wrong:
        return [*flaws, _flaw_of(path, wrong)]
    tree = ast.parse(path.read_bytes())
    _lint_meta(flaws, _meta_line(tree), meta, path)
    lint_imports(flaws, tree)
    lint_checks(flaws, tree)
    lint_reads(flaws, tree)
    return sorted(flaws, key=lambda flaw: flaw.line)


def _flaw_of(path: Path, wrong: RecipeError) -> Flaw:
    found = _AT.fullmatch(str(wrong))
    line = int(found["line"] or 1) if found else 1
    return Flaw(path=str(path), line=line, message=found["words"] if found else str(wrong))


def _meta_line(tree: ast.Module) -> int:
    for node in tree.body:
        names = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(name, ast.Name) and name.id == "META" for name in names):
            return node.lineno
    return 1


def _lint_meta(flaws: Flaws, line: int, meta: Meta, path: Path) -> None:
    if not _ID.match(meta.id):
        flaws.add(line, f"id {meta.id!r} is not words of a-z and 0-9 with - between them")
    elif path.stem != meta.id.replace("-", "_"):
        flaws.add(line, f"the file of {meta.id} is to be called {meta.id.replace('-', '_')}.py")
    if not meta.references:
        flaws.add(line, "no references: name the commits or sources that say why the checks decide")
    _lint_words(flaws, line, meta)
    _lint_samples(flaws, line, meta)
    if meta.fix is not None:
        _lint_fix(flaws, line, meta.fix)


def _lint_words(flaws: Flaws, line: int, meta: Meta) -> None:
    for text in (*meta.references, *meta.told_apart_from, *meta.matches, *meta.rejects):
        if not text.strip():
            flaws.add(line, "an empty phrase in META")
    for text in meta.references:
        for found in _LIKE_COMMIT.findall(text):
            if len(found) < _SHORTEST:
                flaws.add(line, f"commit {found} is too short to be one for ever; give 12 digits")


def _lint_samples(flaws: Flaws, line: int, meta: Meta) -> None:
    if not meta.matches:
        flaws.add(line, "no matches: name the sample or lab scenario that it confirms")
    if not meta.rejects and not meta.told_apart_from:
        flaws.add(line, "no look-alike: name one in rejects, or say it in told_apart_from")
    for both in sorted(set(meta.matches) & set(meta.rejects)):
        flaws.add(line, f"{both} is in matches and in rejects")


def _lint_fix(flaws: Flaws, line: int, fix: Fix) -> None:
    if not _COMMIT.match(fix.upstream):
        flaws.add(line, f"fix.upstream {fix.upstream!r} is no commit of 12 or more digits")
    if not _RELEASE.match(fix.release):
        flaws.add(line, f"fix.release {fix.release!r} is not like v6.1 or v6.12-rc3")
    for release in fix.stable:
        if not _STABLE.match(release):
            flaws.add(line, f"fix.stable {release!r} is not like 6.1.57")
    if fix.in_this_binary is not None or fix.how_seen is not None:
        flaws.add(line, "META cannot know whether a binary has the fix; fix(crash) looks")
