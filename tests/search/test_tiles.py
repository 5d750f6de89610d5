"""One tile: groups that lie among one another are computed one by one, and nothing depends on it."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.search import tiles
from scanner.search.bounds import fit_rotation
from scanner.search.threshold import unit_rows
from scanner.search.tiles import Bounds, HeldRows

THRESHOLD = 0.9


def interleaved(rng: np.random.Generator, *sizes: int) -> np.ndarray:
    """Groups of these sizes in random order, cosines of about .93 within each, and as many rows alone."""
    groups = []
    for size in sizes:
        centre = rng.standard_normal(96)
        noise = rng.standard_normal((size, 96))
        groups.append(centre / np.linalg.norm(centre) + 0.27 * noise / np.linalg.norm(noise, axis=1)[:, None])
    groups.append(rng.standard_normal((sum(sizes), 96)))
    rows = np.concatenate(groups)[rng.permutation(2 * sum(sizes))].astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1)[:, None]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("offset", [None, 0])
def test_groups_among_one_another_give_the_pairs_of_a_brute_force(precision, offset, monkeypatch):
    rows = interleaved(np.random.default_rng(0), 90, 60, 40, 9, 3, 2)
    split = []
    plain = tiles._rows_alike

    def watched(*arguments, **options):
        split.append([len(piece) for piece in plain(*arguments, **options)])
        return plain(*arguments, **options)

    monkeypatch.setattr(tiles, "SPLIT_ENTRIES", 1000)
    monkeypatch.setattr(tiles, "_rows_alike", watched)
    limits = Bounds(np.float32(THRESHOLD), precision)
    rotation = fit_rotation(rows, THRESHOLD, width=24)
    bounds = limits.of(rows, rotation)
    reader = HeldRows(rows)
    found = limits.pairs(bounds, bounds, reader.take, reader.take, offset=offset)
    similarity = rows @ rows.T
    wanted = np.triu(similarity >= THRESHOLD, 1) if offset is not None else similarity >= THRESHOLD
    is_found = np.zeros_like(wanted)
    is_found[found.row, found.column] = True
    assert len(found.row) == is_found.sum(), "no pair twice"
    apart = is_found != wanted
    assert np.abs(similarity[apart] - THRESHOLD).max(initial=0) < 1e-6
    assert np.allclose(found.similarity, similarity[found.row, found.column], atol=1e-6)
    assert {90, 60, 40, 9} <= {size for sizes in split for size in sizes} or offset == 0
    assert len(split[0]) >= 4


def test_rows_of_one_group_are_told_by_their_last_candidate():
    mask = np.zeros((40, 64), bool)
    for group in (np.arange(0, 20, 2), np.arange(1, 21, 2), np.arange(30, 33)):
        mask[np.ix_(group, group)] = True
    pieces = tiles._rows_alike(mask, 23, int(mask.sum()) - tiles.SPLIT_ENTRIES, most_rows=40)
    assert [piece.tolist() for piece in pieces] == [list(range(0, 20, 2)), list(range(1, 21, 2)), [30, 31, 32]]
    (whole,) = tiles._rows_alike(mask, 23, int(mask.sum()), most_rows=40)
    assert whole.tolist() == sorted([*range(20), 30, 31, 32])


def test_on_the_diagonal_groups_are_computed_in_parts():
    mask = np.zeros((40, 64), bool)
    mask[np.ix_(np.arange(0, 40), np.arange(0, 40))] = True
    pieces = tiles._rows_alike(mask, 40, int(mask.sum()) - tiles.SPLIT_ENTRIES - 1, most_rows=16)
    assert [piece.tolist() for piece in pieces] == [list(range(16)), list(range(16, 32)), list(range(32, 40))]


def test_rows_far_from_the_threshold_in_bf16_are_left_out_before_fp32(monkeypatch):
    """Groups whose members pass one another's bounds and lie below the threshold, beside groups above it."""
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((4, 32)).astype(np.float32)
    noise = np.repeat([0.02, 0.6, 0.02, 0.6], 400)[:, None] * rng.standard_normal((1600, 32)).astype(np.float32)
    rows = unit_rows(np.repeat(centres, 400, axis=0) + noise)
    left, right = rows[::2], rows[1::2]
    limits = Bounds(np.float32(THRESHOLD), "bf16")
    rotation = fit_rotation(rows, THRESHOLD, width=4)
    kept = []
    plain = Bounds._screen

    def watched(self, a, b):
        some, others = plain(self, a, b)
        kept.append(((len(a), len(b)), (len(some), len(others))))
        return some, others

    monkeypatch.setattr(Bounds, "_screen", watched)
    found = limits.pairs(limits.of(left, rotation), limits.of(right, rotation), HeldRows(left).take, HeldRows(right).take)
    assert any(after[0] < before[0] / 2 and after[1] < before[1] / 2 for before, after in kept)
    assert any(after == before for before, after in kept)
    similarity = left @ right.T
    is_found = np.zeros(similarity.shape, bool)
    is_found[found.row, found.column] = True
    apart = is_found != (similarity >= THRESHOLD)
    assert np.abs(similarity[apart] - THRESHOLD).max(initial=0) < 1e-6
    assert is_found.sum() >= 2 * 200 * 200
