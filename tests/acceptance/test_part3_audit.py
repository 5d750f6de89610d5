"""Part 3, line 4: the audit's interval covers the true recall, whatever the law of group sizes and the share that is missed."""

from __future__ import annotations

from collections import Counter

import numpy as np

from scanner.lab.vectors import PlantedVectors
from scanner.search.audit import FoundPairs, audit, row_shares, sampled_truth
from scanner.search.cells_join import CellsJoin
from scanner.search.forest import components
from scanner.search.join import ThresholdJoin

N, DIM, THRESHOLD = 12_000, 64, 0.93
LAWS = ("zipf", "geometric", "uniform", "pairs")
REACHES = (0.0, 0.005, 0.01, 0.02, 0.04, 0.08)
NUM_ROWS = 1000
MOST_SETS = 150
NUM_TRIALS = 100
"""Of each of 25 a law, each on a set of its own seed and with a reach that was made too short on purpose."""


def ends(blocks):
    blocks = list(blocks)
    empty = np.empty(0, np.int64)
    return tuple(np.concatenate([empty, *(getattr(block, side) for block in blocks)]) for side in ("left", "right"))


def trials(law):
    """True recall of neighbours and links, and the audit's first bands of both, for sets and reaches until there are enough."""
    for seed in range(MOST_SETS):
        background = ("isotropic", "clip")[seed % 2]
        x = PlantedVectors(n=N, d=DIM, seed=seed, background=background, law=law, largest=1000, cosines=(0.93, 0.999)).rows()
        left, right = ends(ThresholdJoin(x=x, threshold=THRESHOLD).blocks())
        # Many cells for their rows, so that groups of every size straddle them.
        found = ends(CellsJoin(x=x, threshold=THRESHOLD, num_cells=250 + 150 * (seed % 3), reach=REACHES[seed % 6]).blocks())
        keys = np.isin(left * N + right, found[0] * N + found[1])
        labels = components(N, *found)
        linked = labels[left] == labels[right]
        both = np.concatenate([left, right])
        true = {
            "neighbors": float(row_shares(both, np.concatenate([keys, keys])).mean()),
            "links": float(row_shares(both, np.concatenate([linked, linked])).mean()),
        }
        truth = sampled_truth(x, THRESHOLD, seed=1000 + seed, num_rows=NUM_ROWS)
        pairs = FoundPairs(N, truth.rows)
        pairs.add(*found)
        bands = audit(truth, pairs, labels, threshold=THRESHOLD)
        for measure in true:
            if 0.7 <= true[measure] <= 0.998:
                yield measure, true[measure], next(band.recall for band in bands if band.measure == measure)


def test_the_interval_covers_the_true_recall_in_ninety_of_a_hundred_trials():
    covered, widths = Counter(), []
    for law in LAWS:
        made = Counter()
        for measure, true, recall in trials(law):
            if made[measure] < NUM_TRIALS // len(LAWS):
                made[measure] += 1
                covered[measure] += recall.low <= true <= recall.high
                covered[law, measure] += recall.low <= true <= recall.high
                widths.append(recall.high - recall.low)
                assert recall.low < recall.high < 1.0001
            if made["neighbors"] >= NUM_TRIALS // len(LAWS):
                break
        print(f"\n{law}: {dict(made)}; covered {covered[law, 'neighbors']}, links {covered[law, 'links']}")
        assert made["neighbors"] == NUM_TRIALS // len(LAWS)
    print(f"covered: neighbours {covered['neighbors']} of {NUM_TRIALS}; mean width {np.mean(widths):.4f}")
    assert covered["neighbors"] >= 90
    assert np.mean(widths) < 0.1, "an interval that says nothing covers everything"
