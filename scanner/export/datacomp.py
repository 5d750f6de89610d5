"""DataComp's keep-list: uids of 128 bits as pairs of u8, sorted (github.com/mlfoundations/datacomp, resharder.py)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import ConfigError
from scanner.core.progress import Bar
from scanner.core.store import Store
from scanner.export.deliveries import Deliveries
from scanner.export.samples import ExportedSample, SampleReader, SampleRow, query_rows, sample_rows
from scanner.sources.fields import read_record

DATACOMP_FILE = "datacomp/keep.npy"
UID = np.dtype("u8,u8")
_HEX = re.compile(r"[0-9a-fA-F]{32}")


def write_datacomp(run: Store, out: Store, reader: SampleReader, deliveries: Deliveries, bar: Bar) -> None:
    """uids are the keys where each is one; else they are read from the ``uid`` of every sample's ``.json``.

    16 bytes an image in memory, and as much again while they are sorted: what DataComp's own reader takes.

    Raises:
        ConfigError: an image that stays has no uid, or shares it with one that goes.
        SourceError: the source has changed.
    """
    if deliveries.find(DATACOMP_FILE) is not None:
        return
    if all(_HEX.fullmatch(row.source_key) for row in sample_rows(run, out)):
        _check_keys(run, out)
        uids = as_uids(row.source_key for row in sample_rows(run, out))
    else:
        uids = as_uids(_uids_of_records(reader, sample_rows(run, out), bar))
    distinct = np.unique(uids)
    facts = {"num_rows": len(distinct), "num_images": len(uids)}
    with deliveries.make(DATACOMP_FILE, facts) as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(distinct))
        file.write(distinct.tobytes())


def as_uids(uids: Iterable[str]) -> NDArray[np.void]:
    """(n,) of dtype ``u8,u8`` from texts of 32 hexadecimal digits: the upper 64 bits, the lower 64 bits."""
    return np.fromiter(((int(uid[:16], 16), int(uid[16:], 16)) for uid in uids), UID)


def _check_keys(run: Store, out: Store) -> None:
    for batch in query_rows(run, out, "export/removed_ids", {"name": "key"}):
        shared = next((row["id"] for row in batch.to_pylist() if row["is_shared"]), None)
        if shared is not None:
            raise ConfigError(
                f"An image that stays and one that goes have the uid {shared}: a list of uids cannot tell them apart.",
                next_step="Export tars or ids, or give the images uids of their own.",
            )


def _uids_of_records(reader: SampleReader, rows: Iterator[SampleRow], bar: Bar) -> Iterator[str]:
    for sample in reader.read(rows):
        yield _uid(sample)
        bar.advance()


def _uid(sample: ExportedSample) -> str:
    record = next((member.data for member in sample.members if member.suffix.lower() == "json"), b"")
    uid = (read_record(record) or {}).get("uid")
    if isinstance(uid, str) and _HEX.fullmatch(uid):
        return uid
    row = sample.row
    raise ConfigError(
        f"{row.source_key!r} of {row.dataset}/{row.shard} has no uid: neither its key nor `uid` of its .json is one"
        " of 32 hexadecimal digits.",
        next_step="DataComp's sets have one; for others export ids, tars or hf.",
    )
