"""The curve counts what a generator emits: held against generators whose emissions are known."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import numpy as np
import pytest

from scanner.core.shares import Share
from scanner.lab.curve import MAX_RATIO, Reference, Sampling, Trial, Trials, choose_trials, comparison_lines, measure_curve
from scanner.lab.curve_plot import curve_svg
from scanner.lab.curve_unconditional import measure_unconditional
from scanner.lab.toy_data import ToySet

SAMPLING = Sampling(num_seeds=8)


def _picture(seed):
    """Coarse coloured noise: far from those of other seeds."""
    return np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)


def _noisy(image, seed, levels=6):
    noise = np.random.default_rng([7, seed]).normal(0, levels, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _toy_set():
    """Pictures 0-3 with k = 2, 8, 8 and 16 (3 has varied captions), 4-99 once, 100 blank; picture 1 has darker near copies."""
    rows = []
    for planted_id, k in ((0, 2), (1, 8), (2, 8), (3, 16)):
        for copy in range(k):
            image = (_picture(planted_id) * 0.6).astype(np.uint8) if planted_id == 1 and copy else _picture(planted_id)
            caption = f"picture {planted_id}" + (f", print {copy}" if planted_id == 3 else "")
            rows.append((image, caption, planted_id, copy == 0, k, "exact", "varied" if planted_id == 3 else "same"))
    rows += [(_picture(i), f"picture {i}", i, True, 1, "unique", "single") for i in range(4, 90)]
    rows += [(_picture(i), f"template {i}", i, True, 1, "template", "template") for i in range(90, 100)]
    rows.append((np.full((32, 32, 3), 128, np.uint8), "none", 100, True, 1, "blank", "single"))
    images, captions, planted_id, is_source, k, kind, regime = zip(*rows, strict=True)
    return ToySet(
        images=np.stack(images), captions=captions, planted_id=np.array(planted_id), is_source=np.array(is_source), k=np.array(k),
        kind=kind, regime=regime, scene=("test",) * len(rows), held_out=(("nothing", "unrelated"), ("no", "shares_words")),
        made_with={},
    )  # fmt: skip


class Fake:
    """Emits for each caption, by seed, what ``emit(caption, seed)`` says."""

    model_id, scheduler, image_size = "fake", "none", (32, 32)

    def __init__(self, emit, *, takes_prompts=True):
        self.emit, self.takes_prompts, self.asked = emit, takes_prompts, []

    def num_forward_passes(self, *, num_inference_steps, guidance_scale):
        return 1

    def generate(self, prompts, seeds, *, num_inference_steps, guidance_scale):
        self.asked.append((prompts, seeds, num_inference_steps, guidance_scale))
        return np.stack([_noisy(self.emit(prompt, seed), seed) for prompt, seed in zip(prompts, seeds, strict=True)])


def _emit(prompt, seed):
    """Picture 3 always, 2 for half of the seeds, for 1 its near copy, for 0 a stranger's picture; else a new one."""
    if prompt.startswith("picture 3,"):
        return _picture(3)
    if prompt == "picture 2" and seed % 2:
        return _picture(2)
    if prompt == "picture 1":
        return (_picture(1) * 0.6).astype(np.uint8)
    if prompt == "picture 0":
        return _picture(50)
    if prompt == "nothing":
        return np.full((32, 32, 3), 128, np.uint8)
    if prompt == "no" and seed == 0:
        return _picture(2)
    return _picture(1000 + seed)


@pytest.fixture(scope="module")
def toy_set():
    return _toy_set()


@pytest.fixture(scope="module")
def curve(toy_set):
    return measure_curve(Fake(_emit), toy_set, sampling=SAMPLING)


