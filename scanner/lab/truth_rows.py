"""The truth of a planted set, read and joined with a run: one position a row of the truth, arrays only.

Sets may hold 10^6 rows and more, so keys are joined by Arrow and everything else is an integer array.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import ConfigError, StoreError

if TYPE_CHECKING:
    import pyarrow as pa

TRUTH_FILE = "truth.parquet"
TRUTH_TYPES = {
    "planted_id": "int64", "key": "string", "source_image": "string", "kind": "string", "k": "int64", "regime": "string",
    "family": "int64", "caption": "string",
}  # fmt: skip
"""Columns of truth.parquet that scores read; family is null outside templates, caption where a row has none."""
NULLABLE = {"family", "caption"}
NO_PICTURE_KINDS = ("blank", "placeholder", "broken")
"""Kinds that are nobody's duplicates: no row of theirs counts as an image of a picture."""

_OTHER_SET = "Give the truth that was made together with the set that this run scanned."


@dataclass(frozen=True, kw_only=True, slots=True)
class TruthRows:
    """The n rows of a truth and what the run made of each.

    Attributes:
        group: (n,) number of the run's group, from 0; -1 where the row is in none.
        picture: (n,) number of the picture, from 0: equal for rows of one planted_id, for all blanks, and for all placeholders.
        source: (n,) position of the row with the source file.
        kind: (n,) position in ``kinds``.
        k: (n,) rows of the picture, mirror rows not counted.
        family: (n,) template family, -1 where the row is of none.
        is_trap: (n,) one caption on different pictures.
        is_alike: (n,) blank or placeholder: alike, and nobody's duplicates.
        kinds: names, in order.
        num_unscanned: rows that the run has no image of.
    """

    group: NDArray[np.int64]
    picture: NDArray[np.int64]
    source: NDArray[np.int64]
    kind: NDArray[np.int64]
    k: NDArray[np.int64]
    family: NDArray[np.int64]
    is_trap: NDArray[np.bool_]
    is_alike: NDArray[np.bool_]
    kinds: tuple[str, ...]
    num_unscanned: int

    def is_kind(self, *names: str) -> NDArray[np.bool_]:
        """(n,) whether the row is of one of these kinds."""
        return _among(self.kinds, names)[self.kind]


