"""Image ids: unique for ever, and telling where the image came from."""

from __future__ import annotations

SHARD_BITS = 24
"""A shard holds at most 2^24 rows; 2^39 shards are left."""


def image_id(shard_id: int, row: int) -> int:
    """``shard_id << 24 | row``."""
    return shard_id << SHARD_BITS | row


def shard_of(image_id: int) -> int:
    return image_id >> SHARD_BITS


def row_of(image_id: int) -> int:
    return image_id & ((1 << SHARD_BITS) - 1)
