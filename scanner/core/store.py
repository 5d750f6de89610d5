"""A run on any fsspec URL: immutable parts, one commit file a table.

``<run>/<table>/part-00000-<fingerprint8>.parquet`` holds rows and is never changed; ``<run>/<table>/_table.json`` lists the
parts that count and is replaced last, so a reader sees the old table or the new one and never a mixture. A part is complete
because it exists: on a local disk it is written beside its place, synced and renamed; on an object store it is one PUT.
Resume follows: a part whose name (index and fingerprint of all it depends on) is there need not be computed again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import yaml
from fsspec.implementations.local import LocalFileSystem

from scanner.core.errors import ObjectError, StoreError, UnreachableError
from scanner.core.remote import driver_hint, open_filesystem
from scanner.core.schemas import TABLES, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

COMMIT_FILE = "_table.json"
RUN_FILE = "run.yaml"
EXPORT_FILE = "export.yaml"
TEMPORARY = ".tmp-"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One immutable file of a table. ``inputs`` maps what it was made from to its fingerprint (shards, for images)."""

    index: int
    fingerprint: str
    num_rows: int
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"part-{self.index:05d}-{self.fingerprint[:8]}.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What ``_table.json`` says: the parts of a table, and facts about it as a whole."""

    table: str
    version: int
    parts: tuple[Part, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        return sum(part.num_rows for part in self.parts)

    @property
    def fingerprints(self) -> list[str]:
        return [part.fingerprint for part in self.parts]


class Store:
    """Reads and writes the tables of one run.

    Args:
        url: folder of the run, local or any fsspec URL.
        scratch: local folder where large files for a distant store wait until they are whole; that of the system by default.

    Whatever reads or writes raises UnreachableError where the store does not answer, and ObjectError where it refuses.

    Raises:
        StoreError: no filesystem answers to the url's protocol.
        ConfigError: the url holds credentials.
    """

    def __init__(self, url: str, *, scratch: str = "") -> None:
        try:
            self.fs, self.root = open_filesystem(url)
        except (ImportError, ValueError) as error:
            raise StoreError(f"Cannot open {url!r}: {error}.", next_step=driver_hint(url)) from error
        self.url, self._scratch = url, scratch
        self.root = self.root.rstrip("/")
        self.is_local = isinstance(self.fs, LocalFileSystem)

    @classmethod
    def open(cls, url: str) -> Store:
        """An existing run, or an export of one, which has no table but ``keep``. Raises StoreError if neither is at ``url``."""
        store = cls(url)
        if not any(store.fs.exists(store.path(name)) for name in (RUN_FILE, EXPORT_FILE)):
            raise StoreError(
                f"{url!r} is not a run: it has no {RUN_FILE}.", next_step="Make one with `scanner scan SOURCE --out RUN`."
            )
        return store

    def origin(self) -> Store | None:
        """The run that this export was made of, where that is at hand; None for a run."""
        text = self.get(EXPORT_FILE)
        try:
            run = Store(str(yaml.safe_load(text)["run"]["url"])) if text is not None else None
            return run if run is not None and run.fs.exists(run.path(RUN_FILE)) else None
        except (OSError, StoreError, yaml.YAMLError, KeyError, TypeError):
            return None

    def path(self, *names: str) -> str:
        return "/".join((self.root, *names))

    def put(self, data: bytes, *names: str) -> None:
        """Writes a file whole: readers see the old content or the new, also after a crash."""
        if not self.is_local:
            self.fs.pipe_file(self.path(*names), data)
            return
        with self.writing(*names) as file:
            file.write(data)

    @contextmanager
    def writing(self, *names: str) -> Iterator[IO[bytes]]:
        """A file to be filled, which takes its place whole when the block ends, and not at all if that raises.

        For files that memory does not hold; one for a distant store waits in the scratch folder.
        """
        path = self.path(*names)
        if not self.is_local:
            if self._scratch:
                os.makedirs(self._scratch, exist_ok=True)
            with tempfile.NamedTemporaryFile(prefix="scanner-", dir=self._scratch or None) as waiting:
                yield waiting.file
                waiting.flush()
                self.fs.put_file(waiting.name, path)
            return
        folder, name = os.path.split(path)
        os.makedirs(folder, exist_ok=True)
        temporary = os.path.join(folder, f"{TEMPORARY}{name}-{os.getpid()}")
        try:
            with Path(temporary).open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                Path(temporary).unlink()
            raise
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def get(self, *names: str) -> bytes | None:
        """Content of a file, None where there is none.

        Raises:
            StoreError: the name leads out of the run. Some names come from tables, and a run may come from anywhere.
        """
        if any(piece == ".." for name in names for piece in name.split("/")):
            raise StoreError(
                f"{'/'.join(names)} lies outside of {self.url}.", next_step="The run is damaged, or made to mislead."
            )
        try:
            data: bytes = self.fs.cat_file(self.path(*names))
        except FileNotFoundError:
            return None
        return data

    def write_run(self, config: Mapping[str, Any]) -> None:
        """``run.yaml``: the resolved config, versions and hashes."""
        self.put(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True).encode(), RUN_FILE)

    def read_run(self) -> dict[str, Any]:
        """What ``run.yaml`` holds. Raises StoreError if it is no mapping, or there is none."""
        text = self.get(RUN_FILE)
        if text is None:
            raise StoreError(
                f"{self.url} has no {RUN_FILE}: it is an export, or no run at all.",
                next_step=f"Give the run itself; {EXPORT_FILE} of an export names it.",
            )
        data = yaml.safe_load(text)
        if not isinstance(data, dict):
            raise StoreError(f"{self.url}/{RUN_FILE} is damaged.", next_step="Scan into a fresh folder, or restore the file.")
        return data

    def has_part(self, table: str, part: Part) -> bool:
        # Asked anew: another process may have removed it.
        self.fs.invalidate_cache(self.path(table, part.name))
        exists: bool = self.fs.exists(self.path(table, part.name))
        return exists

    def write_part(self, table: str, part: Part, rows: pa.Table, *, metadata: Mapping[str, str] | None = None) -> Part:
        """Checks ``rows`` against the table's schema and writes them as ``part``; returns the part with its row count.

        Raises:
            KeyError: a column is missing.
            pyarrow.ArrowInvalid: a column is of another type, or null where it may not be.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        dim = rows.schema.field("embedding").type.byte_width // 2 if table == "embeddings" else None
        schema = arrow_schema(table, embedding_dim=dim)
        chosen = rows.select(schema.names)
        for column in schema:
            if not column.nullable and chosen[column.name].null_count:
                raise pa.ArrowInvalid(f"table {table}: column {column.name} holds nulls")
        checked = chosen.cast(schema).replace_schema_metadata(
            {"table": table, "version": str(TABLES[table].version), "fingerprint": part.fingerprint, **(metadata or {})}
        )
        buffer = io.BytesIO()
        # Vectors do not compress, and a dictionary of them only costs memory.
        compression = {name: ("NONE" if name == "embedding" else "ZSTD") for name in schema.names}
        dictionary = [c.name for c in schema if c.type in (pa.string(), pa.bool_())]
        pq.write_table(checked, buffer, compression=compression, use_dictionary=dictionary, row_group_size=65_536)
        self.put(buffer.getvalue(), table, part.name)
        return Part(index=part.index, fingerprint=part.fingerprint, num_rows=checked.num_rows, inputs=part.inputs)

    def part_metadata(self, table: str, part: Part) -> tuple[int, dict[str, str]]:
        """Row count and key–value metadata of a part that exists, from its footer."""
        import pyarrow.parquet as pq

        with self.fs.open(self.path(table, part.name), "rb") as file:
            footer = pq.read_metadata(file)
        metadata = {k.decode(): v.decode() for k, v in (footer.metadata or {}).items() if k != b"ARROW:schema"}
        return footer.num_rows, metadata

    def commit(self, table: str, parts: Iterable[Part], *, metadata: Mapping[str, Any] | None = None) -> Manifest:
        """Makes ``parts`` the content of ``table``; nothing is written if it is already."""
        manifest = Manifest(
            table=table,
            version=TABLES[table].version,
            parts=tuple(sorted(parts, key=lambda part: part.index)),
            metadata=dict(metadata or {}),
        )
        if manifest == self.manifest(table):
            return manifest
        document = {
            "table": table,
            "version": manifest.version,
            "num_rows": manifest.num_rows,
            "metadata": manifest.metadata,
            "parts": [
                {"name": p.name, "index": p.index, "fingerprint": p.fingerprint, "num_rows": p.num_rows, "inputs": dict(p.inputs)}
                for p in manifest.parts
            ],
        }
        self.put(json.dumps(document, indent=1).encode(), table, COMMIT_FILE)
        return manifest

    def folders(self) -> set[str] | None:
        """Names of the folders that the run has, by one listing; None on a local disk, where asking for a file costs nothing."""
        if self.is_local:
            return None
        try:
            found = self.fs.ls(self.root, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return set()
        return {str(path).rstrip("/").rsplit("/", 1)[-1] for path in found}

    def manifest(self, table: str) -> Manifest | None:
        """The committed state of a table, None before its first commit or when an older version of the schema wrote it."""
        data = self.get(table, COMMIT_FILE)
        if data is None:
            return None
        try:
            document = json.loads(data)
            parts = tuple(
                Part(index=p["index"], fingerprint=p["fingerprint"], num_rows=p["num_rows"], inputs=p["inputs"])
                for p in document["parts"]
            )
            manifest = Manifest(table=table, version=document["version"], parts=parts, metadata=document["metadata"])
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self.url}/{table}/{COMMIT_FILE} is damaged: {error!r}.",
                next_step="Delete that file and run the same scan again; finished parts are reused.",
            ) from error
        return manifest if manifest.version == TABLES[table].version else None

    def write_table(
        self, table: str, rows: pa.Table, *, fingerprint: str, part_rows: int, metadata: Mapping[str, Any] | None = None
    ) -> Manifest:
        """Writes a table computed as a whole, cut into parts of ``part_rows``, and commits it. Parts that exist are kept."""
        # The cut is part of a part's identity: one left by a stopped write with another part_rows holds other rows.
        cut = hashlib.sha256(f"{fingerprint}/{part_rows}".encode()).hexdigest()
        parts = []
        for index, start in enumerate(range(0, max(rows.num_rows, 1), part_rows)):
            piece = rows.slice(start, part_rows)
            part = Part(index=index, fingerprint=cut, num_rows=piece.num_rows)
            if not self.has_part(table, part):
                self.write_part(table, part, piece)
            parts.append(part)
        return self.commit(table, parts, metadata=metadata)

    def replace_rows(
        self,
        table: str,
        rows: pa.Table | None,
        *,
        owner: tuple[str, str],
        fingerprint: str,
        part_rows: int,
        metadata: Mapping[str, Any],
    ) -> Manifest:
        """Makes ``rows`` all that a table holds of one owner, such as ``("model_id", …)``, and commits it; None: nothing.

        Parts of other owners stay as they are.

        Args:
            fingerprint: of what the rows were made from.
            metadata: of the table as a whole.
        """
        manifest = self.manifest(table)
        name, value = owner
        others = [part for part in manifest.parts if part.inputs.get(name) != value] if manifest else []
        index = max((part.index for part in manifest.parts), default=-1) + 1 if manifest else 0
        parts: list[Part] = []
        if rows is not None:
            cut = f"{fingerprint}/{rows.num_rows}/{part_rows}"
            for start in range(0, max(rows.num_rows, 1), part_rows):
                digest = hashlib.sha256(f"{cut}/{start}".encode()).hexdigest()
                part = Part(index=index + len(parts), fingerprint=digest, num_rows=0, inputs={name: value})
                parts.append(self.write_part(table, part, rows.slice(start, part_rows)))
        return self.commit(table, [*others, *parts], metadata=metadata)

    def part_paths(self, table: str) -> list[str]:
        """Paths of the listed parts, for readers that take files. Empty before the first commit."""
        manifest = self.manifest(table)
        return [self.path(table, part.name) for part in manifest.parts] if manifest else []

    def read_parts(self, table: str, columns: list[str] | None = None) -> Iterator[tuple[Part, pa.Table]]:
        """Each listed part with its rows, in order of index."""
        manifest = self.manifest(table)
        for part in manifest.parts if manifest else ():
            yield part, self.read_part(table, part, columns)

    def read_part(self, table: str, part: Part, columns: list[str] | None = None) -> pa.Table:
        """Rows of one part. Raises StoreError if the file is gone or damaged."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with self.fs.open(self.path(table, part.name), "rb") as file:
                return pq.read_table(file, columns=columns)
        except (ObjectError, UnreachableError):
            raise
        except (OSError, pa.ArrowException) as error:
            raise StoreError(
                f"{self.url}/{table}/{part.name} cannot be read: {error}.", next_step="Delete it and run the same scan again."
            ) from error

    def read(self, table: str, columns: list[str] | None = None) -> pa.Table:
        """All rows of a table, in order of part. Raises StoreError if it was never committed."""
        import pyarrow as pa

        pieces = [rows.replace_schema_metadata() for _, rows in self.read_parts(table, columns)]
        if pieces:
            return pa.concat_tables(pieces)
        if self.manifest(table) is None:
            raise StoreError(
                f"{self.url} has no table {table} yet.",
                next_step="Run the scan to its end first; `scanner status` says where it is.",
            )
        schema = arrow_schema(table, embedding_dim=1)
        return schema.empty_table().select(columns or schema.names)

    def unlisted(self) -> list[str]:
        """Paths of parts and temporary files that no ``_table.json`` lists."""
        found = []
        for table in TABLES:
            folder = self.path(table)
            if not self.fs.exists(folder):
                continue
            manifest = self.manifest(table)
            keep = {COMMIT_FILE, *(part.name for part in (manifest.parts if manifest else ()))}
            found += [p for p in self.fs.ls(folder, detail=False) if p.rsplit("/", 1)[-1] not in keep]
        # In an object store a folder in which nothing is does not exist.
        beside = self.fs.ls(self.root, detail=False) if self.fs.exists(self.root) else []
        found += [p for p in beside if p.rsplit("/", 1)[-1].startswith(TEMPORARY)]
        return sorted(found)

    def remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            self.fs.rm_file(path)
