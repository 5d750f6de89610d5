"""A group of the report, made by hand."""

from __future__ import annotations

from scanner.report.groups import Group, GroupCaption, GroupKind


def group(*, class_="picture", kinds=(("exact", 1), ("near", 2)), captions=((2, "a boat"),), rank=1) -> Group:
    return Group(
        risk_rank=rank, group_id=7, num_images=3, num_exact=1, num_distinct_captions=len(captions), caption_agreement=1.0,
        num_hosts=2, risk_score=0.25, class_=class_, representative_id=7, members=(),
        captions=tuple(
            GroupCaption(group_id=7, position=k, caption=text, num_images=n, num_hosts=1, caption_family=None)
            for k, (n, text) in enumerate(captions, 1)
        ),
        kinds=tuple(GroupKind(group_id=7, kind=kind, num_images=n, lowest_similarity=0.9) for kind, n in kinds),
    )  # fmt: skip
