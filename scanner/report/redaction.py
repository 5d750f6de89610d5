"""What a page leaves out that is shown to people who must not see the set.

Words of the set are taken out of what the page is made of before any of it is rendered, so that no section can forget to:
captions, prompts, keys, urls, names of files, masks of caption families, hashes of a list, error messages that may quote them,
and where things lie. Counts, distances, kinds, ids of groups and images, and the names of sets stay: with the run at hand they
lead back to what is hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from scanner.report.content import Content
from scanner.report.extractions import Extractions
from scanner.report.groups import Group
from scanner.report.leaks import Leaks
from scanner.report.thumbnails import REDACTED

HIDDEN = "hidden"
_OPEN = frozenset({"versions", "embeddings", "report_written_by", "config_fingerprint"})
"""Parts of ``run.yaml`` that say nothing of the set."""


def hidden(text: str) -> str:
    """What stands in place of a text: that it is hidden, and how long it is."""
    return f"{HIDDEN}, {len(text):,} characters"


def hide_content(content: Content) -> Content:
    """The content of a scan without a word of its set."""
    return replace(
        content,
        groups=tuple(map(_group, content.groups)),
        blank_groups=tuple(map(_group, content.blank_groups)),
        outliers=tuple(
            replace(row, key=HIDDEN, shard=HIDDEN, caption=_optional(row.caption), url=_optional(row.url))
            for row in content.outliers
        ),
        captions=tuple(
            replace(row, caption=hidden(row.caption), caption_family=_optional(row.caption_family)) for row in content.captions
        ),
        families=tuple(
            replace(row, caption_family=hidden(row.caption_family), example_caption=hidden(row.example_caption))
            for row in content.families
        ),
        reasons=tuple(replace(row, reason=HIDDEN, example_keys=[]) for row in content.reasons),
        shards=tuple(
            replace(row, url=f"shard {row.shard_id}", error_message=_optional(row.error_message)) for row in content.shards
        ),
    )


def hide_extractions(extracted: Extractions) -> Extractions:
    """Without prompts, captions, and the ids of prompts, by which a guessed caption could be confirmed."""
    found = tuple(
        replace(row, prompt=hidden(row.prompt), image_caption=_optional(row.image_caption), prompt_id=None)
        for row in extracted.found
    )
    return replace(extracted, found=found)


def hide_leaks(leaks: Leaks) -> Leaks:
    """Without keys, hashes, captions, and whatever was read of the other sets."""
    pairs = tuple(
        replace(
            pair, right_key=HIDDEN, left_key=HIDDEN, left_shard=HIDDEN, left_caption=_optional(pair.left_caption),
            right_caption=HIDDEN,
        )
        for pair in leaks.pairs
    )  # fmt: skip
    # Of what is known by its hash alone there is no picture to hide.
    right = {(pair.right_dataset, pair.right_id): REDACTED for pair in leaks.pairs if pair.hash_distance is None}
    return replace(leaks, pairs=pairs, right=right)


def hide_settings(parts: Mapping[str, object]) -> dict[str, object]:
    """Settings without texts that may name a place or describe the set: numbers and switches stay, and what was run with."""
    return {name: value if name in _OPEN else _without_text(value) for name, value in parts.items()}


def _group(group: Group) -> Group:
    members = tuple(
        replace(member, key=HIDDEN, shard=HIDDEN, caption=_optional(member.caption), url=_optional(member.url))
        for member in group.members
    )
    captions = tuple(
        replace(row, caption=hidden(row.caption), caption_family=_optional(row.caption_family)) for row in group.captions
    )
    return replace(group, members=members, captions=captions)


def _optional(text: str | None) -> str | None:
    return None if text is None else hidden(text)


def _without_text(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _without_text(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_text(inner) for inner in value]
    return HIDDEN if isinstance(value, str) and value else value
