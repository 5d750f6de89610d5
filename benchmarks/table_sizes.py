"""Bytes a row of every table of a run, as its Parquet parts lie on disk; nothing is timed.

Planted pictures have short captions and invented urls: ``--captions`` puts real ones into a copy of the ``images`` table first.

    scanner lab make --images 10000 --seed 7 --out set
    scanner scan set/shards --out run --encoder small
    python benchmarks/table_sizes.py run --captions alt-texts.parquet
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.core.schemas import TABLES
from scanner.core.store import Part, Store


def main() -> None:
    args = parse_args()
    store = Store.open(args.run)
    sizes = {table: table_size(store, table) for table in TABLES if store.manifest(table)}
    if args.captions:
        sizes["images"] = with_captions(store, args.captions)
    result: dict[str, Any] = {
        "bytes_a_row": {table: num_bytes / num_rows for table, (num_rows, num_bytes) in sizes.items() if num_rows},
        "num_rows": {table: num_rows for table, (num_rows, _) in sizes.items()},
        "encoder": store.read_run()["encoder"]["name"],
        "dim": store.read_run()["encoder"]["dim"],
        "captions": "real alt texts and urls" if args.captions else "of the set",
    }
    for table, size in result["bytes_a_row"].items():
        print(f"{table:<15} {result['num_rows'][table]:>10,} rows {size:10.1f} bytes a row")
    args.out.write_text(json.dumps(result, indent=2) + "\n")


def table_size(store: Store, table: str) -> tuple[int, int]:
    """Rows and bytes of the parts that the table lists."""
    manifest = store.manifest(table)
    assert manifest is not None
    return manifest.num_rows, sum(store.fs.size(store.path(table, part.name)) for part in manifest.parts)


def with_captions(store: Store, captions: Path) -> tuple[int, int]:
    """The same of ``images``, its first rows with the captions (TEXT) and urls (URL) of a file in LAION's layout."""
    texts = pq.read_table(captions, columns=["TEXT", "URL"])
    images = store.read("images")
    num_rows = min(len(images), len(texts))
    images, texts = images.slice(0, num_rows), texts.slice(0, num_rows)
    for name, values in (("caption", texts["TEXT"]), ("url", texts["URL"])):
        images = images.set_column(images.schema.get_field_index(name), name, values.cast(pa.string()))
    with tempfile.TemporaryDirectory(prefix="table-sizes-") as work:
        copy = Store(work)
        part = copy.write_part("images", Part(index=0, fingerprint="0" * 64, num_rows=num_rows), images)
        return num_rows, copy.fs.size(copy.path("images", part.name))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a finished scan")
    parser.add_argument("--captions", type=Path, help="Parquet with columns TEXT and URL")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "table-sizes.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
