"""CLIP's tokenizer cut down to what the captions of one set need, so that a small model has a small table of embeddings.

The vocabulary of open_clip (the one of CLIP and of Stable Diffusion 1) is kept as far as the captions use it: all bytes, so any
text can be written, and the merges that tokenising the captions performs. Those captions come out in the very tokens of the
full tokenizer; other texts may come out in shorter ones.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from scanner.core.errors import TrainingError

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
NUM_TOKENS = 36
"""Tokens that the text encoder reads, start and end among them: the longest planted captions take 33."""

_NUM_MERGES = 49152 - 256 - 2
"""CLIP's share of the merges in the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """Tokens with their ids (start and end come last, as in CLIP), and merges in the order of their rank."""

    ids: dict[str, int]
    merges: tuple[tuple[str, str], ...]


def trim_vocabulary(captions: Iterable[str]) -> Vocabulary:
    """Bytes, and the merges of CLIP that these captions need.

    Closed: a merge that a caption uses is applied in the same order with or without those that none uses.
    """
    full = _full_tokenizer()
    ranks = {merge: rank for rank, merge in enumerate(_all_merges())}
    words = {word for caption in captions for word in full.pat.findall(full.clean_fn(caption))}
    used: set[tuple[str, str]] = set()
    for word in words:
        symbols = [full.byte_encoder[byte] for byte in word.encode()]
        used.update(_merges_of([*symbols[:-1], f"{symbols[-1]}</w>"], ranks))
    merges = tuple(sorted(used, key=ranks.__getitem__))
    letters = list(full.byte_encoder.values())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge) for merge in merges), START, END]
    return Vocabulary(ids={token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges=merges)


def clip_tokenizer(vocabulary: Vocabulary) -> Any:
    """transformers' ``CLIPTokenizer`` over this vocabulary."""
    from transformers import CLIPTokenizer

    # Declared as texts, but pairs are what the tokenizers library takes.
    merges: Any = list(vocabulary.merges)
    return CLIPTokenizer(vocab=vocabulary.ids, merges=merges, model_max_length=NUM_TOKENS)


def check_tokens(tokenizer: Any, captions: Sequence[str]) -> None:
    """Holds the tokens of every caption against those of the full CLIP tokenizer.

    Raises:
        TrainingError: a caption comes out otherwise.
    """
    full = _full_tokenizer()
    for caption in dict.fromkeys(captions):
        expected = [full.decoder[i] for i in full.encode(caption)]
        found = tokenizer.convert_ids_to_tokens(tokenizer(caption, add_special_tokens=False, verbose=False)["input_ids"])
        if found != expected:
            raise TrainingError(
                f"caption {caption!r} is cut into {found}, where CLIP has {expected}",
                next_step="Captions with HTML entities or broken encoding are cleaned by CLIP only: clean them in the set.",
            )


def _merges_of(symbols: list[str], ranks: dict[tuple[str, str], int]) -> list[tuple[str, str]]:
    """The merges that byte-pair encoding performs on one word."""
    done = []
    while len(symbols) > 1:
        pairs = list(pairwise(symbols))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        done.append(best)
        merged, i = [], 0
        while i < len(symbols):
            if tuple(symbols[i : i + 2]) == best:
                merged.append("".join(best))
                i += 2
            else:
                merged.append(symbols[i])
                i += 1
        symbols = merged
    return done


def _all_merges() -> list[tuple[str, str]]:
    from open_clip.tokenizer import default_bpe

    with gzip.open(default_bpe(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : _NUM_MERGES + 1]
    return [(first, second) for first, second in (line.split() for line in lines)]


@lru_cache(maxsize=1)
def _full_tokenizer() -> SimpleTokenizer:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
