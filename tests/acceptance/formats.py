"""The same captioned images in five forms: folder, tars, Hugging Face Parquet, plain Parquet, and img2dataset's output."""

from __future__ import annotations

import functools
import http.server
import io
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from scanner.sources.open import open_source

IMG2DATASET = "img2dataset==1.47.0"
_CONTENT_TYPES = {"jpg": "image/jpeg", "png": "image/png"}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One captioned image file; ``name`` is unique and has no extension."""

    name: str
    extension: str
    data: bytes
    caption: str | None

    @property
    def file_name(self) -> str:
        return f"{self.name}.{self.extension}"


def first_pictures(source: Path, count: int = 500) -> list[Picture]:
    """The first ``count`` images of a source, in its order."""
    opened = open_source(str(source))
    samples = (sample for shard in opened.shards() for sample in opened.samples(shard) if sample.data is not None)
    pictures = []
    for i, sample in enumerate(islice(samples, count)):
        extension = "png" if sample.data.startswith(b"\x89PNG") else "jpg"
        pictures.append(Picture(name=f"{i:06d}", extension=extension, data=sample.data, caption=sample.caption))
    return pictures


def make_folder(pictures: Sequence[Picture], folder: Path) -> Path:
    """Files in two subfolders with sidecar captions."""
    for i, picture in enumerate(pictures):
        path = folder / f"half-{i % 2}" / picture.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture.data)
        if picture.caption is not None:
            path.with_suffix(".txt").write_text(picture.caption, encoding="utf-8", newline="")
    return folder


def make_tars(pictures: Sequence[Picture], folder: Path, *, per_tar: int = 200) -> Path:
    """webdataset shards of ``per_tar`` samples."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard, start in enumerate(range(0, len(pictures), per_tar)):
        with tarfile.open(folder / f"{shard:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for picture in pictures[start : start + per_tar]:
                _add(tar, picture.file_name, picture.data)
                if picture.caption is not None:
                    _add(tar, f"{picture.name}.txt", picture.caption.encode())
    return folder


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def make_hf_parquet(pictures: Sequence[Picture], folder: Path) -> Path:
    """As ``datasets`` writes it: a struct of bytes and path, and the feature types in the schema's metadata."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    rows = {
        "image": [{"bytes": picture.data, "path": picture.file_name} for picture in pictures],
        "caption": [picture.caption for picture in pictures],
    }
    folder.mkdir(parents=True, exist_ok=True)
    dataset = datasets.Dataset.from_dict(rows, features=features)
    for shard in range(2):
        dataset.shard(2, shard, contiguous=True).to_parquet(str(folder / f"train-{shard:05d}-of-00002.parquet"))
    return folder


def make_plain_parquet(pictures: Sequence[Picture], folder: Path) -> Path:
    """One file with columns ``uid``, ``jpg`` (bytes) and ``text``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "uid": [picture.name for picture in pictures],
            "jpg": pa.array([picture.data for picture in pictures], pa.binary()),
            "text": [picture.caption for picture in pictures],
        }
    )
    pq.write_table(table, folder / "images.parquet", row_group_size=128)
    return folder


def make_img2dataset(
    pictures: Sequence[Picture],
    folder: Path,
    *,
    layout: Literal["webdataset", "parquet", "files"] = "webdataset",
    is_reencoded: bool = False,
    num_dead_links: int = 0,
) -> Path:
    """Runs img2dataset on a list of URLs that a server on this machine answers.

    Args:
        is_reencoded: img2dataset's defaults (256 × 256, border, JPEG 95) and not the files byte for byte.
        num_dead_links: URLs more, whose answer is 404.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    command = img2dataset_command()
    folder.parent.mkdir(parents=True, exist_ok=True)
    url_list = folder.parent / f"{folder.name}-urls.parquet"
    with serve(pictures) as address:
        names = [picture.file_name for picture in pictures] + [f"absent-{i}.jpg" for i in range(num_dead_links)]
        captions = [picture.caption for picture in pictures] + [f"absent {i}" for i in range(num_dead_links)]
        pq.write_table(pa.table({"url": [f"{address}/{quote(name)}" for name in names], "caption": captions}), url_list)
        arguments = [
            *(f"--url_list={url_list}", "--input_format=parquet", "--url_col=url", "--caption_col=caption"),
            *(f"--output_folder={folder}", f"--output_format={layout}", "--processes_count=1", "--thread_count=8"),
            *("--number_sample_per_shard=200", "--enable_wandb=False", "--compute_hash=sha256", "--retries=2"),
            *(() if is_reencoded else ("--disable_all_reencoding=True",)),
        ]
        environment = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled", "no_proxy": "127.0.0.1"}
        done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode or not list(folder.glob("*_stats.json")):
        raise RuntimeError(f"img2dataset failed with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    url_list.unlink()
    return folder


@contextmanager
def serve(pictures: Sequence[Picture]) -> Iterator[str]:
    """``http://127.0.0.1:<port>``, answering with the pictures by file name."""
    handler = functools.partial(_Handler, {quote(f"/{picture.file_name}"): picture for picture in pictures})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, pictures: dict[str, Picture], *args: object) -> None:
        self.pictures = pictures
        super().__init__(*args)

    def do_GET(self) -> None:
        picture = self.pictures.get(self.path)
        if picture is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", _CONTENT_TYPES[picture.extension])
        self.send_header("Content-Length", str(len(picture.data)))
        self.end_headers()
        self.wfile.write(picture.data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@functools.cache
def img2dataset_command() -> tuple[str, ...]:
    """How to call img2dataset, from an environment of its own in the cache folder, made on first use.

    img2dataset wants older packages than ours and imports ``imghdr``, which Python 3.13 removed; 3.11 needs no pins beyond
    its own.

    Raises:
        RuntimeError: there is no ``uv``, or the packages cannot be had.
    """
    cache = Path(os.environ.get("SCANNER_CACHE", "~/.cache/trainscan")).expanduser()
    environment = cache / ".venv-img2dataset"
    program = environment / "bin" / "img2dataset"
    if not program.exists():
        uv = shutil.which("uv") or _beside_python("uv")
        if uv is None:
            raise RuntimeError("img2dataset's environment is made with uv, which is not installed: pip install uv")
        cache.mkdir(parents=True, exist_ok=True)
        _run([uv, "venv", "--clear", "--python", "3.11", str(environment)])
        _run([uv, "pip", "install", "--python", str(environment / "bin" / "python"), IMG2DATASET])
    return (str(program),)


def _beside_python(name: str) -> str | None:
    import sys

    path = Path(sys.executable).parent / name
    return str(path) if path.exists() else None


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
