"""A new recipe to begin with: it lints clean, and is inconclusive until its check looks."""

from __future__ import annotations

import re
from pathlib import Path

from crashkit.errors import UsageError
from crashkit.value import facts

_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+\Z")
_GROUP = re.compile(r"[a-z][a-z0-9_]*\Z")

_RECIPE = '''"""TODO: what goes wrong, in one line.

TODO: how it comes about, and where in the kernel.

Recognised by: TODO: what of it a dump shows.
"""

from __future__ import annotations

from collections.abc import Iterator

from crashkit.crash import Crash
from crashkit.errors import Reason, Unavailable
from crashkit.finding import CheckSpec, Observation, necessary, seen, supporting
from crashkit.recipe import Meta
from crashkit.value import Origin, Reread, Value

META = Meta(
    id="{id}",
    # The states that a confirmed verdict states; no history.
    claim="TODO: what the dump shows of it",
    # Commits with 12 digits, headers, sources: why the checks decide.
    references=("TODO: file.c: function()",),
    # Samples or lab scenarios that it confirms, and look-alikes that it refutes.
    matches=("TODO-sample",),
    rejects=("TODO-sample-lookalike",),
    told_apart_from=("TODO: what looks alike: what is different then",),
    # fix=Fix(upstream="0123456789ab", title="subsystem: what it did", release="v6.1"),
    # advice="what to do today",
)


def applies(crash: Crash) -> bool:
    """Whether the symptom fits: cheap, from the log or the stack.

    TODO: narrow it, e.g. to ``crash.faulting_function in ("some_function",)``.
    """
    return crash.faulting_function is not None


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    yield supporting("function", "some function faulted", lambda: _function(crash))
    yield necessary("cause", "TODO: the object is in the bad state", lambda: _cause(crash))


def _function(crash: Crash) -> Observation:
    # Every value says how a person reads it again.
    value = Value(
        name="faulting function",
        value=crash.faulting_function or "none",
        origin=Origin.MEMORY,
        reread=Reread(crash="bt", crashkit="crash.faulting_function"),
    )
    return seen(crash.faulting_function is not None, value)


def _cause(crash: Crash) -> Observation:
    # Raise Unavailable for what cannot be had; never guess, and catch nothing. A member:
    #   task = Object(crash.prog, "struct task_struct *", crash.thread.task)
    #   return seen(task.pid == 1, member_value("task->pid", task, "pid", int(task.pid)))
    raise Unavailable("the state", Reason.UNSUPPORTED, "{id} is not written yet")
'''

_TEST = '''"""{id}: what it confirms, what looks like it, and what it cannot read."""

from __future__ import annotations

from pathlib import Path

from crashkit.recipe import Recipe, load
from crashkit.recipe.linting import lint_file
from crashkit.recipe.meta import read_source

PATH = Path(__file__).parent / "{file}"


def the_recipe() -> Recipe:
    """Load it, wherever the file lies."""
    return load(read_source(PATH, PATH.name))


def test_it_lints_clean() -> None:
    assert lint_file(PATH) == []


def test_it_loads() -> None:
    assert the_recipe().meta.id == "{id}"


# TODO: the sample, its look-alike, and the sample with the page of the state taken away:
#
# def test_the_sample_is_confirmed() -> None:
#     with crashkit.open("samples/TODO-sample/vmcore") as crash:
#         assert run_recipe(the_recipe(), crash).verdict is Verdict.CONFIRMED
'''


@facts
class Skeleton:
    """The files that were written."""

    recipe: Path
    test: Path


def write_skeleton(recipe_id: str, group: str, folder: Path) -> Skeleton:
    """Write ``FOLDER/GROUP/my_recipe.py`` and ``FOLDER/GROUP/test_my_recipe.py``.

    :param recipe_id: words of a-z and 0-9 with ``-`` between them
    :param group: the subsystem, the name of a directory
    :raises UsageError: a name that is none, or a file that exists or cannot be written
    """
    if not _ID.match(recipe_id):
        raise UsageError(
            f"{recipe_id!r} is no id: words of a-z and 0-9 with - between them, like lost-wakeup"
        )
    if not _GROUP.match(group):
        raise UsageError(f"--group {group!r} is no directory name of a-z, 0-9 and _")
    stem = recipe_id.replace("-", "_")
    recipe, test = folder / group / f"{stem}.py", folder / group / f"_test_{stem}.py"
    try:
        for path in (recipe, test):
            if path.exists():
                raise UsageError(f"{path} exists and is not replaced")
        recipe.parent.mkdir(parents=True, exist_ok=True)
        recipe.write_text(_RECIPE.format(id=recipe_id), encoding="utf-8")
        test.write_text(_TEST.format(id=recipe_id, file=recipe.name), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be written ({error.strerror})") from error
    return Skeleton(recipe=recipe, test=test)
