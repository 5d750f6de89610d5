from __future__ import annotations

from scanner.core.printable import printable


def test_nothing_steers_a_terminal_and_a_clip_is_visible():
    assert printable("a\x1b[31m\tb\nc\u202ed\u200be\x9bf é 漢", width=40) == "a [31m b c d e f é 漢"
    assert printable("abcdef", width=6) == "abcdef"
    assert printable("abcdefg", width=6) == "abcde…"
