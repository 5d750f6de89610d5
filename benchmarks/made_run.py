"""A run of any size, made by SQL: every table, with captions, urls, and groups of all sizes and classes.

Nothing is drawn and nothing encoded: made_run/<table>.sql says what the rows are, DuckDB computes them, part by part, within
``--memory``, and the store checks and writes them as it does those of a scan. The ranked tables come from the library's own
queries. The same arguments give the same rows; tables that are there are kept.

    python benchmarks/made_run.py --images 10000000 --out /large/made

At ten million: about 4 GB on disk. ``--like RUN --dropped 20`` makes a second run of the same images, in which every twentieth
group is gone, and which shares the first one's files of images.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scanner.core.memory import peak_memory_bytes
from scanner.core.schemas import TABLES
from scanner.core.sql import connect, find_query, limits
from scanner.core.store import Part, Store
from scanner.core.views import literal

HERE = Path(__file__).parent / "made_run"
PART_ROWS = 262_144
BY_POSITION = ("images", "embeddings", "neighbors", "keep")
"""Made in ranges of images; the others in one go."""
RANKED = ("group_captions", "group_risk", "prompts")
EXTRACTED = ("extractions", "generations", "matches", "prompt_scores", "reviews")
"""Of the prompts, the others of these of the first."""
EMBEDDING_BYTES = 16
"""Of vectors of eight numbers: no query compares any, one fetches one by its image."""


def main() -> None:
    args = parse_args()
    start = time.perf_counter()
    store = Store(str(args.out))
    store.write_run({"config": {"sources": []}, "made": {"images": args.images, "dropped": args.dropped}})
    make(store, args)
    rows = {table: manifest.num_rows for table in TABLES if (manifest := store.manifest(table))}
    size = sum(file.stat().st_size for file in args.out.rglob("*.parquet"))
    print(json.dumps({"num_rows": rows, "bytes": size, "wall_s": time.perf_counter() - start, "peak_bytes": peak_memory_bytes()}))


def make(store: Store, args: argparse.Namespace) -> None:
    """Brings every table there that is not yet."""
    if args.like:
        share_parts(Store.open(args.like), store, "images")
    drawn = ("groups",) if args.like else tuple(t for t in TABLES if t not in (*RANKED, *EXTRACTED))
    missing = [table for table in drawn if store.manifest(table) is None]
    if missing:
        with database(args) as connection:
            connection.execute(sql_of("members"))
            for table in missing:
                parts = ranges(connection, table, args.images) if table in BY_POSITION else blocks(connection, sql_of(table))
                write(store, table, parts)
    if args.like:
        return
    # The ranked tables as a scan would make them, but streamed.
    for table in RANKED:
        if store.manifest(table) is None:
            write(store, table, ranked(store, table, args))
    for table in EXTRACTED:
        if store.manifest(table) is None:
            with database(args) as connection:
                for source in ("prompts", "extractions"):
                    if paths := ", ".join(map(literal, store.part_paths(source))):
                        connection.execute(f"create view {source} as from read_parquet([{paths}])")
                write(store, table, blocks(connection, sql_of(table)))


@contextmanager
def database(args: argparse.Namespace) -> Iterator[Any]:
    """DuckDB with the macros and variables that the tables are made of, spilling to a folder that goes with it."""
    import duckdb

    variables = {
        "num_images": args.images, "shard_rows": max(1, min(10_000, args.images // 4)), "part_rows": PART_ROWS,
        "dropped": args.dropped,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="made-run-", dir=args.scratch) as scratch:
        settings = {**limits(args.memory, args.threads), "temp_directory": scratch}
        with duckdb.connect(":memory:", config=settings) as connection:
            for name, value in variables.items():
                connection.execute(f"set variable {name} = {value}::bigint")
            connection.execute(sql_of("macros"))
            yield connection


def sql_of(table: str) -> str:
    return (HERE / f"{table}.sql").read_text()


def ranges(connection: Any, table: str, num_images: int) -> Iterator[Any]:
    """A block a part, of the images whose place in line is in its range."""
    for first in range(0, num_images, PART_ROWS):
        connection.execute(f"set variable first = {first}")
        connection.execute(f"set variable last = {min(first + PART_ROWS, num_images)}")
        yield connection.sql(sql_of(table)).to_arrow_table()


def blocks(connection: Any, sql: str, arguments: dict[str, Any] | None = None) -> Iterator[Any]:
    """Rows in blocks of a part's size."""
    import pyarrow as pa

    reader = connection.sql(sql, params=arguments or None).to_arrow_reader(PART_ROWS // 4)
    held: list[Any] = []
    num_rows = 0
    for batch in reader:
        held.append(batch)
        num_rows += batch.num_rows
        if num_rows >= PART_ROWS:
            yield pa.Table.from_batches(held)
            held, num_rows = [], 0
    yield pa.Table.from_batches(held, schema=reader.schema)


def ranked(store: Store, table: str, args: argparse.Namespace) -> Iterator[Any]:
    query = find_query(f"risk/{table}")
    with connect(store, memory=args.memory, threads=args.threads, scratch=args.scratch or "") as connection:
        yield from blocks(connection, query.sql, query.arguments({}))


def write(store: Store, table: str, content: Iterator[Any]) -> None:
    """The blocks as parts of the table; what is empty is one part, as a scan leaves it."""
    import pyarrow as pa

    start = time.perf_counter()
    parts = []
    for rows in content:
        if table == "embeddings":
            # DuckDB knows no bytes of a fixed length.
            rows = rows.set_column(1, "embedding", rows["embedding"].cast(pa.binary(EMBEDDING_BYTES)))
        if rows.num_rows or not parts:
            name = hashlib.sha256(f"{table}/{len(parts)}".encode()).hexdigest()
            parts.append(store.write_part(table, Part(index=len(parts), fingerprint=name, num_rows=0), rows))
    manifest = store.commit(table, parts)
    print(f"{table:<16} {manifest.num_rows:>12,} rows {time.perf_counter() - start:8.1f} s", file=sys.stderr, flush=True)


def share_parts(source: Store, store: Store, table: str) -> None:
    """The same files under a second run: hard links, or copies where the disk has none."""
    manifest = source.manifest(table)
    assert manifest is not None
    os.makedirs(store.path(table), exist_ok=True)
    for part in manifest.parts:
        try:
            os.link(source.path(table, part.name), store.path(table, part.name))
        except OSError:
            shutil.copy(source.path(table, part.name), store.path(table, part.name))
    store.commit(table, manifest.parts)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--like", help="a made run whose images are taken over")
    parser.add_argument("--dropped", type=int, default=0, help="leave out one group of so many")
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--scratch")
    return parser.parse_args()


if __name__ == "__main__":
    main()
