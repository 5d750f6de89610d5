"""Words of the planted captions: subjects, and the many ways in which pages describe one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ADJECTIVES = (
    "quiet", "electric", "golden", "northern", "paper", "hollow", "velvet", "broken", "distant", "early", "wild", "frozen",
    "silver", "crooked", "burning", "little", "western", "sunken", "painted", "iron",
)  # fmt: skip
NOUNS = (
    "harbour", "market", "garden", "lantern", "rivers", "engine", "orchard", "bridge", "festival", "letters", "meadow", "station",
    "compass", "kitchen", "island", "theatre", "bicycle", "window", "library", "mountain", "circus", "ferry", "tea", "radio",
)  # fmt: skip
ARTICLES = ("t-shirt", "phone case", "mug", "cushion", "tote bag", "calendar", "notebook", "wall clock", "apron", "postcard")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven")

_OPENINGS = (
    "", "a picture of ", "photo: ", "stock image of ", "here is ", "buy ", "free download: ", "vintage ", "detail of ",
    "our new ", "close-up of ", "wallpaper of ",
)  # fmt: skip
_ENDINGS = (
    "", ", high resolution", " - art print", " for sale", " | gallery", ", royalty free", " (sold)", ", isolated", " on canvas",
    " by an unknown artist", ", 2 of 3", " in our shop",
)  # fmt: skip


def pick(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]


def invented_name(rng: np.random.Generator) -> str:
    """A brand that does not exist, of two or three syllables."""
    syllables = ("vex", "ora", "lin", "tho", "bri", "mak", "zel", "una", "pid", "rov", "kes", "wim")
    return "".join(pick(rng, syllables) for _ in range(int(rng.integers(2, 4)))).capitalize()


def varied_captions(rng: np.random.Generator, subject: str, n: int) -> list[str]:
    """``n`` different captions of one subject; beyond 144 they are numbered."""
    ways = [opening + subject + ending for opening in _OPENINGS for ending in _ENDINGS]
    chosen = [ways[i] for i in rng.permutation(len(ways))[:n]]
    return chosen + [f"{subject}, no. {i}" for i in range(1, n - len(chosen) + 1)]
