"""Ids: of images, unique for ever and telling where the image came from; of prompts and generations, digests of what they are."""

from __future__ import annotations

import hashlib

SHARD_BITS = 24
"""A shard holds at most 2^24 rows; 2^39 shards are left."""


def image_id(shard_id: int, row: int) -> int:
    """``shard_id << 24 | row``."""
    return shard_id << SHARD_BITS | row


def shard_of(image_id: int) -> int:
    return image_id >> SHARD_BITS


def row_of(image_id: int) -> int:
    return image_id & ((1 << SHARD_BITS) - 1)


def prompt_id(text: str) -> int:
    """63 bits of sha256 of the exact text; ``caption_hash`` in SQL."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generation_id(model_id: str, settings: str, prompt: int, seed: int) -> int:
    """63 bits of sha256 of what an image depends on; ``settings`` is the digest of sampler, steps, guidance and precision."""
    return prompt_id(f"{model_id}/{settings}/{prompt}/{seed}")
