"""Where debug info is to be had, and fetching it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from crashkit.errors import SymbolsError
from crashkit.symbols import download
from crashkit.symbols.download import cached, fetch
from crashkit.symbols.where import FEDERATED, debuginfo_urls, distribution_of, offer, servers

BUILD_ID = "3225ecf56c21d664807dde508b17f015019e671e"
DEBUG_FILE = b"\x7fELF" + bytes(5000)


@pytest.mark.parametrize(
    ("release", "version", "name", "package"),
    [
        ("6.1.0-56-cloud-amd64", "#1 SMP Debian 6.1.192-2", "Debian",
         "linux-image-6.1.0-56-cloud-amd64-dbg"),
        ("6.1.0-56-amd64", None, "Debian", "linux-image-6.1.0-56-amd64-dbg"),
        ("5.15.0-89-generic", "#99-Ubuntu SMP", "Ubuntu",
         "linux-image-unsigned-5.15.0-89-generic-dbgsym"),
        ("3.10.0-1160.el7.x86_64", None, "RHEL or a rebuild of it",
         "kernel-debuginfo-3.10.0-1160.el7.x86_64"),
        ("5.15.0-101.el8uek.x86_64", None, "Oracle Linux (UEK)",
         "kernel-uek-debuginfo-5.15.0-101.el8uek.x86_64"),
        ("6.9.5-200.fc40.x86_64", None, "Fedora", "kernel-debuginfo-6.9.5-200.fc40.x86_64"),
        ("6.4.0-150600.23-default", None, "SUSE", "kernel-default-debuginfo"),
        ("5.14.21-150500.33.45-azure", None, "SUSE", "kernel-azure-debuginfo"),
        ("6.5.0-1007-azure", None, "Ubuntu", "linux-image-unsigned-6.5.0-1007-azure-dbgsym"),
        ("5.15.0-1051-raspi", "#54-Ubuntu SMP", "Ubuntu", "linux-image-5.15.0-1051-raspi-dbgsym"),
        ("6.12.9+bpo-amd64", None, "Debian", "linux-image-6.12.9+bpo-amd64-dbg"),
        ("6.1.0-30-686-pae", None, "Debian", "linux-image-6.1.0-30-686-pae-dbg"),
        ("4.18.0-553.el8_10.x86_64", None, "RHEL or a rebuild of it",
         "kernel-debuginfo-4.18.0-553.el8_10.x86_64"),
        ("5.14.0-427.13.1.el9_4.x86_64+debug", None, "RHEL or a rebuild of it",
         "kernel-debug-debuginfo-5.14.0-427.13.1.el9_4.x86_64"),
        ("5.14.0-427.13.1.el9_4.x86_64+rt", None, "RHEL or a rebuild of it",
         "kernel-rt-debuginfo-5.14.0-427.13.1.el9_4.x86_64"),
        ("3.10.0-1160.el7.x86_64.debug", None, "RHEL or a rebuild of it",
         "kernel-debug-debuginfo-3.10.0-1160.el7.x86_64"),
        ("4.18.0-305.rt7.72.el8.x86_64", None, "RHEL or a rebuild of it",
         "kernel-rt-debuginfo-4.18.0-305.rt7.72.el8.x86_64"),
        ("5.10.205-195.807.amzn2.x86_64", None, "Amazon Linux",
         "kernel-debuginfo-5.10.205-195.807.amzn2.x86_64"),
        ("6.1.66-91.160.amzn2023.x86_64", None, "Amazon Linux",
         "kernel-debuginfo-6.1.66-91.160.amzn2023.x86_64"),
        ("6.12.22-27.96.amzn2023.x86_64", None, "Amazon Linux",
         "kernel6.12-debuginfo-6.12.22-27.96.amzn2023.x86_64"),
        ("5.10.0-216.0.0.115.oe2203sp4.x86_64", None, "openEuler",
         "kernel-debuginfo-5.10.0-216.0.0.115.oe2203sp4.x86_64"),
        ("6.1.192-crashkit", "#1 SMP PREEMPT_DYNAMIC", None, None),
        (None, None, None, None),
    ],
)  # fmt: skip
def test_a_kernel_tells_its_distribution(
    release: str | None, version: str | None, name: str | None, package: str | None
) -> None:
    found = offer(release, version, BUILD_ID, {})
    assert (found.distribution, found.package) == (name, package)
    assert found.urls[-1] == f"{FEDERATED}/buildid/{BUILD_ID}/debuginfo"


def test_a_release_with_other_characters_names_no_package() -> None:
    found = offer("6.1.0-1-amd64; rm -rf x", "Debian", BUILD_ID, {})
    assert (found.package, found.command) == (None, None)


def test_the_environment_names_the_servers() -> None:
    given = {"DEBUGINFOD_URLS": "https://a.example/ http://b.example ftp://c file:///etc"}
    debian = distribution_of("6.1.0-56-amd64", None)
    assert servers(debian, given) == ("https://a.example", "http://b.example")
    assert servers(debian, {}) == ("https://debuginfod.debian.net", FEDERATED)


@pytest.mark.parametrize("build_id", [None, "", "../../etc", "0123"])
def test_nothing_is_asked_without_a_build_id(build_id: str | None) -> None:
    assert debuginfo_urls(build_id, (FEDERATED,)) == []


class Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == f"/buildid/{BUILD_ID}/debuginfo":
            self._answer(200, DEBUG_FILE, len(DEBUG_FILE))
        elif self.path == "/html":
            self._answer(200, b"<html>no</html>", 15)
        elif self.path == "/cut":
            self._answer(200, DEBUG_FILE[:100], len(DEBUG_FILE))
        else:
            self._answer(404, b"", 0)

    def _answer(self, code: int, body: bytes, length: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.setenv("DEBUGINFOD_CACHE_PATH", str(tmp_path / "cache"))
    made = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_debug_file_is_fetched_from_the_server_that_has_it(server: str) -> None:
    seen: list[tuple[int, int | None]] = []
    urls = [f"{server}/gone", f"{server}/buildid/{BUILD_ID}/debuginfo"]
    path = fetch(BUILD_ID, urls, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == DEBUG_FILE
    assert seen[-1] == (len(DEBUG_FILE), len(DEBUG_FILE))
    assert fetch(BUILD_ID, []) == path == cached(BUILD_ID)


@pytest.mark.parametrize(
    ("path", "words"),
    [("/gone", "404"), ("/html", "no ELF file"), ("/cut", "100 bytes of 5004")],
)
def test_what_is_no_debug_file_is_not_kept(server: str, path: str, words: str) -> None:
    with pytest.raises(SymbolsError, match=words):
        fetch(BUILD_ID, [server + path])
    assert cached(BUILD_ID) is None


def test_no_server_is_said(server: str) -> None:
    with pytest.raises(SymbolsError, match="set DEBUGINFOD_URLS"):
        fetch(BUILD_ID, [])
    with pytest.raises(SymbolsError, match="could not be fetched"):
        fetch(BUILD_ID, ["http://127.0.0.1:9/x"])
    assert server


def test_a_server_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(SymbolsError, match="timed out"):
            fetch(BUILD_ID, [url])
        path = fetch(BUILD_ID, [url, f"{server}/buildid/{BUILD_ID}/debuginfo"])
    assert path.read_bytes() == DEBUG_FILE
