"""Pairs between two runs of vectors, held against every cosine between them."""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
import pytest
from leak.making import QUIET, vector_config, vector_run

from scanner.core.errors import EncoderError, StoreError
from scanner.core.store import Store
from scanner.lab.vectors import PlantedVectors
from scanner.leak import matching
from scanner.leak.journal import Journal
from scanner.leak.matching import match
from scanner.leak.stored import StoredSet, check_encoders
from scanner.search.exact import pair_similarities
from scanner.search.searches import CellsJoin

THRESHOLD = 0.9


@pytest.fixture(scope="module")
def rows():
    """Pictures with copies, some of them equal, in any order: the first 400 are here, the others there."""
    settings = {"d": 32, "largest": 30, "cosines": (0.86, 0.999), "exact_share": 0.2, "grouped_share": 0.7}
    return np.random.default_rng(0).permutation(PlantedVectors(n=600, seed=5, **settings).rows())


def image_pairs(matched) -> set[tuple[int, int]]:
    found = set()
    for a, b in zip(matched.pairs.left.tolist(), matched.pairs.right.tolist(), strict=True):
        left, right = (m.members[m.starts[g] : m.starts[g + 1]].tolist() for m, g in ((matched.left, a), (matched.right, b)))
        found |= {(x, y) for x in left for y in right}
    return found


def truth(x, y, ids_x, ids_y) -> set[tuple[int, int]]:
    i, j = np.divmod(np.arange(len(x) * len(y)), len(y))
    near = pair_similarities(x, y, i, j) >= np.float32(THRESHOLD)
    return set(zip(ids_x[i[near]].tolist(), ids_y[j[near]].tolist(), strict=True))


