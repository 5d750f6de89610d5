"""Which column of a Parquet file is the image, the caption, the key; and their values as safe Python objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from scanner.core.errors import SourceError, nearest
from scanner.sources.fields import clean_key

if TYPE_CHECKING:
    import pyarrow as pa

Payload = Literal["image", "embedding", "none"]

IMAGE_COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes", "img")
EMBEDDING_COLUMNS = ("embedding", "embeddings", "image_embedding", "img_emb")
CAPTION_COLUMNS = ("caption", "text", "TEXT", "alt_text", "txt", "prompt", "captions", "description", "alt", "title")
KEY_COLUMNS = ("key", "uid", "__key__", "id", "SAMPLE_ID", "image_path", "file_name")
URL_COLUMNS = ("url", "URL", "image_url")


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Names of the columns that matter, None for those that a file lacks. ``payload`` is the image or the embedding."""

    payload: str | None
    caption: str | None
    key: str | None
    url: str | None
    sha256: str | None
    width: str | None
    height: str | None
    status: str | None
    error_message: str | None

    def names(self, *, with_payload: bool = True) -> list[str]:
        """The columns to read, each once."""
        wanted = (self.caption, self.key, self.url, self.sha256, self.width, self.height, self.status, self.error_message)
        names = dict.fromkeys(name for name in wanted if name is not None)
        return [*names, *([self.payload] if with_payload and self.payload else [])]


def find_columns(
    schema: pa.Schema, *, payload: Payload, payload_column: str | None = None, caption_column: str | None = None, where: str
) -> Columns:
    """The columns by their usual names, or by the names given.

    Args:
        where: the file, for the error's text.

    Raises:
        SourceError: a named column is absent or of the wrong type, or there is no column with images (or embeddings).
    """
    names = [str(name) for name in schema.names]
    for column in (payload_column, caption_column):
        if column is not None and column not in names:
            raise SourceError(
                f"{where} has no column {column!r}; it has {list_columns(schema)}.", next_step=nearest(column, names)
            )
    found = None
    if payload != "none":
        found = payload_column or find_payload(schema, payload)
        fits = is_image_type if payload == "image" else is_embedding_type
        if found is None:
            raise SourceError(
                f"{where} has no column with {payload}s; it has {list_columns(schema)}.",
                next_step=f"Name the column with --image-column; {_EXPECTED[payload]}.",
            )
        if not fits(schema.field(found).type):
            raise SourceError(
                f"Column {found!r} of {where} is of type {schema.field(found).type}, which holds no {payload}s.",
                next_step=f"Name another of {list_columns(schema)}; {_EXPECTED[payload]}.",
            )

    def first(candidates: tuple[str, ...], fits: Callable[[pa.DataType], bool] = lambda _: True) -> str | None:
        return next((name for name in candidates if name in names and name != found and fits(schema.field(name).type)), None)

    return Columns(
        payload=found,
        caption=caption_column or first(CAPTION_COLUMNS, is_text_type),
        key=first(KEY_COLUMNS, lambda type_: not is_image_type(type_)),
        url=first(URL_COLUMNS, is_text_type),
        sha256=first(("sha256",)),
        width=first(("width", "WIDTH")),
        height=first(("height", "HEIGHT")),
        status=first(("status",), is_text_type),
        error_message=first(("error_message",), is_text_type),
    )


_EXPECTED = {
    "image": "images are bytes, or a struct of bytes and path. A list of URLs is scanned with --format urls",
    "embedding": "embeddings are lists of floats",
}


def find_payload(schema: pa.Schema, payload: Payload) -> str | None:
    """The column with images or embeddings: by its usual name, else the only one of a fitting type."""
    candidates, fits = (IMAGE_COLUMNS, is_image_type) if payload == "image" else (EMBEDDING_COLUMNS, is_embedding_type)
    for name in candidates:
        if name in schema.names and fits(schema.field(name).type):
            return name
    if payload == "embedding":  # a list of floats may be anything, boxes or scores: its name must say what it is
        return None
    structs = [str(field.name) for field in schema if is_image_type(field.type) and not is_binary_type(field.type)]
    return structs[0] if len(structs) == 1 else None


def is_binary_type(type_: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_))


def is_image_type(type_: pa.DataType) -> bool:
    """Bytes, or Hugging Face's struct of ``bytes`` and ``path``."""
    import pyarrow as pa

    if pa.types.is_struct(type_):
        names = {type_.field(i).name for i in range(type_.num_fields)}
        return bool(names & {"bytes", "path"}) and names <= {"bytes", "path"}
    return is_binary_type(type_)


def is_embedding_type(type_: pa.DataType) -> bool:
    import pyarrow as pa

    is_list = pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)
    return bool(is_list and pa.types.is_floating(type_.value_type))


def is_text_type(type_: pa.DataType) -> bool:
    """Strings, dictionary-encoded strings, bytes, or lists of them (several captions of one image)."""
    import pyarrow as pa

    if pa.types.is_dictionary(type_) or pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return is_text_type(type_.value_type)
    is_string = pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    return bool(is_string) or is_binary_type(type_)


def text_values(array: pa.Array) -> list[object]:
    """Python values with strings as raw bytes, since strings of foreign files need not be UTF-8; of a list the first."""
    import pyarrow as pa

    type_ = array.type
    if pa.types.is_dictionary(type_):
        return text_values(array.dictionary_decode())
    if pa.types.is_string(type_) or pa.types.is_string_view(type_):
        return list(array.cast(pa.binary()).to_pylist())
    if pa.types.is_large_string(type_):
        return list(array.cast(pa.large_binary()).to_pylist())
    if (pa.types.is_list(type_) or pa.types.is_large_list(type_)) and is_text_type(type_):
        to_bytes = pa.list_ if pa.types.is_list(type_) else pa.large_list
        lists = array.cast(to_bytes(pa.large_binary())).to_pylist()
        return [values[0] if values else None for values in lists]
    return list(array.to_pylist())


def list_columns(schema: pa.Schema) -> str:
    shown = [f"{clean_key(str(field.name))!r} ({field.type})" for field in list(schema)[:12]]
    return ", ".join(shown) + (", …" if len(schema.names) > 12 else "")
