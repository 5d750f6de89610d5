"""The page of scale says what plans say, and its limits and widths are those of the code."""

from __future__ import annotations

import re

import numpy as np
import pytest

from scanner.core.amounts import show_bytes, show_seconds
from scanner.core.config import ComputeConfig
from scanner.core.errors import ConfigError
from scanner.plan.job import MOST_CELLS, Machine
from scanner.plan.model import find_model
from scanner.plan.plan import make_plan
from scanner.plan.rates import shipped_rates
from scanner.plan.scale_page import MEMORY_BYTES, MOST_ROWS, NAMES, SIZES, least_memory, scale_page
from scanner.search import cells, searches
from scanner.search.forest import SpanningForest

PAGE = scale_page()


def rows_of(section):
    """Cells of every table row below a heading, by the first cell."""
    text = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    found = [[cell.strip().strip("*") for cell in line] for line in lines]
    return {row[0]: row[1:] for row in found}


@pytest.mark.parametrize("place", range(len(SIZES)), ids=NAMES)
def test_a_column_is_a_plan(place):
    rates = shipped_rates()
    machine = Machine.of(rates, gpus=8, gpu=None, cores=None, memory_bytes=MEMORY_BYTES)
    plan = make_plan(images=SIZES[place], model=find_model("ViT-B-32"), machine=machine, rates=rates)
    rows = rows_of("Stage by stage")
    assert rows["whole scan"][place] == show_seconds(plan.duration_s)
    assert rows["most at once"][place] == show_bytes(plan.memory_bytes)
    assert rows["tables"][place] == show_bytes(plan.table_bytes)
    assert rows["scratch"][place] == show_bytes(plan.scratch_bytes)
    times = PAGE.split("\nMemory: ")[0]
    for stage in plan.stages:
        cell = re.escape(show_seconds(stage.duration_s))
        assert re.search(rf"^\| {stage.stage} \|(.*\|)? {cell} \|", times, flags=re.M), stage.stage


def test_names_are_sizes():
    for name, size in zip(NAMES, SIZES, strict=True):
        factor, _, power = name.rpartition("10^")
        assert int(factor.rstrip("·") or 1) * 10 ** int(power) == size


class Many:
    """So many rows, none of them there."""

    def __len__(self):
        return MOST_ROWS


def test_the_limits_are_those_of_the_search():
    with pytest.raises(AssertionError, match="32 bits"):
        cells.find_homes(Many(), None, 2, threads=1)
    with pytest.raises(AssertionError, match="int32"):
        SpanningForest(MOST_ROWS)
    SpanningForest(MOST_ROWS - 1)
    assert cells.MOST_CELLS == MOST_CELLS == np.iinfo(np.uint16).max + 1
    assert f"**{MOST_CELLS:,} cells**" in PAGE
    for width in (cells.NARROW, cells.NARROW + 1):
        guests = cells.GUESTS_OF_NARROW if width <= cells.NARROW else cells.GUESTS_A_ROW
        most = round(2 * MOST_CELLS**2 / (0.5 + guests))
        assert f"{most:,}" in PAGE
        assert cells.choose_num_cells(round(0.99 * most), width) < MOST_CELLS == cells.choose_num_cells(most, width)


def test_the_least_memory_is_that_with_which_the_search_begins(tmp_path, monkeypatch):
    n, cores = SIZES[0], 128
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    vectors = np.memmap(tmp_path / "vectors", np.float16, "w+", shape=(n, 512))  # a file with nothing in it
    least = sum(least_memory(n, 512, cores).values())
    assert rows_of("What one machine does alone")["least `--memory`"][0] == show_bytes(least)
    searches._check_room(vectors, ComputeConfig(memory=str(least)))
    with pytest.raises(ConfigError, match="are allowed"):
        searches._check_room(vectors, ComputeConfig(memory=str(least - 1)))
    assert sum(least_memory(SIZES[-1], 768, cores).values()) < MEMORY_BYTES


def test_auto_is_what_the_page_says():
    assert searches.JOIN_ROWS == 250_000
    assert "past 250,000 images" in PAGE


def test_every_rate_of_the_first_section_is_named_as_what_it_is():
    text = PAGE.split("## What is assumed\n")[1]
    measured = text.split("Measured: ")[1].split("\n")[0]
    assert "`row_images`" in measured
    assert "`gpu_utilisation`" not in measured
    assert "`gpu_utilisation`" in text.split("Assumed: ")[1]
