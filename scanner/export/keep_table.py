"""Table ``keep``: what becomes of every image, and why. Memory is that of one part and of the largest group.

Groups come in the order of groups and the table is in the order of ids, so what was decided of a member waits on disk in a file
of its part.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import fingerprint
from scanner.core.errors import StoreError
from scanner.core.ids import SHARD_BITS
from scanner.core.progress import Bar
from scanner.core.schemas import arrow_schema
from scanner.core.store import Part, Store
from scanner.core.vectors import to_matrix
from scanner.export.decide import NOBODY, decide
from scanner.export.facts import Facts
from scanner.export.policy import LOWEST_ID, WEIGHTS, Policy
from scanner.export.thresholds import Components, cut
from scanner.search.exact import pair_similarities
from scanner.search.scratch import scratch_matrix

if TYPE_CHECKING:
    import pyarrow as pa

PAIRS = 8192
"""Whose cosines are computed at once: 64 MiB of float64 at 512 numbers a side."""
UNKNOWN = np.float32(np.nan)
"""Similarity that is still to be computed."""
MEMBER = np.dtype(
    [("image_id", "<i8"), ("is_kept", "?"), ("weight", "<f8"), ("rule", "<i4"), ("because_of", "<i8"), ("similarity", "<f4")]
)
"""What was decided of a member: ``rule`` is a place in the list of names, ``because_of`` an id or ``NOBODY``."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Block:
    """What was decided of the members of whole groups.

    Attributes:
        lessened: bool (n,): of the n members those that go, or weigh less than 1, because of a copy.
        decided: MEMBER (m,): those that do not go for themselves.
    """

    lessened: NDArray[np.bool_]
    decided: NDArray[np.void]


class Judge:
    """A policy applied to blocks of members.

    Attributes:
        names: of the rules, by the numbers that ``MEMBER`` and :meth:`itself` give.
    """

    def __init__(self, policy: Policy, components: Components | None = None) -> None:
        self.policy, self.components = policy, components
        self.names = [*(rule.text for rule in policy.preferences), LOWEST_ID, WEIGHTS]
        self._places = {name: place for place, name in enumerate(self.names)}

    def itself(self, rows: pa.Table) -> NDArray[np.int64]:
        """int64 (n,): the rule for which an image goes whatever its group says, ``NOBODY`` where it may stay."""
        found, names = self.policy.removed_for_itself(rows)
        places = np.array([*map(self._place, names), NOBODY])
        renamed: NDArray[np.int64] = places[found]
        return renamed

    def block(self, rows: pa.Table) -> Block:
        """What becomes of the members of whole groups; those that go for themselves take no part and get no decision."""
        config, itself = self.policy.config, self.itself(rows)
        image_id = rows["image_id"].to_numpy()
        class_, kind = _texts(rows, "class"), _texts(rows, "kind")
        is_open = np.isin(class_, ["picture", "", *config.also])
        is_representative = np.asarray(rows["is_representative"])
        is_copy = is_representative | np.isin(kind, config.kinds)
        stays = itself == NOBODY
        competes = stays & is_open & is_copy

        decided = np.zeros(len(image_id), MEMBER)
        decided["image_id"], decided["is_kept"], decided["weight"] = image_id, True, 1.0
        decided["rule"], decided["because_of"], decided["similarity"] = NOBODY, NOBODY, UNKNOWN
        for class_name in np.unique(class_[~is_open]):
            decided["rule"][~is_open & (class_ == class_name)] = self._place(f"protected {class_name}")
        for kind_name in np.unique(kind[is_open & ~is_copy]):
            decided["rule"][is_open & ~is_copy & (kind == kind_name)] = self._place(f"kind {kind_name}")

        rivals = np.flatnonzero(competes)
        taken = rows.take(rivals)
        group = taken["group_id"].to_numpy()
        if self.components is not None:
            group = cut(group, self.components.of(image_id[rivals]))
        found = decide(
            group, image_id[rivals], self.policy.scores(taken), images_a_group=config.images_a_group,
            has_weights=config.weights, is_first_silent=self.policy.is_default,
        )  # fmt: skip
        decided["is_kept"][rivals], decided["weight"][rivals] = found.is_kept, found.weight
        decided["rule"][rivals] = np.where(found.is_kept & (found.weight < 1), self._place(WEIGHTS), found.rule)
        gone = found.winner != NOBODY
        winner = rivals[found.winner[gone]]
        decided["because_of"][rivals[gone]] = image_id[winner]
        decided["similarity"][rivals[gone]] = _known_similarity(rows, is_representative, rivals[gone], winner)
        return Block(lessened=stays & (decided["weight"] < 1), decided=decided[stays])

    def _place(self, name: str) -> int:
        if name not in self._places:
            self._places[name] = len(self.names)
            self.names.append(name)
        return self._places[name]


