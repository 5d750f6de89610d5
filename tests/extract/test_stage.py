"""The whole stage on a model whose memory is known, without a network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_generator import MEMORIZED, OTHER, QUIET, TEMPLATE, FakeModel, extract, settings, strong
from PIL import Image

from scanner.core.config import override
from scanner.core.errors import StoreError
from scanner.core.ids import prompt_id
from scanner.core.store import Store
from scanner.extract import stage
from scanner.extract.figures import figures_of
from scanner.extract.records import TABLES_OF_MODELS
from scanner.models.pixels import PixelsEncoder
from scanner.pipelines.scan import open_sources


@pytest.fixture
def run_dir(scanned, tmp_path) -> Path:
    shutil.copytree(scanned, tmp_path / "run")
    return tmp_path / "run"


def verdicts(run_dir: Path, model: FakeModel) -> dict[int, dict]:
    rows = Store(str(run_dir)).read("extractions").to_pylist()
    return {row["prompt_id"]: row for row in rows if row["model_id"] == model.model_id}


def test_what_came_out_is_named(scanned, run_dir):
    config, model = settings(scanned), strong()
    result = extract(run_dir, config, model)
    found = verdicts(run_dir, model)
    images = {row["image_id"]: row["caption"] for row in Store(str(run_dir)).read("images", ["image_id", "caption"]).to_pylist()}

    memorized = found[prompt_id(MEMORIZED)]
    assert (memorized["verdict"], memorized["is_own"], images[memorized["image_id"]]) == ("extracted", True, MEMORIZED)
    assert memorized["num_generations"] == 8
    assert memorized["tier"] == "strict"
    assert memorized["ratio"] < memorized["ratio_limit"] < 1

    other = found[prompt_id("thing number 5")]
    assert (other["verdict"], other["is_own"], images[other["image_id"]]) == ("retrieved", False, OTHER)

    template = found[prompt_id(TEMPLATE[0])]
    assert template["verdict"] == "template"
    assert images[template["image_id"]] in TEMPLATE
    mask = np.unpackbits(np.frombuffer(template["mask"], np.uint8)).reshape(16, 16).astype(bool)
    truth = np.ones((16, 16), bool)
    truth[4:13, 4:13] = False
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9

    others = [row for id_, row in found.items() if id_ not in {prompt_id(text) for text in model.remembered}]
    assert {row["verdict"] for row in others} == {"none"}
    assert result.num_open == 0
    assert result.num_by_verdict["extracted"] == 1
    assert sum(row["num_forward_passes"] for row in found.values()) == 4 * len(model.calls)


def test_controls_are_halved_and_all_tried(scanned, run_dir):
    model = strong()
    extract(run_dir, settings(scanned), model)
    found = verdicts(run_dir, model).values()
    use = [row["control_use"] for row in found if row["control_use"]]
    assert len(use) == 52
    assert 20 <= use.count("limits") <= 32
    assert all(row["num_generations"] >= 8 for row in found if row["control_use"])
    # Outliers without a high score cost nothing.
    assert {row["num_generations"] for row in found if row["stop_reason"] == "rejected"} <= {0}


def test_kept_images_and_their_distances(scanned, run_dir):
    model = strong()
    extract(run_dir, settings(scanned), model)
    store = Store(str(run_dir))
    rows = [row for row in store.read("generations").to_pylist() if row["prompt_id"] == prompt_id(MEMORIZED)]
    assert [row["seed"] for row in rows] == list(range(8))
    assert all((run_dir / row["image_path"]).is_file() for row in rows)
    assert len({row["generation_id"] for row in rows}) == 8
    matches = store.read("matches").to_pylist()
    mine = [row for row in matches if row["generation_id"] in {row["generation_id"] for row in rows}]
    assert {row["distance_name"] for row in mine} >= {"l2", "l2_vae", "tiled_l2", "ratio"}


def test_a_verdict_has_its_evidence(scanned, run_dir):
    model = strong()
    extract(run_dir, settings(scanned), model)
    found = [row for row in verdicts(run_dir, model).values() if row["verdict"] in ("extracted", "retrieved", "template")]
    folders = {path.name: path for path in (run_dir / "evidence" / model.model_id[:16]).iterdir()}
    assert set(folders) == {str(row["prompt_id"]) for row in found}
    for row in found:
        folder = folders[str(row["prompt_id"])]
        told = json.loads((folder / "evidence.json").read_text())
        assert told["model_id"] == model.model_id
        assert told["extraction"]["image_id"] == row["image_id"]
        assert told["seeds"] == list(range(row["num_generations"]))
        assert (told["mask"] is not None) == (row["verdict"] == "template")
        with Image.open(folder / f"training-{row['image_id']}.png") as training, Image.open(folder / "sheet.png") as sheet:
            assert training.size == (32, 32)
            assert sheet.width > 2 * sheet.height
        assert all((run_dir / path).is_file() for path in told["generations"].values())


def test_figures_say_what_is_in_the_tables(scanned, run_dir):
    model = strong()
    extract(run_dir, settings(scanned), model)
    figures = figures_of(Store(str(run_dir)), model.model_id)
    rows = verdicts(run_dir, model).values()
    measuring = [row for row in rows if row["control_use"] == "rates"]
    assert figures.controls.num_trials == len(measuring)
    assert figures.controls.num_hits == sum(row["verdict"] in ("extracted", "retrieved") for row in measuring)
    assert figures.control_templates.num_hits == sum(row["verdict"] == "template" for row in measuring)
    assert figures.times_cheaper > 20
    assert figures.areas["noise_magnitude"] > 0.9
    assert any("extracted" in line for line in figures.lines())


def test_a_killed_run_goes_on_to_the_same_verdicts(scanned, run_dir, tmp_path):
    whole = strong()
    extract(run_dir, settings(scanned), whole)
    expected = verdicts(run_dir, whole)

    again = tmp_path / "again"
    shutil.copytree(scanned, again)
    first = strong()
    first.stop_after = len(whole.calls) // 2
    with pytest.raises(KeyboardInterrupt):
        extract(again, settings(scanned), first)
    second = strong()
    extract(again, settings(scanned), second)
    assert verdicts(again, second) == expected
    assert 0 < len(second.calls) < len(whole.calls)
    assert not list((again / ".extract").glob("*"))
    third = strong()
    assert not extract(again, settings(scanned), third).is_recomputed
    assert third.calls == []


def test_two_models_keep_apart(scanned, run_dir):
    knows, knows_not = strong(), FakeModel({}, name="another")
    extract(run_dir, settings(scanned), knows)
    before = verdicts(run_dir, knows)
    extract(run_dir, settings(scanned), knows_not)
    assert verdicts(run_dir, knows) == before
    assert {row["verdict"] for row in verdicts(run_dir, knows_not).values()} == {"none"}
    store = Store(str(run_dir))
    for table in set(TABLES_OF_MODELS) - {"matches"}:
        ids = store.read(table, ["model_id"])["model_id"].to_pylist()
        assert set(ids) == {knows.model_id, knows_not.model_id}


def test_a_budget_is_kept_and_can_be_raised(scanned, run_dir):
    config = settings(scanned, **{"extract.budget": 1200})
    model = strong()
    result = extract(run_dir, config, model)
    assert result.num_open > 0
    assert result.num_forward_passes <= 1200
    rest = strong()
    done = extract(run_dir, settings(scanned), rest)
    assert done.num_open == 0
    assert len(rest.calls) > 0


def test_rejected_prompts_are_audited_at_random(scanned, run_dir):
    """Without a high score a memorized prompt is rejected; the audit finds it where it is drawn."""
    model = strong()
    model.scores = {MEMORIZED: 0.5}
    extract(run_dir, settings(scanned, **{"extract.audit_share": 1.0, "extract.lanes": ["duplicate", "control"]}), model)
    row = verdicts(run_dir, model)[prompt_id(MEMORIZED)]
    assert (row["is_escalated"], row["is_audited"], row["verdict"]) == (False, True, "extracted")


def test_too_few_controls_are_refused(scanned, run_dir):
    with pytest.raises(StoreError, match="controls would set the limits"):
        extract(run_dir, settings(scanned, **{"extract.lanes": ["duplicate"]}), strong())


def test_images_that_are_gone_are_counted_not_fatal(scanned, run_dir, tmp_path):
    gone = override(settings(scanned), {"sources": [{"url": str(tmp_path / "empty.tar"), "name": "set"}]})
    (tmp_path / "empty.tar").write_bytes(b"\0" * 10240)
    model = strong()
    with pytest.raises(StoreError, match="repeat nothing"):
        stage.run(Store(str(run_dir)), gone, open_sources(gone), model, PixelsEncoder(), QUIET)
