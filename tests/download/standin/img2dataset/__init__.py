"""Stands in for img2dataset, whose packages do not lie beside ours: the same arguments, files and columns, without resizing.

Rows come in another order than the list's, as there; a row whose caption is ``lose me`` goes missing, as rows do there that a
writer stumbles over.
"""

import hashlib
import io
import json
import math
import tarfile
import urllib.request
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def download(
    url_list,
    output_folder,
    number_sample_per_shard,
    oom_shard_count,
    caption_col,
    save_additional_columns,
    timeout,
    **other,
):
    assert other["enable_wandb"] is False
    assert other["incremental_mode"] == "incremental"
    images = Path(output_folder)
    done = {int(path.name.split("_")[0]) for path in images.glob("*.json")}
    first = 0
    for path in sorted(Path(url_list).glob("*.parquet")):
        table = pq.read_table(path)
        for start in range(0, table.num_rows, number_sample_per_shard):
            if first not in done:
                shard(
                    images, first, table.slice(start, number_sample_per_shard), number_sample_per_shard, oom_shard_count, timeout
                )
            first += 1


def shard(images, number, table, rows, digits, timeout):
    name = f"{number:0{digits}d}"
    width = digits + math.ceil(math.log10(rows))
    listed = []
    with tarfile.open(images / f"{name}.tar", "w") as tar:
        for index, row in reversed(list(enumerate(table.to_pylist()))):
            key = f"{number * 10 ** math.ceil(math.log10(rows)) + index:0{width}d}"
            row |= {"key": key, "status": "success", "error_message": None, "width": None, "height": None, "sha256": None}
            if row["caption"] == "lose me":
                continue
            try:
                with urllib.request.urlopen(row["url"], timeout=timeout) as answer:
                    data = answer.read()
            except Exception as error:
                row |= {"status": "failed_to_download", "error_message": str(error)}
                data = None
            if data is not None:
                try:
                    with Image.open(io.BytesIO(data)) as image:
                        row |= {"width": image.width, "height": image.height, "sha256": hashlib.sha256(data).hexdigest()}
                except Exception:
                    row |= {"status": "failed_to_resize", "error_message": "image decoding error"}
                else:
                    members = {"jpg": data, "txt": (row["caption"] or "").encode(), "json": json.dumps(row).encode()}
                    for suffix, content in members.items():
                        info = tarfile.TarInfo(f"{key}.{suffix}")
                        info.size = len(content)
                        tar.addfile(info, io.BytesIO(content))
            listed.append(row)
    extra = [("key", pa.string()), ("status", pa.string()), ("error_message", pa.string()), ("width", pa.int32())]
    schema = pa.schema([*table.schema, *(pa.field(*pair) for pair in extra), ("height", pa.int32()), ("sha256", pa.string())])
    pq.write_table(pa.Table.from_pylist(listed, schema=schema), images / f"{name}.parquet")
    (images / f"{name}_stats.json").write_text(json.dumps({"count": len(listed)}))
