"""``scanner serve`` as a process of its own: the address, ^C, and what is told before anything is served."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import webbrowser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from served_run import build
from serving import Client

from scanner.report.serve import browser


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> str:
    return build(tmp_path_factory.mktemp("cli-serve"))[0].root


@pytest.fixture
def call(monkeypatch, capsys):
    """``call(*arguments)``: exit code, output and errors of ``scanner``."""
    from scanner.cli import main as entry

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["scanner", *map(str, arguments)])
        code = 0
        try:
            entry.main()
        except SystemExit as error:
            code = int(error.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def started(run_dir: str, *options: str) -> tuple[subprocess.Popen, Client]:
    command = [sys.executable, "-m", "scanner.cli.main", "serve", run_dir, *options]
    quiet = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=quiet)
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{43}/", line)
    assert found, (line, process.stderr.read())
    return process, Client(found[0])


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_it_serves_until_it_is_stopped_and_leaves_nothing_behind(run_dir, sent, code):
    before = sorted(str(path) for path in Path(run_dir).rglob("*"))
    process, client = started(run_dir, "--no-browser")
    try:
        assert client.get("groups").status == 200
        assert client.get("picture", id=0).status == 200
        assert client.ask("/groups", root="").status == 404
        process.send_signal(sent)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == code
    assert "Traceback" not in err
    assert client.root.strip("/") not in err, "no log holds the token"
    if sent == signal.SIGINT:
        assert out.endswith("Stopped.\n")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((client.host, client.port), timeout=5)
    assert sorted(str(path) for path in Path(run_dir).rglob("*")) == before, "the run is only read"


def test_tokens_are_new_each_time(run_dir):
    roots = []
    for _ in range(2):
        process, client = started(run_dir)
        process.kill()
        process.communicate()
        roots.append(client.root)
    assert roots[0] != roots[1]


def test_a_port_that_is_taken_is_told(call, run_dir):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, err = call("serve", run_dir, "--port", taken.getsockname()[1])
    assert code == 2
    assert "cannot be had" in err
    assert "--port" in err


def test_what_is_no_run_and_packages_that_are_not_there_are_told(call, run_dir, tmp_path, monkeypatch):
    code, _, err = call("serve", tmp_path)
    assert (code, "not a run" in err) == (2, True)
    code, _, err = call("serve", run_dir, "--port", 70_000)
    assert code == 2
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, err = call("serve", run_dir)
    assert code == 2
    assert "pip install 'trainscan[report]'" in err


def test_the_browser_is_told_of_a_file_that_others_cannot_read(monkeypatch):
    told = []
    monkeypatch.setattr(webbrowser, "open", lambda url: told.append(url))
    address = "http://127.0.0.1:9/token/"
    with browser.opened(address):
        while not told:
            pass
        path = Path(unquote(urlsplit(told[0]).path))
        assert "token" not in told[0]
        assert f"0; url={address}" in path.read_text()
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


def test_no_browser_is_started_inside_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    assert not browser.has_screen()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert browser.has_screen()
