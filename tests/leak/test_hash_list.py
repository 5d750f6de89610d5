from __future__ import annotations

import pytest

from scanner.core.errors import SourceError
from scanner.leak import hash_list
from scanner.leak.hash_list import MAX_TOLD, read_hash_list

PDQ = ["f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22", "0" * 63 + "1", "A" * 64]
PHASH = ["fedcba9876543210", "0000000000000001"]


def read(tmp_path, text: str | bytes, min_quality: int = 50):
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_hash_list(str(path), min_quality=min_quality)


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(PDQ),
        "\r\n".join(PDQ) + "\r\n",
        "\ufeff" + "\n".join(PDQ),
        "\n".join(f"{one},100,file {i}.jpg" for i, one in enumerate(PDQ)),
        "\n".join(f"hash={one},norm=128,delta=0,quality=90,filename=a.jpg" for one in PDQ),
        "\n".join(f"pdq:{one}\t77" for one in PDQ),
        "\n".join(f'"{one}" ; "60"' for one in PDQ),
        "\n".join(f"  {one}  " for one in PDQ),
    ],
)
def test_lists_as_people_hand_them_on(tmp_path, text):
    found = read(tmp_path, text)
    assert found.kind == "pdq"
    assert found.unusable == ()
    assert found.text == PDQ
    assert found.line.tolist() == [1, 2, 3]
    assert found.words.tolist() == [[int(one[k : k + 16], 16) for k in range(0, 64, 16)] for one in PDQ]


def test_a_header_names_the_columns(tmp_path):
    found = read(tmp_path, f"id,quality,Hash\n7,100,{PHASH[0]}\n8,3,{PHASH[1]}\n")
    assert (found.kind, found.text, found.line.tolist()) == ("phash", PHASH, [2, 3])
    assert found.words[:, 0].tolist() == [int(one, 16) for one in PHASH]


def test_what_says_nothing_is_no_line_of_the_list(tmp_path):
    found = read(tmp_path, f"# from the exchange\n\n{PHASH[0]}\n   \n# end\n0x{PHASH[1].upper()}")
    assert found.line.tolist() == [3, 6]
    assert found.unusable == ()


def test_bad_lines_are_counted_with_their_numbers(tmp_path):
    lines = [PDQ[0], "no hash", PHASH[0], f"{PDQ[1]},49", f"{PDQ[1]},50", PDQ[2][:-1], "x" * 70_000, "\x1b[31mred", PDQ[2]]
    found = read(tmp_path, "\n".join(lines))
    assert found.line.tolist() == [1, 5, 9]
    assert [one.line for one in found.unusable] == [2, 3, 4, 6, 7, 8]
    reasons = {one.line: one.reason for one in found.unusable}
    assert "'no' is no hash" in reasons[2]
    assert "64 bits in a list of hashes of 256" in reasons[3]
    assert "quality 49 is below 50" in reasons[4]
    assert "longer than 65,536 bytes" in reasons[7]
    told = found.told("list.csv")
    assert told[0] == "list.csv: 6 lines cannot be used:"
    assert told[1].startswith("  line 2: ")
    assert "\x1b" not in "".join(told)


def test_many_bad_lines_are_told_in_part_and_counted_in_full(tmp_path):
    found = read(tmp_path, PHASH[0] + "\nbad" * 100)
    told = found.told("x")
    assert "100 lines" in told[0]
    assert len(told) == MAX_TOLD + 2
    assert told[-1] == f"  and {100 - MAX_TOLD} more"


@pytest.mark.parametrize("data", [b"\x00\xff\xfe" * 9, b'"unclosed\n' + PHASH[0].encode(), b"a\rb,c\n" + PHASH[0].encode()])
def test_bytes_of_any_kind_do_not_stop_it(tmp_path, data):
    if PHASH[0].encode() in data:
        assert read(tmp_path, data).text == [PHASH[0]]
    else:
        with pytest.raises(SourceError, match="holds no hash"):
            read(tmp_path, data)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "d41d8cd98f00b204e9800998ecf8427e\n"])
def test_a_list_without_a_hash_is_an_error(tmp_path, text):
    with pytest.raises(SourceError, match="holds no hash") as error:
        read(tmp_path, text)
    assert "16 hex digits" in error.value.next_step


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match="cannot be read"):
        read_hash_list(str(tmp_path / "none.csv"), min_quality=50)


def test_lines_are_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(hash_list, "MAX_LINE", 100)
    found = read(tmp_path, f"{'y' * 1000}\n{PHASH[0]}\n{'z' * 101}\n{PHASH[1]}")
    assert found.line.tolist() == [2, 4]
    assert [one.line for one in found.unusable] == [1, 3]
