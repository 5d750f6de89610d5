"""Pairs of a comparison for a person to look at: a list of ids, and a contact sheet as PNG or as an HTML page."""

from __future__ import annotations

import html
import io
import os
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import RunConfig
from scanner.core.errors import ConfigError
from scanner.core.sql import connect, fetch_blocks, fetch_table, find_query
from scanner.core.store import Store
from scanner.images.sheet import SIDE, contact_sheet
from scanner.images.thumbnails import small_pictures, thumbnail_of
from scanner.leak.stored import read_facts
from scanner.sources.base import Source
from scanner.sources.originals import FileRef, Originals

if TYPE_CHECKING:
    from scanner.leak.stage import OtherRun

Picture = NDArray[np.uint8] | str
"""Pixels, or why there are none."""

IDS_FORMATS = (".csv", ".parquet")
SHEET_FORMATS = (".png", ".html")
BLOCK_ROWS = 65_536
SHEET_COLUMNS = 4
TEXT_LIMIT = 200
_HERE, _THERE = "here/", "there/"
_STYLE = """
:root { color-scheme: light dark; }
body { font: 14px/1.4 system-ui, sans-serif; margin: 24px; }
ol { list-style: none; padding: 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(290px, 1fr)); gap: 16px; }
li { border: 1px solid #8886; border-radius: 8px; padding: 10px; overflow-wrap: anywhere; }
.two { display: flex; gap: 8px; }
.two > * { width: 128px; min-height: 64px; background: #8882; display: flex; align-items: center; justify-content: center; }
p { margin: 6px 0 0; }
.key { font-size: 12px; opacity: .75; }
img { image-rendering: pixelated; }
@media print { li { break-inside: avoid; } }
"""


