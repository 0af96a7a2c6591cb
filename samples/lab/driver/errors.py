"""The errors of the lab, and how the lab runs other programs."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO


class LabError(Exception):
    """Something the lab needs did not happen; the message says what and what to do."""


class GuestError(LabError):
    """A guest ran, but did not do what was expected of it."""


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    stdin: BinaryIO | None = None,
    timeout: float = 600.0,
) -> str:
    """Run *command* and return its standard output.

    :raises LabError: it is not installed, takes longer than *timeout* seconds or fails
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            stdin=stdin,
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{words[0]} is not installed: see samples/lab/apt-packages.txt") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{words[0]} did not end within {timeout:.0f} s") from error
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise LabError(f"{' '.join(words)} failed with {done.returncode}:\n{tail}")
    return done.stdout
