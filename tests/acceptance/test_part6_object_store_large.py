"""Part 6, object stores: whole real sets of part 1, and embeddings in cells as in part 3, beside their local copies."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from object_store import BUCKET
from store_runs import call, tables_of

from scanner.lab.vectors import PlantedVectors

SEED = 607


@pytest.mark.parametrize(("name", "num_images"), [("openclipart-captioned", 4896), ("noto-emoji-captioned", 3543)])
def test_a_whole_real_set_gives_the_tables_of_its_local_copy(name, num_images, shared, s3, tmp_path):
    """The two sets of part 1: past what one part or one request holds."""
    found = sorted((shared / "data" / name).glob("*.tar"))
    for path in found:
        s3.fs().put_file(str(path), f"{BUCKET}/real/{name}/{path.name}")
    local = tmp_path / "set" / name
    local.mkdir(parents=True)
    for path in found:
        (local / path.name).symlink_to(path)
    run = f"{s3.url}/real-runs/{name}"
    call("scan", local, "--out", tmp_path / "run", "--encoder", "small", "-q")
    call("scan", f"{s3.url}/real/{name}", "--out", run, "--encoder", "small", "-q")
    expected, got = tables_of(tmp_path / "run"), tables_of(run)
    assert len(expected["images"]) == num_images
    assert len(expected["groups"]) > 100
    assert got.keys() == expected.keys()
    for table, rows in expected.items():
        assert got[table] == rows, table


def test_two_hundred_thousand_embeddings_in_the_store_are_joined_as_beside_it(s3, tmp_path):
    """Part 3 without images: cells that lie in local scratch, under a limit of memory, their pairs and audit in the store."""
    rows = PlantedVectors(n=200_000, background="clip", largest=1_000, seed=SEED, cosines=(0.9, 0.999)).rows()
    folder = tmp_path / "set"
    folder.mkdir()
    for number, part in enumerate(np.array_split(rows, 4)):
        lists = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel().astype(np.float32)), rows.shape[1])
        keys = [f"{number}-{i}" for i in range(len(part))]
        pq.write_table(pa.table({"key": keys, "embedding": lists}), folder / f"{number}.parquet")
        s3.fs().put_file(str(folder / f"{number}.parquet"), f"{BUCKET}/vectors/set/{number}.parquet")
    options = ("--format", "embeddings-parquet", "--search", "cells", "--recall", 0.999, "--memory", "2GB", "--threshold", 0.95)
    options += ("--scratch", tmp_path, "-q")
    call("scan", folder, "--out", tmp_path / "run", *options)
    call("scan", f"s3://{BUCKET}/vectors/set", "--out", f"{s3.url}/vectors-run", *options)
    expected, got = tables_of(tmp_path / "run"), tables_of(f"{s3.url}/vectors-run")
    assert len(expected["neighbors"]) == len(rows)
    assert len(expected["groups"]) > 10_000
    for table, found in expected.items():
        assert got[table] == found, table
