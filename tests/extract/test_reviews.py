from __future__ import annotations

import shutil

import pytest
from fake_generator import OTHER, extract, settings, strong

from scanner.core.errors import StoreError
from scanner.core.ids import prompt_id
from scanner.core.store import Store
from scanner.extract.figures import figures_of
from scanner.extract.reviews import add_review, read_reviews

CONTROL = "thing number 5"


@pytest.fixture(scope="module")
def run_dir(scanned, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("reviews") / "run"
    shutil.copytree(scanned, run_dir)
    extract(run_dir, settings(scanned), strong())
    return run_dir


def test_the_last_word_of_a_person_counts_and_the_tests_own_stays(run_dir):
    store, model_id = Store(str(run_dir)), strong().model_id
    row = next(r for r in store.read("extractions").to_pylist() if r["prompt_id"] == prompt_id(CONTROL))
    assert row["verdict"] == "retrieved"
    before = figures_of(store, model_id).controls
    add_review(store, model_id=model_id, prompt_id=prompt_id(CONTROL), reviewer="ana", verdict="extracted", at="2026-01-01")
    add_review(store, model_id=model_id, prompt_id=prompt_id(CONTROL), reviewer="ana", verdict="none", at="2026-01-02")
    add_review(store, model_id=model_id, prompt_id=prompt_id(OTHER), reviewer="ben", verdict="none", at="2026-01-03")
    assert [(r["reviewer"], r["verdict"]) for r in read_reviews(store)] == [("ana", "none"), ("ben", "none")]
    assert figures_of(store, model_id).controls == before
    after = figures_of(store, model_id, is_reviewed=True).controls
    assert after.num_hits == before.num_hits - (row["control_use"] == "rates")


def test_what_was_not_tried_cannot_be_reviewed(run_dir):
    store = Store(str(run_dir))
    with pytest.raises(StoreError, match="was not asked"):
        add_review(store, model_id="0" * 64, prompt_id=1, reviewer="ana", verdict="none")
    with pytest.raises(StoreError, match="extracted"):
        add_review(store, model_id=strong().model_id, prompt_id=prompt_id(CONTROL), reviewer="ana", verdict="extract")