def test_points_count_what_was_emitted(curve):
    points = {(point.group, point.k): point for point in curve.points}
    groups = ["held_out", "like_memorized", "unique", "planted", "planted", "planted", "template"]
    assert list(points) == list(zip(groups, [0, 0, 1, 2, 8, 16, 1], strict=True))
    own = {key: (point.own.num_hits, point.own.num_trials) for key, point in points.items()}
    assert own["planted", 2] == (0, 8)
    assert own["planted", 8] == (8 + 4, 16)  # a near copy is the picture, too
    assert own["planted", 16] == (32, 32)  # four captions of one picture
    assert own["unique", 1] == (0, 86 * 8)
    assert own["held_out", 0] == own["like_memorized", 0] == (0, 8)
    assert points["planted", 2].any == Share(num_hits=8, num_trials=8)  # another training picture
    assert points["held_out", 0].any == Share(num_hits=0, num_trials=8)  # the blank counts for nothing
    assert points["like_memorized", 0].any == Share(num_hits=1, num_trials=8)
    assert points["unique", 1].any.num_hits == 0


def test_pictures_weigh_alike_and_truncation_is_told(curve):
    points = {(point.group, point.k): point for point in curve.points}
    assert points["planted", 8].pictures.value == pytest.approx(0.75)
    assert points["planted", 8].pictures.std == pytest.approx(np.std([1, 0.5], ddof=1))
    assert (points["planted", 16].num_pictures, points["planted", 16].num_captions) == (1, 4)
    assert [point.k for point in curve.points if point.is_truncated] == [16]
    assert curve.pooled(["planted"], k_min=8) == Share(num_hits=44, num_trials=48)
    assert curve.pooled(["unique", "held_out"]).num_trials == 87 * 8


def test_tables_and_text_say_the_same(curve):
    rows = {(row["group"], row["k"]): row for row in curve.table().to_pylist()}
    row = rows["planted", 8]
    assert (row["num_own"], row["num_generations"], row["num_pictures"]) == (12, 16, 2)
    assert (row["own_low"], row["own_high"]) == Share(num_hits=12, num_trials=16).interval
    captions = curve.captions_table().to_pylist()
    assert sum(row["num_own"] for row in captions) == sum(row["num_own"] for row in rows.values())
    stranger = next(row for row in captions if row["caption"] == "picture 0")
    assert (stranger["num_any"], stranger["num_nearest"]) == (8, 0)
    assert stranger["median_ratio"] < MAX_RATIO
    assert any("k = 8" in line and "12/16" in line for line in curve.lines())
    head, *lines = comparison_lines({"toy": curve, "other": curve})
    assert head.split() == ["toy", "other"]
    assert next(line.split() for line in lines if "k = 8" in line) == ["k", "=", "8", "12/16", "=", "0.75", "12/16", "=", "0.75"]
    assert next(line.split() for line in lines if "like" in line)[-3:] == ["1/8", "=", "0.12"]


def test_every_caption_gets_the_same_seeds_and_settings(toy_set):
    fake = Fake(_emit)
    planted = Trial(group="planted", k=8, planted_id=2, caption="picture 2")
    trials = Trials(chosen=(planted, Trial(group="held_out", k=0, planted_id=-1, caption="")))
    sampling = Sampling(num_seeds=3, first_seed=5, num_inference_steps=7, guidance_scale=2)
    measure_curve(fake, toy_set, sampling=sampling, trials=trials)
    assert fake.asked == [(["picture 2"] * 3 + [""] * 3, [5, 6, 7] * 2, 7, 2)]


