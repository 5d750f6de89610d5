"""Rewritten sets: webdataset tars and Parquet with the images, a file a run of samples, both in one pass over the source.

A file depends on the samples in it alone, so a stopped export goes on behind the files that it finished.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol

from scanner.core.progress import Bar
from scanner.export.deliveries import Deliveries
from scanner.export.samples import ExportedSample, SampleReader, SampleRow
from scanner.export.tar_writer import TarWriter

if TYPE_CHECKING:
    import pyarrow as pa

Form = Literal["tars", "hf"]

ROW_GROUP_ROWS = 100
"""As Hugging Face writes images, so that one can be looked at without reading many."""
ROW_GROUP_BYTES = 32 * 2**20
HF_TYPES = {
    "image": "Image", "caption": "string", "key": "string", "url": "string", "width": "int64", "height": "int64",
    "json": "string", "sample_weight": "float64", "dataset": "string", "image_id": "int64",
}  # fmt: skip
"""Columns of the Parquet files and what Hugging Face calls their types."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardPlan:
    """``num_samples`` cut into files whose sizes differ by one at most; the larger ones come first."""

    num_samples: int
    shard_samples: int

    @property
    def num_shards(self) -> int:
        return -(-self.num_samples // self.shard_samples)

    def size(self, shard: int) -> int:
        """Samples of one file."""
        least, more = divmod(self.num_samples, self.num_shards)
        return least + (shard < more)

    def path(self, form: Form, shard: int) -> str:
        """Of a file, relative to the export."""
        if form == "tars":
            return f"tars/{shard:05d}.tar"
        return f"hf/train-{shard:05d}-of-{self.num_shards:05d}.parquet"


class _Writer(Protocol):
    num_left_out: int
    """Files of samples that are not in it."""

    def add(self, sample: ExportedSample) -> None: ...

    def finish(self) -> None: ...


def write_shards(
    plan: ShardPlan,
    forms: Sequence[Form],
    rows: Iterator[SampleRow],
    reader: SampleReader,
    deliveries: Deliveries,
    bar: Bar,
) -> None:
    """Writes the files of ``forms`` that are not finished. ``rows`` are all samples, in order.

    Raises:
        SourceError: a sample is gone or is not what the scan saw. Files that were finished stay.
    """
    pending = {
        shard: [form for form in forms if deliveries.find(plan.path(form, shard)) is None] for shard in range(plan.num_shards)
    }

    def wanted() -> Iterator[SampleRow]:
        for shard, missing in pending.items():
            size = plan.size(shard)
            if missing:
                yield from islice(rows, size)
            else:
                bar.advance(sum(1 for _ in islice(rows, size)))

    samples = reader.read(wanted())
    for shard, missing in pending.items():
        if missing:
            _write_shard(plan, shard, missing, islice(samples, plan.size(shard)), deliveries, bar)


def _write_shard(
    plan: ShardPlan, shard: int, forms: Sequence[Form], samples: Iterable[ExportedSample], deliveries: Deliveries, bar: Bar
) -> None:
    with ExitStack() as stack:
        facts: list[dict[str, int]] = [{} for _ in forms]
        files = [
            stack.enter_context(deliveries.make(plan.path(form, shard), fact)) for form, fact in zip(forms, facts, strict=True)
        ]
        writers: list[_Writer] = [
            _TarShard(file) if form == "tars" else _HfShard(file) for form, file in zip(forms, files, strict=True)
        ]
        num_samples = 0
        for sample in samples:
            for writer in writers:
                writer.add(sample)
            num_samples += 1
            bar.advance()
        assert num_samples == plan.size(shard), "the reader gives every row or raises"
        for writer, fact in zip(writers, facts, strict=True):
            writer.finish()
            fact |= {"num_samples": num_samples, "num_members_left_out": writer.num_left_out}


class _TarShard:
    """Every member of every sample, byte for byte."""

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = TarWriter(file)
        self.num_left_out = 0

    def add(self, sample: ExportedSample) -> None:
        self.num_left_out += len(sample.left_out)
        self._tar.add(sample.key, sample.members)

    def finish(self) -> None:
        self._tar.finish()


class _HfShard:
    """Images as a struct of bytes and path, as ``datasets`` writes and decodes them; of other members the ``.json`` alone."""

    def __init__(self, file: IO[bytes]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._schema = hf_schema()
        # An image does not compress, and a dictionary of them only costs memory.
        compression = {name: "NONE" if name == "image.bytes" else "ZSTD" for name in ("image.bytes", "image.path", *HF_TYPES)}
        self._writer = pq.ParquetWriter(
            pa.PythonFile(file, mode="w"), self._schema, compression=compression, use_dictionary=["dataset"]
        )
        self._rows: list[dict[str, Any]] = []
        self._num_bytes = 0
        self.num_left_out = 0

    def add(self, sample: ExportedSample) -> None:
        row = sample.row
        others = [m for m in sample.members if m is not sample.image and m.suffix.lower() not in ("txt", "json")]
        self.num_left_out += len(sample.left_out) + len(others)
        record = next((member.data for member in sample.members if member.suffix.lower() == "json"), None)
        self._rows.append(
            {
                "image": {"bytes": sample.image.data, "path": f"{row.key}.{sample.image.suffix}"},
                "caption": row.caption, "key": row.key, "url": row.url, "width": row.width, "height": row.height,
                "json": record.decode("utf-8", "replace") if record is not None else None,
                "sample_weight": row.sample_weight, "dataset": row.dataset, "image_id": row.image_id,
            }
        )  # fmt: skip
        self._num_bytes += len(sample.image.data)
        if len(self._rows) == ROW_GROUP_ROWS or self._num_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def finish(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._num_bytes = [], 0


def hf_schema() -> pa.Schema:
    """Columns with the features that ``datasets`` looks for in the metadata."""
    import pyarrow as pa

    image = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    types = {"Image": image, "string": pa.string(), "int64": pa.int64(), "float64": pa.float64()}
    features = {
        name: {"_type": "Image"} if type_ == "Image" else {"dtype": type_, "_type": "Value"} for name, type_ in HF_TYPES.items()
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([pa.field(name, types[type_]) for name, type_ in HF_TYPES.items()], metadata=metadata)
