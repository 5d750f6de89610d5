from __future__ import annotations

from scanner.core import progress as module
from scanner.core.progress import Progress


def test_a_log_gets_plain_lines(capsys, monkeypatch):
    monkeypatch.setattr(module, "PLAIN_LINE_EVERY_S", 0)
    with Progress().bar("embed", total=100, unit="images", is_estimate=True) as bar:
        bar.advance(40)
        bar.expect(80)
        bar.say("b.tar: cut short")
        bar.advance(40)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("embed: 40 of about 100 images, ")
    assert lines[0].endswith(" s left")
    assert lines[1] == "b.tar: cut short"
    assert lines[-1].startswith("embed: 80 images, ")
    assert "\x1b" not in "".join(lines)


def test_work_that_was_done_at_once_is_one_line_and_none_at_all_is_none(capsys):
    with Progress().bar("risk", total=3, unit="tables") as bar:
        bar.advance(3)
    assert len(capsys.readouterr().err.splitlines()) == 1
    with Progress().bar("risk", total=3, unit="tables"):
        pass
    assert capsys.readouterr().err == ""


def test_quiet_says_nothing(capsys):
    progress = Progress(quiet=True)
    progress.say("x")
    with progress.bar("embed", total=1, unit="images") as bar:
        bar.advance()
        bar.say("y")
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress().bar("embed", total=10, unit="images") as bar:
        bar.advance(4)
        bar.expect(2)
        bar.say("a line [that] stays")
    assert "a line [that] stays" in capsys.readouterr().err