def test_trials_are_chosen_by_seed_and_start_with_the_sources_caption(toy_set):
    trials = choose_trials(toy_set, seed=1, max_captions=3, max_unique=8)
    planted = [trial for trial in trials.chosen if trial.planted_id == 3]
    assert len({trial.caption for trial in planted}) == 3
    assert planted[0].caption == "picture 3, print 0"
    left_out = {
        ("held_out", 0): 0,
        ("like_memorized", 0): 0,
        ("planted", 2): 0,
        ("planted", 8): 0,
        ("planted", 16): 13,
        ("unique", 1): 78,
        ("template", 1): 8,
    }
    assert trials.num_left_out == left_out
    assert choose_trials(toy_set, seed=1, max_captions=3, max_unique=8) == trials
    assert choose_trials(toy_set, seed=2, max_captions=3, max_unique=8) != trials
    assert "none" not in {trial.caption for trial in trials.chosen}
    fewer = choose_trials(toy_set, seed=1, max_captions=3, max_unique=8, max_held_out=1)
    assert sum(trial.k == 0 for trial in fewer.chosen) == 1
    assert sum(fewer.num_left_out[group, 0] for group in ("held_out", "like_memorized")) == 1
    assert fewer.chosen[1:] == trials.chosen[2:]


def test_copies_of_the_match_are_no_part_of_its_surroundings(toy_set):
    """Picture 3 stands there 16 times: were its copies compared with, the ratio would be near 1."""
    reference = Reference.of(toy_set, Fake(_emit))
    planted_id, l2, ratio = reference.match(_noisy(_picture(3), 0)[None])
    assert planted_id.tolist() == [3]
    assert l2[0] < 0.03
    assert ratio[0] < 0.2
    assert reference.is_match(planted_id, ratio).all()
    assert len(reference.images) == 102  # 101 pictures, one of them with another near copy


def test_plot_is_an_svg_of_all_points(curve):
    document = ElementTree.fromstring(curve_svg({"toy": curve, "toy <dedup>": curve}))
    space = "{http://www.w3.org/2000/svg}"
    assert document.tag == f"{space}svg"
    titles = [element.text for element in document.iter(f"{space}title")]
    assert sum("k = 8: 12/16" in title for title in titles) == 2
    assert any(title.startswith("toy <dedup>, held out, any picture: 0/8") for title in titles)
    assert not any("template" in title for title in titles)
    marks = [group.find(f"{space}circle") for group in document.iter(f"{space}g")]
    heights = [float(mark.get("cy")) for mark in marks[:5]]
    assert heights[4] < heights[3] < heights[2] == heights[1]  # k = 16 above 8 above 2 and 1
    assert heights[4] == 56


def test_unconditional_emissions_are_counted_by_k(toy_set):
    emissions = {0: _picture(3), 1: _picture(3), 2: _picture(0), 3: _picture(60), 4: np.full((32, 32, 3), 128, np.uint8)}
    fake = Fake(lambda prompt, seed: emissions.get(seed, _picture(2000 + seed)), takes_prompts=False)
    curve = measure_unconditional(fake, toy_set, num_images=20, num_inference_steps=3)
    by_k = {emitted.k: emitted for emitted in curve.emitted}
    assert {k: (e.pictures.num_hits, e.pictures.num_trials) for k, e in by_k.items()} == {
        1: (1, 96), 2: (1, 1), 8: (0, 2), 16: (1, 1),
    }  # fmt: skip
    assert {k: e.generations.num_hits for k, e in by_k.items()} == {1: 1, 2: 1, 8: 0, 16: 2}
    assert curve.any == Share(num_hits=4, num_trials=20)
    assert [seed for _, seeds, _, _ in fake.asked for seed in seeds] == list(range(20))
    assert curve.table().column("num_matches").to_pylist() == [1, 1, 0, 2]
    assert len(curve.lines()) == 5
    document = curve_svg({"toy-unconditional": curve})
    assert "emitted" in document
    assert document.count("<circle") == 4 + 1
    assert "k = 8: 0/2" in document
    with pytest.raises(AssertionError, match="nothing in common"):
        curve_svg({"a": curve, "b": measure_curve(Fake(_emit), toy_set, sampling=SAMPLING, trials=Trials(chosen=()))})


def test_a_curve_of_nothing_is_empty(toy_set):
    curve = measure_curve(Fake(_emit), toy_set, sampling=SAMPLING, trials=Trials(chosen=()))
    assert curve.points == []
    assert math.isnan(curve.pooled(["planted"]).value)