def read_truth(path: Path) -> pa.Table:
    """The truth of a planted set, one row an image, with the columns of ``TRUTH_TYPES``.

    Args:
        path: the folder of a planted set, or its truth.parquet.

    Raises:
        ConfigError: there is none, or it is no truth.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = path / TRUTH_FILE if path.is_dir() else path
    if not file.is_file():
        what = f"{str(path)!r} holds no {TRUTH_FILE}" if path.is_dir() else f"{str(path)!r} does not exist"
        raise ConfigError(f"{what}.", next_step=f"Give the folder of a planted set, or its {TRUTH_FILE}.")
    try:
        held = pq.read_schema(file).names
        table = pq.read_table(file, columns=[name for name in TRUTH_TYPES if name in held])
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{str(file)!r} cannot be read: {error}.", next_step="Make the set again.") from error
    return typed(table, tuple(TRUTH_TYPES))


def typed(truth: pa.Table, columns: tuple[str, ...]) -> pa.Table:
    """These columns of a truth, each of its type.

    Raises:
        ConfigError: one is absent, of another type, or null where it must not be.
    """
    import pyarrow as pa

    absent = [name for name in columns if name not in truth.column_names]
    if absent:
        raise ConfigError(
            f"The truth has no column {', '.join(absent)}.",
            next_step="It is no truth of a planted set, or of an older version: make the set again.",
        )
    types = {name: pa.type_for_alias(TRUTH_TYPES[name]) for name in columns}
    try:
        table = truth.select(list(columns)).cast(pa.schema(types))
    except pa.ArrowException as error:
        raise ConfigError(f"The truth has a column of another type: {error}.", next_step="Make the set again.") from error
    for name in columns:
        if table[name].null_count and name not in NULLABLE:
            raise ConfigError(f"The truth has rows without {name}.", next_step="Make the set again.")
    return table


def join_truth(images: pa.Table, groups: pa.Table, truth: pa.Table) -> TruthRows:
    """The truth's rows with the groups of a run, joined by key.

    Args:
        images: columns ``image_id`` and ``key`` of the run's table. Where it and the truth both have ``caption``, captions are
            compared too: sets of one layout share their keys, but not their captions.
        groups: columns ``image_id`` and ``group_id`` of the run's table; images in no group are absent.
        truth: columns of ``TRUTH_TYPES`` but for ``caption``.

    Raises:
        ConfigError: the truth is of another set (a key is not in it, or most captions differ), damaged, or a key occurs twice
            among the images.
        StoreError: ``groups`` holds an image that ``images`` lacks.
    """
    captions = truth["caption"] if "caption" in truth.column_names else None
    truth = typed(truth, tuple(name for name in TRUTH_TYPES if name != "caption"))
    keys = truth["key"].combine_chunks()
    if len(keys.unique()) != len(keys):
        raise ConfigError("The truth names a key twice.", next_step="Make the set again.")
    row_of_image = _rows_of_images(images, keys)
    if captions is not None and "caption" in images.column_names:
        _check_captions(images["caption"], captions, row_of_image)
    source = _positions(truth["source_image"], keys)
    if (source < 0).any():
        raise ConfigError(
            f"The truth names {int((source < 0).sum()):,} source images that it has no row of.", next_step="Make the set again."
        )
    member = _positions(groups["image_id"], images["image_id"])
    if (member < 0).any():
        raise StoreError(
            "Table groups holds images that table images lacks.", next_step="Run the scan to its end; it brings both up to date."
        )
    group = np.full(len(keys), -1, dtype=np.int64)
    group[row_of_image[member]] = dense(groups["group_id"].to_numpy())
    kinds, kind = _codes(truth["kind"])
    regimes, regime = _codes(truth["regime"])
    # Blanks are one picture whatever the truth numbers them, and so are placeholders: a pair of two is neither right nor wrong.
    picture = truth["planted_id"].to_numpy()
    least = int(picture.min(initial=0))
    for number, alike in enumerate(("blank", "placeholder"), 1):
        picture = np.where(_among(kinds, (alike,))[kind], least - number, picture)
    return TruthRows(
        group=group,
        picture=dense(picture),
        source=source,
        kind=kind,
        k=truth["k"].to_numpy(),
        family=np.where(truth["family"].is_null().to_numpy(), -1, dense(truth["family"].fill_null(0).to_numpy())),
        is_trap=_among(regimes, ("trap",))[regime],
        is_alike=_among(kinds, ("blank", "placeholder"))[kind],
        kinds=kinds,
        num_unscanned=len(keys) - len(row_of_image),
    )


def dense(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) labels numbered from 0 in their order."""
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _rows_of_images(images: pa.Table, keys: pa.Array) -> NDArray[np.int64]:
    """(images,) position of each image in the truth."""
    rows = _positions(images["key"], keys)
    num_strange = int((rows < 0).sum())
    if num_strange:
        raise ConfigError(f"{num_strange:,} of {len(rows):,} keys of the run are not in the truth.", next_step=_OTHER_SET)
    num_double = len(rows) - len(np.unique(rows))
    if num_double:
        raise ConfigError(
            f"{num_double:,} keys occur more than once among the images of the run.", next_step="Score a run of one planted set."
        )
    return rows


def _check_captions(seen: Any, captions: Any, row_of_image: NDArray[np.int64]) -> None:
    """Raises ConfigError where most images have another caption than the truth says; those without caption say nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_equal = pc.equal(seen.cast(pa.string()), captions.cast(pa.string()).take(pa.array(row_of_image)))
    num_compared = len(is_equal) - is_equal.null_count
    num_other = num_compared - (pc.sum(is_equal).as_py() or 0)
    if 2 * num_other > num_compared:
        raise ConfigError(
            f"The keys of the run are in the truth, but {num_other:,} of {num_compared:,} captions differ: it is of another set.",
            next_step=_OTHER_SET,
        )


def _positions(values: Any, among: Any) -> NDArray[np.int64]:
    """(n,) position of each value, the first where it occurs twice; -1 where it is absent."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = among.combine_chunks() if isinstance(among, pa.ChunkedArray) else among
    found: NDArray[np.int64] = pc.index_in(values, value_set=whole).cast(pa.int64()).fill_null(-1).to_numpy()
    return found


def _codes(names: Any) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The different names in order, and (n,) the position of each row's."""
    encoded = names.combine_chunks().dictionary_encode()
    found = encoded.dictionary.to_pylist()
    known = tuple(sorted(found))
    place = np.array([known.index(name) for name in found], dtype=np.int64)
    return known, place[encoded.indices.to_numpy()]


def _among(names: tuple[str, ...], wanted: tuple[str, ...]) -> NDArray[np.bool_]:
    return np.array([name in wanted for name in names], dtype=bool)
