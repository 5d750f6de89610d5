"""Lists for other tools: uids for DataComp, ids for NeMo Curator."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
from export.making import Group, make_run, picture, run_export
from pictures import sample, write_tar


def test_datacomp_uids_of_records_are_sorted_pairs(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    uids = ["f" * 32, "0" * 15 + "1" + "0" * 16, "0" * 31 + "2", "A" * 32]
    write_tar(folder / "0.tar", [m for i, uid in enumerate(uids) for m in sample(f"{i:03d}", picture(i), "c", uid=uid)])
    made = make_run(tmp_path / "run", {"set": str(folder)}, [Group(members=["000", "003"])])
    run_export(made, tmp_path / "out", "datacomp")
    found = np.load(tmp_path / "out" / "datacomp" / "keep.npy", allow_pickle=False)
    assert found.dtype == np.dtype("u8,u8")
    assert found.tolist() == [(0, 2), (1, 0), (2**64 - 1, 2**64 - 1)]


def test_datacomp_uids_of_keys_need_no_source(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    write_tar(folder / "0.tar", [m for i in range(4) for m in sample(f"{i:032x}", picture(i), "c")])
    made = make_run(tmp_path / "run", {"set": str(folder)}, [Group(members=[f"{1:032x}", f"{3:032x}"])])
    (folder / "0.tar").unlink()
    run_export(made, tmp_path / "out", "datacomp")
    assert np.load(tmp_path / "out" / "datacomp" / "keep.npy").tolist() == [(0, 0), (0, 1), (0, 2)]


def test_curator_ids(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for s in range(2):
        members = [("9.txt", b"no image")] if s else []
        members += [m for i in range(30) for m in sample(f"{s}{i:02d}", picture(i), "c", "jpg")]
        write_tar(folder / f"{s:05d}.tar", members)
    made = make_run(tmp_path / "run", {"set": str(folder)}, [Group(members=[f"{s}{i:02d}" for i in range(25)]) for s in range(2)])
    run_export(made, tmp_path / "keys", "curator")
    file = pq.ParquetFile(tmp_path / "keys" / "curator" / "duplicates" / "part-00000.parquet")
    assert file.schema_arrow.names == ["id"]
    assert file.num_row_groups == 10
    ids = file.read()["id"].to_pylist()
    assert ids == sorted(ids)
    assert set(ids) == {f"{s}{i:02d}" for s in range(2) for i in range(1, 25)}
    run_export(made, tmp_path / "rows", "curator", export__curator_id="shard_row")
    ids = pq.read_table(tmp_path / "rows" / "curator" / "duplicates" / "part-00000.parquet")["id"].to_pylist()
    assert set(ids) == {f"{s:05d}_{i:06d}" for s in range(2) for i in range(1, 25)}, "a sample without an image is not counted"
