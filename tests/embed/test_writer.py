from __future__ import annotations

import threading

import pytest

from scanner.embed.writer import Writer


def test_work_goes_on_while_a_part_is_written():
    go, done = threading.Event(), []
    with Writer() as writer:
        writer.write(lambda: (go.wait(10), done.append(1)))
        assert not done
        go.set()
        writer.write(lambda: done.append(2))
    assert done == [1, 2]


def fail():
    raise OSError("no space left on device")


def test_an_error_of_writing_is_raised_by_the_next_piece_or_at_the_end():
    done = []
    with Writer() as writer:
        writer.write(fail)
        with pytest.raises(OSError, match="no space"):
            writer.write(lambda: done.append(1))
        writer.write(lambda: done.append(2))
    assert done == [2]
    with pytest.raises(OSError, match="no space"), Writer() as writer:
        writer.write(fail)


def write_and_fail(work):
    with Writer() as writer:
        writer.write(work)
        raise ValueError("of the encoder")


def test_what_was_made_before_an_error_is_written():
    done = []
    with pytest.raises(ValueError, match="of the encoder"):
        write_and_fail(lambda: done.append(1))
    assert done == [1]
    with pytest.raises(ValueError, match="of the encoder"):
        write_and_fail(fail)