def check_suffix(path: str, known: tuple[str, ...]) -> str:
    """The suffix of a file that is to be written.

    Raises:
        ConfigError: none of those that can be.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in known:
        raise ConfigError(f"{path!r} ends in none of {', '.join(known)}.", next_step="Give a name with one of these endings.")
    return suffix


def write_ids(path: str, store: Store, name: str) -> int:
    """Writes both ids and keys of every pair with the set called ``name``, as CSV or Parquet; returns their number."""
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    suffix = check_suffix(path, IDS_FORMATS)
    query, num_rows = find_query("leak/ids"), 0
    temporary = _beside(path)
    with connect(store) as connection:
        writer: Any = None
        for batch in fetch_blocks(connection, query.sql, query.arguments({"other": name}), rows=BLOCK_ROWS, name=query.name):
            if writer is None:
                writer = (pa_csv.CSVWriter if suffix == ".csv" else pq.ParquetWriter)(temporary, batch.schema)
            writer.write_batch(batch)
            num_rows += batch.num_rows
        if writer is None:
            empty = fetch_table(connection, query.sql, query.arguments({"other": name}), name=query.name)
            writer = (pa_csv.CSVWriter if suffix == ".csv" else pq.ParquetWriter)(temporary, empty.schema)
        writer.close()
    os.replace(temporary, path)
    return num_rows


def write_sheet(
    path: str,
    store: Store,
    config: RunConfig,
    sources: Mapping[str, Source],
    name: str,
    against: OtherRun | None,
    *,
    num_pairs: int,
) -> int:
    """Writes a contact sheet of up to ``num_pairs`` pairs, evenly drawn from the surest to the most doubtful.

    Args:
        sources: those of the run that are at hand.
        against: the other run, None where it is a list of hashes.

    Returns:
        The number of pairs that are shown.
    """
    suffix = check_suffix(path, SHEET_FORMATS)
    query = find_query("leak/shown_pairs")
    with connect(store) as connection:
        rows = fetch_table(
            connection, query.sql, query.arguments({"other": name, "limit": num_pairs}), name=query.name
        ).to_pylist()
    pictures = _pictures(rows, config, sources, against)
    data = _png(rows, pictures) if suffix == ".png" else _page(rows, pictures, name)
    temporary = _beside(path)
    Path(temporary).write_bytes(data)
    os.replace(temporary, path)
    return len(rows)


def _beside(path: str) -> str:
    """A name for what is not finished."""
    file = Path(path).resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    return str(file.with_name(f".tmp-{os.getpid()}-{file.name}"))


def _pictures(
    rows: list[dict[str, Any]], config: RunConfig, sources: Mapping[str, Source], against: OtherRun | None
) -> dict[tuple[str, int], Picture]:
    """By side and image id; of what could not be read the reason."""
    files = {(_HERE, row["left_id"]): _sided(FileRef.of_row(row), _HERE) for row in rows}
    opened = {_HERE + name: source for name, source in sources.items()}
    if against is not None:
        ids = np.unique(np.array([row["right_id"] for row in rows], np.int64))
        facts = read_facts(against.store, ids)
        files |= {(_THERE, ref.image_id): ref for ref in facts.files(np.arange(len(ids)), side=_THERE)}
        opened |= {_THERE + name: source for name, source in against.sources.items()}
    originals = Originals(opened)
    found: dict[tuple[str, int], Picture] = {}

    def data() -> Iterator[tuple[tuple[str, int], bytes]]:
        for place in sorted(files):
            read = originals.read(files[place])
            if read is None:
                found[place] = originals.last_failure
            else:
                yield place, read

    if any(source.embedding_dim is None for source in opened.values()):
        workers = os.cpu_count() or 1 if config.compute.workers == "auto" else config.compute.workers
        found.update(small_pictures(data(), config.images, workers=workers))
    return {place: found.get(place, "the images are not at hand") for place in files}


def _sided(file: FileRef, side: str) -> FileRef:
    return replace(file, dataset=side + file.dataset)


def _two(row: dict[str, Any], pictures: Mapping[tuple[str, int], Picture]) -> tuple[Picture, Picture]:
    right = pictures.get((_THERE, row["right_id"]), f"line {row['right_id']}: {row['right_key']}")
    return pictures[_HERE, row["left_id"]], right


def _told(row: dict[str, Any]) -> str:
    """``near, cosine 0.981, confidence 0.99``."""
    how = [row["kind"]]
    if row["similarity"] is not None:
        how.append(f"cosine {row['similarity']:.3f}")
    if row["confidence"] is not None:
        how.append(f"confidence {row['confidence']:.2f}")
    if row["hash_distance"] is not None:
        how.append(f"{row['hash_distance']} bits")
    return ", ".join(how)


def _png(rows: list[dict[str, Any]], pictures: Mapping[tuple[str, int], Picture]) -> bytes:
    strips = [(f"{_told(row)}\n{row['key']} | {row['right_key']}", _two(row, pictures)) for row in rows]
    return contact_sheet(strips or [("no leaks", [])], columns=SHEET_COLUMNS)


def _page(rows: list[dict[str, Any]], pictures: Mapping[tuple[str, int], Picture], name: str) -> bytes:
    """Self-contained; every word of the sets is text, whatever it holds."""
    out = io.StringIO()
    total = rows[0]["num_found"] if rows else 0
    title = f"{_shown(name)}: {len(rows):,} of {total:,} pairs"
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    out.write(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>"
        "<p>Left: this set. Right: the other one. From the surest pair to the most doubtful, at even steps.</p><ol>"
    )
    for row in rows:
        shown = []
        for side, picture, key in zip(("here", "there"), _two(row, pictures), (row["key"], row["right_key"]), strict=True):
            if isinstance(picture, str):
                shown.append(f"<span>{_shown(picture)}</span>")
            else:
                small = thumbnail_of(picture)
                scale = max(1, SIDE // max(small.width, small.height))
                size = f'width="{small.width * scale}" height="{small.height * scale}"'
                shown.append(f'<span><img src="{small.data_uri}" {size} alt="{side}: {_shown(key)}"></span>')
        caption = f"<p>{_shown(row['caption'])}</p>" if row["caption"] else ""
        out.write(
            f'<li><div class="two">{"".join(shown)}</div><p><b>{_shown(_told(row))}</b></p>{caption}'
            f'<p class="key">{_shown(row["key"])}<br>{_shown(row["right_key"])}</p></li>'
        )
    out.write("</ol></body></html>\n")
    return out.getvalue().encode("utf-8", "replace")


def _shown(text: str) -> str:
    """Text from outside for a page: markup escaped, what a browser would obey or hide replaced, clipped."""
    clipped = text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + "…"
    hidden = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return html.escape("".join("\ufffd" if unicodedata.category(c) in hidden else c for c in clipped))