def _texts(rows: pa.Table, column: str) -> NDArray[np.object_]:
    return np.asarray(rows[column].fill_null("").to_numpy(zero_copy_only=False), dtype=object)


def _known_similarity(
    rows: pa.Table, is_representative: NDArray[np.bool_], one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Cosines of rows with rows where one of the two is the representative; else ``UNKNOWN``."""
    similarity = rows["similarity_to_representative"].to_numpy()
    known = np.where(is_representative[other], similarity[one], np.where(is_representative[one], similarity[other], UNKNOWN))
    return known.astype(np.float32)


class _Waiting:
    """Decisions of members in a file a part of the table. A context manager: they go with it."""

    def __init__(self, part_of_shard: NDArray[np.int64]) -> None:
        self._part_of_shard = part_of_shard
        self._folder = tempfile.TemporaryDirectory(prefix="scanner-keep-")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def add(self, decided: NDArray[np.void]) -> None:
        part = self._part_of_shard[decided["image_id"] >> SHARD_BITS]
        order = np.argsort(part, kind="stable")
        edges = np.flatnonzero(np.diff(part[order])) + 1
        for rows in np.split(order, edges) if len(order) else []:
            with self._path(int(part[rows[0]])).open("ab") as file:
                file.write(decided[rows].tobytes())

    def of(self, part: int) -> NDArray[np.void]:
        """By ascending id."""
        path = self._path(part)
        rows = np.fromfile(path, MEMBER) if path.exists() else np.empty(0, MEMBER)
        return rows[np.argsort(rows["image_id"], kind="stable")]

    def _path(self, part: int) -> Path:
        return Path(self._folder.name) / f"{part}"


def write_keep(run: Store, out: Store, facts: Facts, judge: Judge, *, identity: str, scratch: str, bar: Bar) -> None:
    """Writes the parts of table ``keep`` that are not there yet, one for each of ``images``, and commits it.

    Args:
        identity: of all that the table depends on.
        scratch: folder for vectors that similarities are computed of; the system's if empty.

    Raises:
        StoreError: the run is not whole.
    """
    manifest = run.manifest("images")
    if manifest is None:
        raise StoreError(f"{run.url} has no table images yet.", next_step="Run the scan to its end first.")
    shards = run.read("shards", ["shard_id", "part"])
    ids, parts = shards["shard_id"].to_numpy(), shards["part"].to_numpy()
    part_of_shard = np.full(int(ids.max(initial=-1)) + 1, -1, np.int64)
    part_of_shard[ids] = parts
    with _Waiting(part_of_shard) as waiting:
        winners: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        for rows in facts.members(judge.policy.member_columns):
            block = judge.block(rows)
            waiting.add(block.decided)
            is_open = (block.decided["because_of"] != NOBODY) & np.isnan(block.decided["similarity"])
            winners.append(np.unique(block.decided["because_of"][is_open]))
        vectors = _Vectors(run, np.unique(np.concatenate(winners)), scratch)
        images = _by_part(facts.images(judge.policy.image_columns), part_of_shard)
        made: list[Part] = []
        for part in manifest.parts:
            piece = Part(index=part.index, fingerprint=fingerprint(identity, part.index), num_rows=part.num_rows)
            index, rows = next(images) if part.num_rows else (part.index, None)
            assert index == part.index, "parts hold ascending ids"
            if not out.has_part("keep", piece):
                members = waiting.of(part.index)
                vectors.fill(members, part.index)
                out.write_part("keep", piece, _keep_rows(rows, members, judge))
            made.append(replace(piece, num_rows=part.num_rows))
            bar.advance(part.num_rows)
    out.commit("keep", made, metadata={"fingerprint": identity})


def _by_part(blocks: Iterator[pa.Table], part_of_shard: NDArray[np.int64]) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each part together; blocks come by ascending id, in which parts ascend too."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    current = -1
    for block in blocks:
        part = part_of_shard[block["image_id"].to_numpy() >> SHARD_BITS]
        edges = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), block.num_rows]
        for start, stop in pairwise(edges):
            if waiting and int(part[start]) != current:
                yield current, pa.concat_tables(waiting)
                waiting = []
            current = int(part[start])
            waiting.append(block.slice(start, stop - start))
    if waiting:
        yield current, pa.concat_tables(waiting)


def _keep_rows(images: pa.Table | None, members: NDArray[np.void], judge: Judge) -> pa.Table:
    import pyarrow as pa

    schema = arrow_schema("keep")
    if images is None:
        return schema.empty_table()
    image_id = images["image_id"].to_numpy()
    itself = judge.itself(images)
    is_kept, weight, rule = itself == NOBODY, (itself == NOBODY).astype(np.float64), itself.copy()
    because_of, similarity = np.full(len(image_id), NOBODY), np.full(len(image_id), UNKNOWN)
    place = np.searchsorted(image_id, members["image_id"])
    assert np.array_equal(image_id[place], members["image_id"]), "every member is an image of its part"
    is_kept[place], weight[place], rule[place] = members["is_kept"], members["weight"], members["rule"]
    because_of[place], similarity[place] = members["because_of"], members["similarity"]
    names = pa.array([*judge.names, None], pa.string())
    return pa.table(
        {
            "image_id": image_id, "is_kept": is_kept, "sample_weight": weight,
            "rule": names.take(pa.array(np.where(rule == NOBODY, len(judge.names), rule))),
            "because_of": pa.array(because_of, mask=because_of == NOBODY),
            "similarity": pa.array(similarity, mask=because_of == NOBODY),
        },
        schema=schema,
    )  # fmt: skip


class _Vectors:
    """Embeddings of the images that stay in another's place, on disk; where a representative stays none is needed."""

    def __init__(self, run: Store, image_id: NDArray[np.int64], scratch: str) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        self._run, self._image_id = run, image_id
        self._parts = {part.index: part for part in _parts(run)} if len(image_id) else {}
        self._rows: NDArray[np.float16] | None = None
        for part in self._parts.values():
            rows = run.read_part("embeddings", part)
            rows = rows.filter(pc.is_in(rows["image_id"], value_set=pa.array(image_id)))
            matrix = to_matrix(rows["embedding"])
            if self._rows is None:
                self._rows = scratch_matrix(scratch, num_rows=len(image_id), dim=matrix.shape[1])
            self._rows[np.searchsorted(image_id, rows["image_id"].to_numpy())] = matrix

    def fill(self, members: NDArray[np.void], part: int) -> None:
        """Computes the similarities of a part that are still to be."""
        is_open = np.flatnonzero((members["because_of"] != NOBODY) & np.isnan(members["similarity"]))
        if not len(is_open):
            return
        assert self._rows is not None, "winners have embeddings"
        rows = self._run.read_part("embeddings", self._parts[part])
        own = np.searchsorted(rows["image_id"].to_numpy(), members["image_id"][is_open])
        other = np.searchsorted(self._image_id, members["because_of"][is_open])
        matrix = to_matrix(rows["embedding"])
        for start in range(0, len(is_open), PAIRS):
            block = slice(start, start + PAIRS)
            members["similarity"][is_open[block]] = pair_similarities(matrix, self._rows, own[block], other[block])


def _parts(run: Store) -> tuple[Part, ...]:
    manifest = run.manifest("embeddings")
    return manifest.parts if manifest else ()
