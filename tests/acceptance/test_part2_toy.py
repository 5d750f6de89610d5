"""Part 2, must show 4: what the models that ship have memorized, by the number of copies, and how true their autoencoder is."""

from __future__ import annotations

import os
from itertools import pairwise

import numpy as np
import pytest

from scanner.images.distances import l2, unit
from scanner.lab.curve import Sampling, choose_trials, measure_curve
from scanner.lab.curve_unconditional import measure_unconditional
from scanner.lab.curves import Curves
from scanner.lab.planted import make_planted
from scanner.lab.toy_data import read_toy_set
from scanner.lab.toy_manifest import read_manifest, redraw_set
from scanner.models.generators import TOYS, generator_folder, load_generator

FRESH = {"num_images": 4_000, "seed": 30_303}
"""A set whose pictures no model saw, for the autoencoder."""
NOISE_SCENES = {"blur", "leaves"}
"""Of fields of texture and noise, which no autoencoder of four channels keeps; told with the others, and left out of the bar."""
SAMPLING = Sampling(num_seeds=16, first_seed=1_000, num_inference_steps=10, guidance_scale=7.5)
"""Seeds that nothing was chosen by. Stable Diffusion's usual guidance; ten steps, which cost half of twenty and give the same."""
BATCH = 32
HIGH = 64


@pytest.fixture(scope="module")
def toy_set(tmp_path_factory):
    """The training set, drawn again."""
    out = tmp_path_factory.mktemp("memory") / "set"
    return redraw_set(generator_folder("toy"), out, workers=os.cpu_count() or 1)


def show(name, curves, tmp_path):
    print(f"\n{name}\n" + "\n".join(curves.lines()))
    curves.write(tmp_path)
    assert (tmp_path / "curve.svg").read_text().count("<circle") > 8
    print(f"{tmp_path}/curve.svg")


def test_the_set_is_what_the_manifest_says(toy_set):
    """8 pictures a k from 2 to 128, 4 at 256, over 200 that occur once, 100 held-out captions, 10 template prompts."""
    told = [read_manifest(generator_folder(name)) for name in TOYS]
    assert len({manifest["set"]["digest"] for manifest in told}) == 1
    assert told[0]["set"]["digest"] == toy_set.digest
    by_k: dict[int, int] = {}
    for row in told[0]["set"]["planted"]:
        by_k[row["k"]] = by_k.get(row["k"], 0) + 1
        assert row["num_rows"] == np.sum(toy_set.planted_id == row["planted_id"])
    assert by_k == {2: 8, 4: 8, 8: 8, 16: 8, 32: 8, 64: 8, 128: 8, 256: 4}
    assert sum(k == 1 and regime == "single" for k, regime in zip(toy_set.k, toy_set.regime, strict=True)) >= 200
    assert len(toy_set.held_out) >= 100
    assert len({c for c, regime in zip(toy_set.captions, toy_set.regime, strict=True) if regime == "template"}) >= 10


def test_the_curve_rises_with_k_and_the_control_does_not(toy_set, tmp_path):
    """Every caption of every planted picture, 16 generations each. 45 minutes on two cores."""
    trials = choose_trials(toy_set, max_captions=max(toy_set.k.tolist()))
    assert not any(left for (group, _), left in trials.num_left_out.items() if group in ("planted", "held_out"))
    toy = measure_curve(load_generator("toy", batch_size=BATCH), toy_set, sampling=SAMPLING, trials=trials)
    show("toy", Curves(prompted={"toy": toy}, unconditional={}), tmp_path)

    high, once = toy.pooled(["planted"], k_min=HIGH), toy.pooled(["unique"])
    held_out = next(point for point in toy.points if point.group == "held_out").any
    like = next(point for point in toy.points if point.group == "like_memorized").any
    print(f"k >= {HIGH}: {high}; k = 1: {once}; templates: {toy.pooled(['template'])}")
    print(f"held out, any picture: {held_out}; held out and sharing words with a memorized caption: {like}")
    assert high.value >= 0.8
    assert once.value <= 0.03
    assert held_out.value <= 0.03
    by_k = {point.k: point.own for point in toy.points if point.group in ("unique", "planted")}
    assert list(by_k) == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert all(low.interval[0] <= high.interval[1] for low, high in pairwise(by_k.values()))
    # Where it begins to rise, each step is more than the intervals leave open, until nearly all is known by heart.
    rising = [(by_k[low], by_k[high]) for low, high in pairwise((8, 16, 32, 64, 128, 256)) if by_k[low].value < 0.95]
    assert len(rising) >= 2
    assert all(low.interval[1] < high.interval[0] for low, high in rising)


def test_without_its_duplicates_the_set_is_not_memorized(toy_set, tmp_path):
    """Four captions a picture: the same network, autoencoder and steps on one row a picture."""
    told = [read_manifest(generator_folder(name)) for name in ("toy", "toy-dedup")]
    assert told[0]["training"]["num_images_seen"] == told[1]["training"]["num_images_seen"]
    dedup = measure_curve(load_generator("toy-dedup", batch_size=BATCH), toy_set, sampling=SAMPLING)
    show("toy-dedup", Curves(prompted={"toy-dedup": dedup}, unconditional={}), tmp_path)
    assert dedup.pooled(["planted", "unique", "template"]).value <= 0.03
    assert all(point.own.value <= 0.1 for point in dedup.points)


def test_unconditional_models_emit_what_occurs_often(toy_set, tmp_path):
    found = {name: measure_unconditional(load_generator(name), toy_set, num_images=2048) for name in TOYS[2:]}
    show("unconditional", Curves(prompted={}, unconditional=found), tmp_path)
    often = {name: [e for e in curve.emitted if e.k >= HIGH] for name, curve in found.items()}
    hits = {name: sum(e.pictures.num_hits for e in emitted) for name, emitted in often.items()}
    assert hits["toy-unconditional"] > 0
    assert hits["toy-unconditional-dedup"] <= hits["toy-unconditional"] // 4
    assert found["toy-unconditional-dedup"].any.value <= 0.01


def test_the_autoencoder_keeps_pictures_that_it_never_saw(tmp_path):
    """28 dB and more in the median of a fresh set, fields of noise aside."""
    make_planted(str(tmp_path), workers=os.cpu_count() or 1, **FRESH)
    fresh = read_toy_set(tmp_path)
    rows = fresh.sources[fresh.is_picture[fresh.sources]]
    images, scenes = fresh.images[rows], np.array([fresh.scene[row] for row in rows.tolist()])
    rms = l2(unit(images), unit(load_generator("toy").round_trip(images)))
    db = -20 * np.log10(np.maximum(rms, 1e-6))
    print()
    for scene in sorted(set(scenes.tolist())):
        print(f"{scene:>12}: {np.median(db[scenes == scene]):5.2f} dB, {(scenes == scene).sum()} pictures")
    counted = ~np.isin(scenes, list(NOISE_SCENES))
    print(
        f"all but {', '.join(sorted(NOISE_SCENES))}: {np.median(db[counted]):.2f} dB of {counted.sum()}; all: {np.median(db):.2f}"
    )
    assert np.median(db[counted]) >= 28
    floor = read_manifest(generator_folder("toy"))["round_trip"]
    assert {"all", *scenes.tolist()} <= set(floor), "a class that the manifest has no floor of"
