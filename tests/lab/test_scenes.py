"""Scenes repeat by seed, differ from one another, and say what they show."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from scanner.lab.canvas import MAX_SIDE, MIN_SIDE, pick_size
from scanner.lab.scenes import SCENES, draw_scene
from scanner.lab.words import varied_captions


@pytest.fixture(scope="module")
def many():
    return [draw_scene(np.random.default_rng([3, i])) for i in range(800)]


def descriptors(images):
    """32 x 32 RGB, the mean of each channel removed, unit norm."""
    small = np.stack([np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC), np.float32) for image in images])
    flat = (small - small.mean(axis=(1, 2), keepdims=True)).reshape(len(images), -1)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", SCENES)
@pytest.mark.parametrize("size", [(96, 96), (320, 160), (96, 192), (180, 320)])
def test_every_kind_draws_at_every_size_and_repeats(kind, size):
    first, again, other = (SCENES[kind](np.random.default_rng(seed), size) for seed in (7, 7, 8))
    assert first.image.size == size
    assert first.image.mode == "RGB"
    assert first.image.tobytes() == again.image.tobytes()
    assert first.subject == again.subject
    assert first.image.tobytes() != other.image.tobytes()
    span = np.ptp(np.asarray(first.image), axis=(0, 1)).max()
    assert span > 40, "a scene is never blank"


def test_different_scenes_are_far_apart(many):
    x = descriptors([scene.image for scene in many])
    similarity = x @ x.T
    np.fill_diagonal(similarity, -1)
    nearest = similarity.max(axis=1)
    print(
        "\nnearest other scene, cosine of centred 32x32 pixels: percentiles 50, 90, 99, 100:",
        np.percentile(nearest, [50, 90, 99, 100]),
    )
    assert np.quantile(nearest, 0.999) < 0.95


def test_captions_tell_scenes_apart(many):
    words = [scene.subject for scene in many]
    assert len(set(words)) > 0.97 * len(words)
    assert all(text.isascii() and text == text.strip() and len(text) < 140 for text in words)


def test_sizes_and_aspects_are_mixed():
    sizes = [pick_size(np.random.default_rng(i)) for i in range(500)]
    assert all(MIN_SIDE <= side <= MAX_SIDE for size in sizes for side in size)
    aspects = [width / height for width, height in sizes]
    assert min(aspects) < 0.55
    assert max(aspects) > 1.8
    assert Counter(sizes).most_common(1)[0][1] < 10
    assert min(map(min, sizes)) < 110
    assert max(map(max, sizes)) > 300


@pytest.mark.parametrize("n", [1, 32, 144, 200])
def test_varied_captions_are_different_and_hold_the_subject(n):
    captions = varied_captions(np.random.default_rng(0), "red circle", n)
    assert len(captions) == len(set(captions)) == n
    assert all("red circle" in caption for caption in captions)
