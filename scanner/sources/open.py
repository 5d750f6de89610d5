"""Opens a source by its format, named or recognised from what lies there."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from itertools import islice

from scanner.core.errors import BrokenShardError, SourceError, nearest
from scanner.sources.clip_retrieval import ClipRetrievalSource
from scanner.sources.columns import find_columns, find_payload, list_columns
from scanner.sources.embeddings_parquet import EmbeddingsParquetSource
from scanner.sources.file_source import FileSource
from scanner.sources.folder import FolderSource
from scanner.sources.folder_metadata import is_metadata_name
from scanner.sources.img2dataset import Img2datasetSource
from scanner.sources.names import count_noun, extension, is_hidden, is_image_name, is_tar_name
from scanner.sources.parquet import ParquetSource, is_bookkeeping
from scanner.sources.parquet_files import read_schema
from scanner.sources.places import Place, resolve
from scanner.sources.webdataset import WebdatasetSource

FORMATS: dict[str, type[FileSource]] = {
    source.format: source
    for source in (FolderSource, WebdatasetSource, Img2datasetSource, ParquetSource, ClipRetrievalSource, EmbeddingsParquetSource)
}
"""Every format by its name. A new one is a class in a file of its own, a line here, and a rule in ``detect_format``."""

URL_LIST = "urls"
"""What ``detect_format`` calls Parquet with URLs of images and no images: no source, but what one is downloaded from."""

_MAX_LOOKED_AT = 20_000


def open_source(
    url: str, *, format: str = "auto", caption_column: str | None = None, image_column: str | None = None
) -> FileSource:
    """A source at any fsspec URL.

    Args:
        url: a file, folder, glob, or names with ``{00000..00041}``.
        format: a name of ``FORMATS``, or ``auto``.
        caption_column: column or JSON field with the caption; None finds it.
        image_column: column with the image or the embedding; None finds it.

    Raises:
        SourceError: an unknown format, nothing there, or nothing that can be recognised.
    """
    if format == "auto":
        format = detect_format(url)
    if format == URL_LIST:
        raise SourceError(
            f"{url!r} is a list of URLs.", next_step="`scanner scan` downloads it; here give the folder of images it made."
        )
    if format not in FORMATS:
        raise SourceError(f"{format!r} is no format of a source.", next_step=nearest(format, [*FORMATS, "auto"]))
    return FORMATS[format](url, caption_column=caption_column, image_column=image_column)


def detect_format(url: str) -> str:
    """The format of what lies at ``url``, from names and, for Parquet, the columns of one file.

    In a folder, the first that fits of: clip-retrieval, img2dataset, webdataset, parquet, embeddings-parquet, urls, folder.

    Raises:
        SourceError: nothing is there, or nothing of a known format; says what was found.
    """
    place = resolve(url)
    names = _names(place)
    if any(re.fullmatch(r"img_emb_\d+\.npy", posixpath.basename(name)) for name in names):
        return ClipRetrievalSource.format
    if place.names is None and place.pattern is None and _is_img2dataset(names):
        return Img2datasetSource.format
    if any(is_tar_name(name) for name in names):
        return WebdatasetSource.format
    parquets = [name for name in names if extension(name) == "parquet" and not is_metadata_name(name)]
    reason = ""
    if parquets:
        found, reason = _parquet_format(place, parquets)
        # A list beside images may be where they came from.
        if found and not (found == URL_LIST and any(is_image_name(name) for name in names)):
            return found
    if any(is_image_name(name) for name in names):
        if place.names is not None:
            raise SourceError(f"{url!r} is an image, not a set.", next_step="Give the folder that holds it.")
        return FolderSource.format
    if reason:
        step = "Name the column with --image-column, and --format parquet. A list of URLs has a column called url."
        raise SourceError(reason, next_step=step)
    raise SourceError(
        f"{url!r} is of no known format: {_inventory(names)}, no image, tar or Parquet file.",
        next_step=f"Give a folder of images, tars, Parquet files or embeddings, or name the format: {', '.join(FORMATS)}.",
    )


def _names(place: Place) -> list[str]:
    """Names to judge by: all that a URL names, or the first 20,000 of a folder."""
    if place.names is not None:
        return list(place.names)
    if place.pattern is not None:
        return [entry.name for entry in place.entries() if entry.kind != "directory"]
    walk = place.fs.walk(place.root)
    names = (f"{folder}/{name}".removeprefix(place.root).lstrip("/") for folder, _, files in walk for name in files)
    return list(islice((name for name in names if not is_hidden(name) and not is_bookkeeping(name)), _MAX_LOOKED_AT))


def _is_img2dataset(names: list[str]) -> bool:
    """Numbered Parquet files, each with a tar, a folder or a ``_stats.json`` of the same number."""
    known = set(names)
    folders = {posixpath.dirname(name) for name in names}
    for name in names:
        stem, suffix = posixpath.splitext(name)
        is_numbered = suffix == ".parquet" and posixpath.basename(stem).isdigit()
        if is_numbered and (f"{stem}.tar" in known or f"{stem}_stats.json" in known or stem in folders):
            return True
    return False


def _parquet_format(place: Place, names: list[str]) -> tuple[str | None, str]:
    """The format of the first file that opens, or why it has none."""
    problem = ""
    for name in names[:100]:
        try:
            schema = read_schema(place, name)
        except BrokenShardError as error:
            problem = problem or error.message
            continue
        if find_payload(schema, "image"):
            return ParquetSource.format, ""
        if find_payload(schema, "embedding"):
            return EmbeddingsParquetSource.format, ""
        if find_columns(schema, payload="none", where=name).url is not None:
            return URL_LIST, ""
        return None, f"{name} has neither images nor embeddings; its columns are {list_columns(schema)}."
    return None, problem


def _inventory(names: list[str]) -> str:
    """``3 .csv files, 1 .md file``."""
    kinds = Counter(extension(name) for name in names).most_common(5)
    if not kinds:
        return "it is empty"
    return ", ".join(
        count_noun(count, f".{kind} file") if kind else count_noun(count, "file without extension", "files without extension")
        for kind, count in kinds
    )
