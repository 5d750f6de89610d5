import pytest

from scanner.sources.fields import clean_key, clean_text, clean_text_file, read_pixels, read_record, read_sha256


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a cat", "a cat"),
        ("  kept  \n", "  kept  \n"),
        (b"caf\xc3\xa9", "café"),
        (b"caf\xe9", "caf\ufffd"),
        (b"\xef\xbb\xbfmark", "mark"),
        ("nul\0byte", "nul\ufffdbyte"),
        ("lone \ud800", "lone \ufffd"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("", None),
        (" \t\n", None),
        (None, None),
        (7, None),
        (["a"], None),
    ],
)
def test_clean_text(raw, text):
    assert clean_text(raw) == text
    if text:
        assert text.encode()


def test_text_files_lose_one_trailing_newline_only():
    assert clean_text_file(b"one\n\n") == "one\n"
    assert clean_text_file(b"one\r\n") == "one"
    assert clean_text_file(b"\n") is None
    assert clean_text("one\n") == "one\n"


def test_keys_are_always_text():
    assert clean_key("a\udcff") == "a\ufffd"
    assert clean_key(12) == "12"
    assert clean_key(None) == "None"
    assert clean_key("") == ""


def test_sha256():
    digest = bytes(range(32))
    assert read_sha256(digest.hex()) == read_sha256(digest.hex().encode()) == read_sha256(digest) == digest
    assert read_sha256("z" * 64) is None
    assert read_sha256("abcd") is None
    assert read_sha256(5) is None


@pytest.mark.parametrize(
    ("raw", "pixels"),
    [(640, 640), (640.0, 640), (0, None), (-1, None), (True, None), (float("nan"), None), ("640", None), (2**40, None)],
)
def test_pixels(raw, pixels):
    assert read_pixels(raw) == pixels


def test_records_that_are_no_objects_are_none():
    assert read_record(b'{"caption": "x"}') == {"caption": "x"}
    for broken in (b"[1]", b"{", b"[" * 100_000, b"\xff\xfe", b""):
        assert read_record(broken) is None
