from __future__ import annotations

import numpy as np

from scanner.core.config import VerifyConfig
from scanner.images.align import LOOK
from scanner.images.looks import Looks
from scanner.lab.scenes import SCENES
from scanner.verify.judge import judge
from scanner.verify.members import make_group


def row(i: int, *, width: int, height: int, **more: object) -> dict:
    base = {
        "group_id": 1, "image_id": i, "is_representative": i == 1, "similarity_to_representative": 0.9, "is_exact": i == 1,
        "dataset": "d", "shard": "s", "key": str(i), "byte_offset": None, "num_bytes": None, "sha256": bytes([i]) * 32,
        "phash": i, "width": width, "height": height, "is_blank": False, "caption": None,
    }  # fmt: skip
    return base | more


def looks(pixels: list[np.ndarray]) -> Looks:
    return Looks(
        pixels=np.stack(pixels), is_read=np.ones(len(pixels), bool), pixel_digest=[bytes([i]) for i in range(len(pixels))]
    )


def test_a_wide_picture_and_a_tall_one_are_two_though_squashed_they_agree():
    same = np.array(SCENES["leaves"](np.random.default_rng(1), (200, 200)).image.resize(LOOK.size))
    for width, expected in ((110, [[1, 2]]), (300, [])):
        group = make_group([row(1, width=100, height=100), row(2, width=width, height=100)])
        found = judge([group], looks([same, same]), VerifyConfig())
        assert [one.candidate.image_id[one.rows].tolist() for one in found] == expected


def test_blanks_of_any_tone_stay_together():
    tones = [np.full((*LOOK.size, 3), tone, np.uint8) for tone in (255, 0)]
    group = make_group([row(i, width=100, height=100, is_blank=True) for i in (1, 2)])
    (found,) = judge([group], looks(tones), VerifyConfig())
    assert (found.class_, found.kind.tolist()) == ("blank", ["exact", "near"])
