"""Part 4, must show 1 and 3: extraction from the models that ship, aimed by the scan, judged by what was planted.

Half an hour to an hour on two cores for each model, most of it for the controls. The second model does not ship: train it with
another seed (CONTRIBUTING, "Train the models that memorize"), and name its folder in ``SCANNER_SECOND_MODEL``. All settings were
chosen on ``toy``.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pytest
from contact_sheet import contact_sheet
from PIL import Image

from scanner.core.config import load_config, override, resolve
from scanner.core.progress import Progress
from scanner.core.shares import Share
from scanner.core.store import Store
from scanner.extract.figures import figures_of, fit_curve
from scanner.images.distances import unit
from scanner.lab.curve import Reference
from scanner.lab.toy_data import ToySet
from scanner.lab.toy_manifest import redraw_set
from scanner.models.generators import generator_folder, load_generator
from scanner.pipelines.extract import extract
from scanner.pipelines.scan import scan

SHEETS = Path("runs")
HIGH = 32
CHANGES = {
    # At .6 the search joins template families, which verification then tells from pictures.
    "neighbors.threshold": 0.6,
    "neighbors.report_thresholds": [0.6, 0.7, 0.8, 0.9, 0.95],
    "risk.num_control": 640,
    "risk.num_calibration": 24,
    "risk.num_outlier": 20,
    "risk.num_template": 2,
    "extract.max_prompts": 60,
    "extract.max_generations": 128,
    "extract.min_rate": 0.25,
}
FOUND = ("extracted", "retrieved", "template")


@pytest.fixture(scope="module")
def toy_set(tmp_path_factory) -> tuple[Path, ToySet]:
    folder = tmp_path_factory.mktemp("toy") / "set"
    return folder, redraw_set(generator_folder("toy"), folder, workers=os.cpu_count() or 1)


@pytest.fixture(scope="module", params=["toy", "second"])
def model(request) -> str:
    if request.param == "toy":
        return "toy"
    if "SCANNER_SECOND_MODEL" not in os.environ:
        pytest.skip("no second model; train one with another seed and set SCANNER_SECOND_MODEL to its folder")
    return os.environ["SCANNER_SECOND_MODEL"]


@pytest.fixture(scope="module")
def run(toy_set, model) -> tuple[Store, dict[int, dict]]:
    """The scan, then the extraction: nothing of what was planted is told to either."""
    folder, _ = toy_set
    sources = [{"url": str(folder / "shards"), "name": "planted"}]
    config = override(load_config("demo"), {"sources": sources, "extract.model": model, **CHANGES})
    store = Store(str(folder.parent / f"run-{Path(model).name}"))
    progress = Progress()
    scan(store, config, progress)
    result = extract(store, resolve(config), progress)
    print("\n" + "\n".join([*result.lines(), *figures_of(store, result.model_id).lines()]))
    return store, {row["prompt_id"]: row for row in store.read("extractions").to_pylist()}


@pytest.fixture(scope="module")
def prompts(run) -> dict[int, dict]:
    """By id, with the lanes of each."""
    found: dict[int, dict] = {}
    for row in run[0].read("prompts").to_pylist():
        found.setdefault(row["prompt_id"], {**row, "lanes": set()})["lanes"].add(row["lane"])
    return found


@pytest.fixture(scope="module")
def truth(toy_set, run) -> dict[str, dict]:
    """Of the rows of the set, by image_id: picture, k images with this caption, family."""
    folder, _ = toy_set
    rows = duckdb.sql(
        f"select key, planted_id, family, regime, caption, count(*) over (partition by planted_id, caption) as k "
        f"from read_parquet('{folder / 'truth.parquet'}')"
    ).fetchall()
    by_key = {key: {"planted_id": p, "family": f, "regime": r, "caption": c, "k": k} for key, p, f, r, c, k in rows}
    images = run[0].read("images", ["image_id", "key"]).to_pylist()
    return {row["image_id"]: by_key[row["key"]] for row in images}


def test_prompts_of_many_copies_are_found(run, prompts, truth):
    k_of = Counter()
    for row in truth.values():
        k_of[row["caption"]] = max(k_of[row["caption"]], row["k"])
    tried = [(k_of[prompts[id_]["prompt"]], row) for id_, row in run[1].items() if row["stop_reason"] != "rejected"]
    by_k: dict[int, list[str]] = {}
    for id_, row in run[1].items():
        if "duplicate" in prompts[id_]["lanes"] or "calibration" in prompts[id_]["lanes"]:
            by_k.setdefault(2 ** int(np.log2(max(1, k_of[prompts[id_]["prompt"]]))), []).append(row["verdict"])
    for k, verdicts in sorted(by_k.items()):
        print(f"k from {k}: {dict(Counter(verdicts))}")
    high = [row["verdict"] in FOUND[:2] for k, row in tried if k >= HIGH]
    higher = [row["verdict"] in FOUND[:2] for k, row in tried if k >= 2 * HIGH]
    print(f"k >= {HIGH}: {Share(num_hits=sum(high), num_trials=len(high))}")
    print(f"k >= {2 * HIGH}: {Share(num_hits=sum(higher), num_trials=len(higher))}")
    assert np.mean(higher) >= 0.95
    assert np.mean(high) >= 0.95


def test_the_row_that_came_out_is_named_right(run, model, toy_set, truth):
    """Against every distinct image of the set, as it is and once through the autoencoder."""
    store, extractions = run
    generator = load_generator(model, batch_size=32)
    reference = Reference.of(toy_set[1], generator)
    right = []
    for id_, row in extractions.items():
        if row["verdict"] not in ("extracted", "retrieved"):
            continue
        told = json.loads((Path(store.root) / "evidence" / row["model_id"][:16] / str(id_) / "evidence.json").read_text())
        images = np.stack([np.asarray(Image.open(Path(store.root) / path)) for path in told["generations"].values()])
        nearest, _, ratio = reference.match(images)
        commonest = Counter(nearest[ratio < 0.5].tolist() or nearest.tolist()).most_common(1)[0][0]
        right.append(truth[row["image_id"]]["planted_id"] == commonest)
    print(f"named right: {Share(num_hits=sum(right), num_trials=len(right))}")
    assert np.mean(right) >= 0.95


def test_the_curve_predicts_pictures_that_it_was_not_fitted_to(run, prompts, truth):
    """P(extract | k), fitted to the calibration prompts of half the pictures, against the others: as many are extracted as it
    says, within what chance allows where pictures stand or fall with all their captions, and it says more than the mean does."""
    drawn = [(row, prompts[id_]) for id_, row in run[1].items() if "calibration" in prompts[id_]["lanes"]]
    picture_of = {row["caption"]: row["planted_id"] for row in truth.values()}
    regime_of = {row["planted_id"]: row["regime"] for row in truth.values()}
    k = np.array([prompt["num_images"] for _, prompt in drawn], float)
    hit = np.array([row["verdict"] == "extracted" for row, _ in drawn], bool)
    picture = np.array([picture_of[prompt["prompt"]] for _, prompt in drawn])
    # Halves alike: pictures in order of k and of whether their captions differ, every other one.
    first = {id_: int(k[picture == id_].max()) for id_ in np.unique(picture).tolist()}
    order = sorted(first, key=lambda id_: (np.ceil(np.log2(first[id_])), str(regime_of[id_]), id_))
    is_fitted = np.isin(picture, order[::2])
    curve = fit_curve(k[is_fitted], hit[is_fitted], picture[is_fitted])
    assert curve is not None
    p, seen, others = curve.at(k[~is_fitted]), hit[~is_fitted], picture[~is_fitted]
    strata = np.ceil(np.log2(k[~is_fitted]))
    for stratum in np.unique(strata).tolist():
        chosen = strata == stratum
        share = Share(num_hits=int(seen[chosen].sum()), num_trials=int(chosen.sum()))
        print(f"k to {2**stratum:.0f}: predicted {p[chosen].mean():.2f}, extracted {share}")
    error, base = np.mean((seen - p) ** 2), np.mean((seen - hit[is_fitted].mean()) ** 2)
    residuals = np.array([(seen - p)[others == id_].sum() for id_ in np.unique(others)])
    z = residuals.sum() / np.sqrt((residuals**2).sum())
    print(f"predicted {p.sum():.1f}, extracted {seen.sum()} of {len(seen)}: z {z:.2f}; Brier {error:.3f}, of the mean {base:.3f}")
    assert abs(z) < 1.96
    assert error < 0.8 * base


def test_controls_and_what_they_got(run, model, prompts, truth):
    store, extractions = run
    measured = [row for row in extractions.values() if row["control_use"] == "rates"]
    flagged = [row for row in measured if row["verdict"] in FOUND]
    print(f"{len(measured)} controls, by verdict {dict(Counter(row['verdict'] for row in measured))}")
    rows = []
    for row in flagged:
        folder = Path(store.root) / "evidence" / row["model_id"][:16] / str(row["prompt_id"])
        told = json.loads((folder / "evidence.json").read_text())
        pictures = [(folder / f"training-{row['image_id']}.png").read_bytes()]
        pictures += [(Path(store.root) / path).read_bytes() for path in list(told["generations"].values())[:3]]
        text = prompts[row["prompt_id"]]["prompt"][:40]
        label = f"{row['verdict']} l2 {row['l2']:.3f} r {row['ratio']:.2f} {text}"
        rows.append((label, pictures))
        print(f"  {label} -> {truth[row['image_id']]['caption']}")
    assert len(measured) >= 300
    if rows:
        SHEETS.mkdir(exist_ok=True)
        sheet = SHEETS / f"controls-flagged-{Path(model).name}.png"
        print(contact_sheet(rows, sheet, columns=4, images_a_row=4))
    # Right or wrong is for a person to say: the sheet was looked at, and the note says what was on it.
    own = [row for row in flagged if row["verdict"] == "extracted"]
    print(f"own image given back: {Share(num_hits=len(own), num_trials=len(measured))}")
    assert Share(num_hits=len(own), num_trials=len(measured)).interval[1] <= 0.03


def test_templates_are_named_with_their_mask(run, prompts, truth, toy_set):
    """The two families of 135 members; of the others, of 33, the model has learnt less."""
    _, set_ = toy_set
    families: dict[int, list[int]] = {}
    for row, planted_id in enumerate(set_.planted_id.tolist()):
        families.setdefault(planted_id, []).append(row)
    family_of = {row["caption"]: row["family"] for row in truth.values() if row["family"] is not None}
    rows_of: dict[int, list[int]] = {}
    for row in truth.values():
        if row["family"] is not None:
            rows_of.setdefault(row["family"], []).append(families[row["planted_id"]][0])
    large = [family for family, rows in rows_of.items() if len(rows) > 100]
    outcomes = []
    for id_, row in run[1].items():
        family = family_of.get(prompts[id_]["prompt"])
        if family not in large or row["stop_reason"] == "rejected":
            continue
        fixed = _fixed(unit(set_.images[rows_of[family]]))
        overlap = 0.0
        if row["verdict"] == "template":
            mask = np.unpackbits(np.frombuffer(row["mask"], np.uint8)).reshape(16, 16).astype(bool)
            overlap = float((mask & fixed).sum() / (mask | fixed).sum())
        outcomes.append((row["verdict"], overlap, truth[row["image_id"]]["family"] == family if row["image_id"] else False))
    good = [verdict == "template" and overlap >= 0.7 and is_family for verdict, overlap, is_family in outcomes]
    print(f"template prompts: {dict(Counter(o[0] for o in outcomes))}; overlap {np.mean([o[1] for o in outcomes if o[1]]):.2f}")
    assert len(outcomes) >= 10
    assert np.mean(good) >= 0.8


def _fixed(images: np.ndarray) -> np.ndarray:
    """(16, 16) cells in which the members of a family agree, in the median of pairs."""
    spread = np.abs(images - np.median(images, axis=0)).mean(axis=3)
    cells = np.median(spread, axis=0).reshape(16, 2, 16, 2).mean(axis=(1, 3))
    return cells < 0.03