def runs(rows, tmp_path, *, num_here=400, part_rows=150):
    here = vector_run(
        tmp_path / "here", [rows[i : i + part_rows] for i in range(0, num_here, part_rows)][: -(-num_here // part_rows)]
    )
    there = vector_run(tmp_path / "there", [rows[num_here:][:90], rows[num_here:][90:]], first_shard=7)
    return StoredSet(here), StoredSet(there)


def ids(stored: StoredSet) -> np.ndarray:
    return stored.store.read("embeddings", ["image_id"])["image_id"].to_numpy()


def vectors(stored: StoredSet) -> np.ndarray:
    return np.concatenate([stored.read(part).vectors for part in stored.manifests["embeddings"].parts])


def compared(here, there, config=None, name="a"):
    config = config or vector_config(leak__max_partners=1000)
    return match(here, there, THRESHOLD, config, QUIET, Journal(here.store, name, "0" * 64))


@pytest.mark.parametrize("memory", ["auto", "20kB"])
def test_all_pairs_and_no_others_in_one_slab_and_in_many(rows, tmp_path, memory, monkeypatch):
    here, there = runs(rows, tmp_path)
    monkeypatch.setattr(matching.searches, "PROCESS_BYTES", 0)
    config = vector_config(leak__max_partners=1000, compute__memory=memory, compute__scratch=str(tmp_path / "scratch"))
    matched = compared(here, there, config)
    expected = truth(vectors(here), vectors(there), ids(here), ids(there))
    assert len(expected) > 100
    assert image_pairs(matched) == expected
    assert matched.num_pairs == len(matched.pairs)
    assert matched.search == "join"
    assert matched.recall is None
    assert (np.diff(matched.pairs.similarity) <= 0).all(), "best first"


def test_a_slab_is_as_many_parts_as_memory_allows(rows, tmp_path):
    here, _ = runs(rows, tmp_path)
    assert [[part.index for part in slab] for slab in here.slabs(300)] == [[0, 1], [2]]
    assert [[part.index for part in slab] for slab in here.slabs(1)] == [[0], [1], [2]]
    assert [[part.index for part in slab] for slab in here.slabs(10**9)] == [[0, 1, 2]]


def test_partners_are_bounded_and_every_image_with_one_keeps_its_best(rows, tmp_path):
    here, there = runs(rows, tmp_path)
    whole = compared(here, there)
    few = compared(here, there, vector_config(leak__max_partners=1), "b")
    assert few.num_pairs == whole.num_pairs > len(few.pairs)
    for side in (0, 1):
        assert {pair[side] for pair in image_pairs(few)} == {pair[side] for pair in image_pairs(whole)}
    best = {}
    for a, b, s in zip(whole.pairs.left.tolist(), whole.pairs.right.tolist(), whole.pairs.similarity.tolist(), strict=True):
        best[a] = max(best.get(a, (0, 0)), (s, -b))
    kept = set(zip(few.pairs.left.tolist(), few.pairs.similarity.tolist(), strict=True))
    assert all((a, s) in kept for a, (s, _) in best.items())


def class_pairs(matched) -> set[tuple[int, int]]:
    """By the first image of each class."""
    first = [side.members[side.starts[:-1]] for side in (matched.left, matched.right)]
    return set(zip(first[0][matched.pairs.left].tolist(), first[1][matched.pairs.right].tolist(), strict=True))


def test_cells_say_what_they_missed(rows, tmp_path, monkeypatch):
    here, there = runs(rows, tmp_path)
    config = vector_config(leak__max_partners=1000, neighbors__search="cells", neighbors__recall=0.95)
    whole = class_pairs(compared(here, there, name="whole"))
    assert len(whole) > 100
    for name, options in (("as chosen", None), ("no reach", {"reach": 0.0, "num_cells": 20})):
        if options:
            monkeypatch.setattr(matching.searches, "CellsJoin", partial(CellsJoin, **options))
        matched = compared(here, there, config, name)
        found = class_pairs(matched)
        assert found < whole if options else found <= whole
        assert len(found) > 0.9 * len(whole)
        # Every distinct image there is in the sample, so the audit is the truth.
        shares = [
            np.mean([pair in found for pair in whole if pair[1] == right]) for right in sorted({right for _, right in whole})
        ]
        assert matched.recall.value == pytest.approx(np.mean(shares))
        assert matched.recall.num_rows == len(shares)
        assert matched.recall.low < matched.recall.value


def test_copies_of_one_file_are_one_row_of_the_search(tmp_path):
    """Equal bytes whose vectors differ in a last digit, as they do in another batch of the encoder."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((60, 32)).astype(np.float16)
    x /= np.linalg.norm(x.astype(np.float32), axis=1, keepdims=True).astype(np.float16)
    x[10:40] = x[10] + (rng.random((30, 32)) * 1e-3).astype(np.float16)
    shas = [hashlib.sha256(b"same" if 10 <= i < 40 else bytes([i])).digest() for i in range(60)]
    here = StoredSet(vector_run(tmp_path / "here", [x], shas=[shas]))
    there = StoredSet(vector_run(tmp_path / "there", [x[10:12]], shas=[shas[10:12]]))
    matched = compared(here, there)
    assert len(matched.pairs) == 1
    assert matched.left.members.tolist() == list(range(10, 40))
    assert matched.right.members.tolist() == [0, 1]


def test_a_stopped_search_goes_on_after_its_last_slab(rows, tmp_path, monkeypatch):
    here, there = runs(rows, tmp_path)
    config = vector_config(leak__max_partners=5, compute__memory="20kB", compute__scratch=str(tmp_path / "scratch"))
    monkeypatch.setattr(matching.searches, "PROCESS_BYTES", 0)
    whole = compared(here, there, config, "whole")
    between, calls = matching.searches.between, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return between(*arguments)

    monkeypatch.setattr(matching.searches, "between", failing)
    with pytest.raises(KeyboardInterrupt):
        compared(here, there, config, "stopped")
    again = compared(here, there, config, "stopped")
    assert len(calls) == 4, "two slabs were known"
    for name in ("left", "right", "similarity"):
        assert np.array_equal(getattr(again.pairs, name), getattr(whole.pairs, name))
    assert np.array_equal(again.left.members, whole.left.members)
    assert again.num_compared == whole.num_compared


def test_an_empty_set_has_no_pairs(rows, tmp_path):
    here = StoredSet(vector_run(tmp_path / "here", [rows[:20]]))
    empty = StoredSet(vector_run(tmp_path / "empty", [rows[:0]]))
    for a, b in ((here, empty), (empty, here), (empty, empty)):
        assert len(compared(a, b).pairs) == 0


def test_vectors_of_two_encoders_are_not_compared(rows, tmp_path):
    here = StoredSet(vector_run(tmp_path / "here", [rows[:9]]))

    def other(name, batch=None, **metadata):
        return StoredSet(vector_run(tmp_path / name, [rows[:9] if batch is None else batch], **metadata))

    assert check_encoders(here, other("same")) == ""
    for name, metadata, said in (
        ("weights", {"weights_digest": "v" * 64}, "weights differ"),
        ("preprocess", {"preprocess_id": "87654321"}, "preprocessing differ"),
        ("ready", {"encoder": "ready"}, "nothing says that one encoder made both"),
    ):
        with pytest.raises(EncoderError, match=said) as error:
            check_encoders(here, other(name, **metadata))
        assert "--encoder" in error.value.next_step
    with pytest.raises(EncoderError, match="16 numbers"):
        check_encoders(here, other("dim", rows[:9, :16].copy()))
    assert "bf16" in check_encoders(here, other("precision", precision="bf16"))
    both = (other("a", encoder="ready"), other("b", encoder="ready"))
    assert "taken on trust" in check_encoders(*both)


def test_a_run_without_tables_is_told(tmp_path):
    with pytest.raises(StoreError, match="no table"):
        StoredSet(Store(str(tmp_path)))
