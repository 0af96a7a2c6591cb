"""The command line's own process imports few helpers, and hides none."""

import subprocess
import sys

import pytest

PREPARED = "from crashkit.cli.startup import prepare; prepare(); "


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PREPARED + code], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_one_helper_does_not_import_the_others() -> None:
    code = "import sys; from drgn.helpers.linux.list import list_for_each; print(*sys.modules)"
    assert "drgn.helpers.linux.cgroup" not in run(code)


@pytest.mark.parametrize(
    "code",
    [
        "from drgn.helpers.linux import find_task; print(find_task.__name__)",
        "from drgn.helpers.linux import *; print(find_task.__name__)",
        "import drgn.helpers.linux as h; print(h.find_task.__name__)",
        "import drgn.helpers.linux.list, drgn.helpers.linux as h; print(h.find_task.__name__)",
    ],
)
def test_the_package_still_has_every_name(code: str) -> None:
    assert run(code) == "find_task\n"


def test_a_name_it_has_not_is_an_error() -> None:
    code = (
        "import drgn.helpers.linux as h\n"
        "try: h.no_such_helper\n"
        "except AttributeError as e: print(e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", PREPARED + "\n" + code], capture_output=True, text=True, check=True
    )
    assert "no_such_helper" in done.stdout
