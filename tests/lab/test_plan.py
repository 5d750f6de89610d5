"""The schedule by arithmetic: every row once, sources found, sections as promised, a million as easily as a thousand."""

from __future__ import annotations

import tracemalloc
from collections import Counter, defaultdict

import numpy as np
import pytest

from scanner.core.errors import ConfigError
from scanner.lab.plan import COPY_COUNTS, COPY_KINDS, REGIMES, Plan
from scanner.lab.shuffle import Shuffle


@pytest.mark.parametrize("n", [1, 2, 3, 7, 256, 257, 20_001])
def test_a_shuffle_is_a_permutation_with_its_inverse(n):
    shuffle, other = Shuffle(n, seed=4), Shuffle(n, seed=5)
    index = np.arange(n)
    place = shuffle.place_of(index)
    assert np.array_equal(np.sort(place), index)
    assert np.array_equal(shuffle.index_at(place), index)
    if n > 256:
        assert (place != other.place_of(index)).mean() > 0.9
        # As a random one would: about one fixed point, neighbours far apart, no correlation.
        assert (place == index).sum() < 8
        assert abs(np.corrcoef(index, place)[0, 1]) < 5 / np.sqrt(n)


@pytest.fixture(scope="module")
def rows():
    plan = Plan(num_images=4500, seed=3, copied_share=0.7)
    return plan, list(plan.rows(0, plan.num_images))


def test_every_row_is_there_once_and_knows_its_source(rows):
    plan, found = rows
    assert len({(row.planted_id, row.copy) for row, _ in found}) == len(found) == 4500
    assert {row.planted_id for row, _ in found} == set(range(plan.num_pictures))
    for place, (row, source) in enumerate(found):
        origin = found[source][0]
        assert (origin.planted_id, origin.copy) == (row.planted_id, 0)
        assert (source == place) == (row.copy == 0)


def test_the_schedule_holds_what_the_toy_models_are_trained_on(rows):
    _, found = rows
    pictures = defaultdict(list)
    for row, _ in found:
        if row.regime in REGIMES and row.kind not in ("mirror", "placeholder"):
            pictures[row.planted_id].append(row)
    assert Counter(len(copies) for copies in pictures.values()) == dict.fromkeys(COPY_COUNTS[:-1], 8) | {256: 4}
    for copies in pictures.values():
        assert {row.k for row in copies} == {len(copies)}
        assert len({row.regime for row in copies}) == 1
    is_exact = {p: {row.kind for row in copies} == {"exact"} for p, copies in pictures.items()}
    both = Counter((copies[0].k, copies[0].regime, is_exact[p]) for p, copies in pictures.items())
    for k in (8, 64, 128):
        assert {both[k, regime, exact] for regime in REGIMES for exact in (True, False)} == {2}
    dealt = Counter(row.kind for p, copies in pictures.items() if not is_exact[p] for row in copies if row.copy)
    assert set(dealt) == set(COPY_KINDS)
    assert max(dealt.values()) - min(dealt.values()) <= 2
    assert sum(row.kind == "unique" for row, _ in found) >= 200
    families = Counter(row.family for row, _ in found if row.kind == "template")
    assert len(families) >= 10
    assert max(families.values()) >= 100
    assert sum(families.values()) >= 300
    mirrors = [row for row, _ in found if row.kind == "mirror"]
    assert len(mirrors) == len(pictures) / 4
    assert {row.planted_id for row in mirrors} <= set(pictures)


@pytest.mark.parametrize("n", [200, 400, 777, 2000, 20_000, 1_000_000])
@pytest.mark.parametrize("share", [0.1, 0.4])
def test_sections_fill_the_set_and_copies_keep_their_share(n, share):
    plan = Plan(num_images=n, seed=0, copied_share=share)
    assert sum(plan.sections.values()) == n
    assert all(size > 0 for size in plan.sections.values())
    least = 4 * COPY_COUNTS[0]
    assert plan.sections["copies"] <= max(share * n, least)
    assert plan.row(0).kind == "exact"
    assert plan.row(n - 1).kind == "unique"
    largest = max(k for k, _, _ in plan.unit)
    assert largest == 256 or plan.unit_rows + 4 * 2 * largest > share * n, "the largest k that fits"


def test_a_plan_of_a_million_holds_no_list_of_rows():
    tracemalloc.start()
    plan = Plan(num_images=1_000_000, seed=1)
    rows = list(plan.rows(999_000, 1_000_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rows) == 1000
    assert peak < 8 * 2**20


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"num_images": 50}, "too small"), ({"seed": -1}, "negative"), ({"copied_share": 0.0}, "not possible"),
     ({"copied_share": 0.9}, "not possible")],
)  # fmt: skip
def test_impossible_plans_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Plan(**({"num_images": 400, "seed": 0} | changes))
