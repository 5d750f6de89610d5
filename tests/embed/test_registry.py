from __future__ import annotations

from dataclasses import replace

import pytest

from scanner.core.store import Store
from scanner.embed.registry import commit_shards, read_shards, register
from scanner.sources.base import UNFETCHED, Shard


class Listed:
    """A source of which only the listing matters."""

    def __init__(self, *shards: Shard) -> None:
        self._shards = list(shards)

    def shards(self) -> list[Shard]:
        return self._shards


def shard(url: str, *, etag: str = "1", rows: int = 10) -> Shard:
    return Shard(url=url, size=100, etag=etag, num_rows_estimate=rows)


def scan(known, *shards, part_rows=25):
    return register(known, {"set": Listed(*shards)}, part_rows=part_rows)


def test_ids_follow_first_sight_and_parts_fill_up():
    rows = scan([], *(shard(f"{i}.tar") for i in range(5)))
    assert [(row.shard_id, row.part) for row in rows] == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)]


def test_a_shard_larger_than_a_part_is_a_part_of_its_own():
    rows = scan([], shard("a", rows=100), shard("b", rows=100), shard("c", rows=1))
    assert [row.part for row in rows] == [0, 1, 2]


def test_a_new_shard_gets_a_new_part_wherever_it_sorts():
    first = scan([], shard("b.tar"), shard("c.tar"))
    second = scan(first, shard("a.tar"), shard("b.tar"), shard("c.tar"))
    assert second[:2] == first
    assert (second[2].url, second[2].shard_id, second[2].part) == ("a.tar", 2, 1)


def test_a_changed_shard_gets_a_new_id_and_the_old_is_superseded():
    first = scan([], shard("a.tar"), shard("b.tar"))
    second = scan(first, shard("a.tar", etag="2"), shard("b.tar"))
    assert [(row.shard_id, row.url, row.status) for row in second] == [
        (0, "a.tar", "superseded"), (1, "b.tar", "current"), (2, "a.tar", "current"),
    ]  # fmt: skip
    assert second[0].error_message == "changed since"
    # Seen again as it was at first: the id stays retired.
    third = scan(second, shard("a.tar", etag="1"), shard("b.tar"))
    assert [row.status for row in third] == ["superseded", "current", "superseded", "current"]
    assert third[3].shard_id == 3


def test_a_shard_that_is_gone_is_superseded():
    second = scan(scan([], shard("a.tar"), shard("b.tar")), shard("b.tar"))
    assert (second[0].status, second[0].error_message) == ("superseded", "no longer in the source")


def test_the_same_name_in_two_sets_is_two_shards():
    rows = register([], {"x": Listed(shard("a.tar")), "y": Listed(shard("a.tar"))}, part_rows=100)
    assert [(row.dataset, row.shard_id) for row in rows] == [("x", 0), ("y", 1)]


@pytest.mark.parametrize("num_shards", [0, 3])
def test_the_table_reads_back_as_written(tmp_path, num_shards):
    store = Store(str(tmp_path))
    rows = scan([], *(shard(f"{i}.tar", etag=None if i else "e") for i in range(num_shards)))
    commit_shards(store, rows)
    assert read_shards(store) == rows


def test_a_shard_that_could_not_be_fetched_is_read_again_under_a_new_id():
    first = scan([], shard("a.tar"), shard("b.tar"))
    told = [replace(first[0], status="broken", error_message=f"{UNFETCHED}refused", num_rows=0), replace(first[1], num_rows=10)]
    second = scan(told, shard("a.tar"), shard("b.tar"))
    assert [(row.shard_id, row.url, row.status, row.error_message) for row in second] == [
        (0, "a.tar", "superseded", "read again"), (1, "b.tar", "current", None), (2, "a.tar", "current", None),
    ]  # fmt: skip
    assert second[2].part > second[1].part
    broken = [replace(first[0], status="broken", error_message="a.tar is broken: cut", num_rows=3), *first[1:]]
    assert scan(broken, shard("a.tar"), shard("b.tar"))[0].status == "broken", "what is broken itself is not read in vain"
