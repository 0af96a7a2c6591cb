"""``crashkit doctor`` on a committed sample, whole and cut."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from crashkit.report import render_doctor
from tests.samples.conftest import SAMPLES

VMCORE = SAMPLES / "clash-ct-net" / "vmcore"
ROOT = Path(__file__).parent.parent.parent


def doctor(path: Path) -> dict[str, Any]:
    code = "import sys; from crashkit.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "doctor", str(path), "--json", "-q"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode in (0, 4, 5), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_whole_dump_answers_all_but_what_was_left_out() -> None:
    found = doctor(VMCORE)
    assert found["schema"] == "crashkit.doctor/1"
    lacking = {a["question"]: a["lacks"] for a in found["answers"] if a["answered"] != "yes"}
    assert lacking == {
        "arguments of processes": ["user memory"],
        "source lines and inlined functions": ["debug info (DWARF)"],
    }
    assert {h["what"]: h["reason"] for h in found["holds"] if h["state"] != "there"} == {
        "user memory": "not-in-dump"
    }
    assert found["left_out"][-1] == "free pages"
    build_id = found["target"]["build_id"]
    assert all(f"/buildid/{build_id}/" in url for url in found["offer"]["urls"])


def test_a_cut_dump_says_what_is_lost(tmp_path: Path) -> None:
    cut = tmp_path / "vmcore-incomplete"
    cut.write_bytes(VMCORE.read_bytes()[:300_000])
    found = doctor(cut)
    assert found["target"]["truncated"]
    by_question = {answer["question"]: answer for answer in found["answers"]}
    where = by_question["where it crashed (bt)"]
    assert where["answered"] == "no"
    assert "symbols" in where["lacks"]
    assert where["remedy"] == "a dump that is whole"


def test_the_log_beside_a_cut_dump_is_used(tmp_path: Path) -> None:
    (tmp_path / "vmcore-incomplete").write_bytes(VMCORE.read_bytes()[:300_000])
    console = (SAMPLES / "clash-ct-net" / "console.txt").read_text()
    (tmp_path / "vmcore-dmesg.txt").write_text(console)
    found = doctor(tmp_path)
    states = {holding["what"]: holding["state"] for holding in found["holds"]}
    assert (states["kernel log"], states["crash report in it"]) == ("there", "there")
    assert any("vmcore-dmesg.txt" in limit["what"] for limit in found["limits"])
    # The log of another kernel is not this dump's.
    (tmp_path / "vmcore-dmesg.txt").write_text(
        "[    0.000000] Linux version 5.10.0-1-amd64 (x@y) \n" + console.split("\n", 1)[1]
    )
    other = {h["what"]: h["state"] for h in doctor(tmp_path)["holds"]}
    assert other["kernel log"] == "absent"


@pytest.mark.parametrize("name", ["/proc/kcore", "nothing-here"])
def test_what_cannot_be_opened_is_one_sentence(name: str) -> None:
    code = "import sys; from crashkit.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "doctor", name]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode in (2, 3)
    assert done.stderr.startswith("crashkit: ")
    assert "Traceback" not in done.stderr


class OtherBuild(BaseHTTPRequestHandler):
    """A debuginfod that has nothing, or something else, or does not answer."""

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        body = Path(sys.executable).resolve().read_bytes() if kind == "other" else b""
        self.send_response(200 if kind == "other" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), OtherBuild)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.mark.parametrize(
    ("kind", "says"),
    [("gone", "404"), ("other", "is not the vmlinux of this dump"), ("nobody", "refused")],
)
def test_what_cannot_be_downloaded_costs_a_warning(
    server: str, tmp_path: Path, kind: str, says: str
) -> None:
    url = "http://127.0.0.1:9" if kind == "nobody" else f"{server}/{kind}"
    code = "import sys; from crashkit.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", str(VMCORE), "--download", "--json"],
        capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "DEBUGINFOD_URLS": url, "DEBUGINFOD_CACHE_PATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (warning,) = done.stderr.splitlines()
    assert says in warning
    assert json.loads(done.stdout)["target"]["types"] == "btf"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_without_a_build_id_nobody_can_be_asked(tmp_path: Path) -> None:
    path = tmp_path / "vmcore"
    path.write_bytes(VMCORE.read_bytes().replace(b"BUILD-ID=", b"BUILD-XX="))
    found = doctor(path)
    assert (found["target"]["build_id"], found["offer"]["urls"]) == (None, [])
    assert "without its build id no server can be asked" in render_doctor(found)


def test_text_lacks_the_dump_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "dmesg.txt"
    path.write_text((SAMPLES / "clash-ct-net" / "console.txt").read_text())
    found = doctor(path)
    states = {holding["what"]: holding["state"] for holding in found["holds"]}
    assert [what for what, state in states.items() if state == "there"] == [
        "kernel log",
        "crash report in it",
    ]
    details = {h["detail"] for h in found["holds"] if h["state"] != "there"}
    assert details == {"there is no dump, only text"}
    assert {answer["remedy"] for answer in found["answers"]} == {"", "the dump"}


def test_of_two_dumps_one_has_to_be_named(tmp_path: Path) -> None:
    for name in ("vmcore.1", "vmcore.2"):
        (tmp_path / name).write_bytes(VMCORE.read_bytes()[:300_000])
    (tmp_path / "vmcore-dmesg.txt").write_text("[    1.000000] BUG: x\n")
    code = "import sys; from crashkit.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "doctor", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (3, "")
    assert "name one of them" in done.stderr
