"""The tables of a run as SQL: macros, a select for every committed table, and the locks that keep a statement to the run's parts.

Text alone, so that whoever opens DuckDB can be set up alike: ``core.sql`` in this process, the DuckDB shell, a file for BI tools.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scanner.core.schemas import ARROW_TO_SQL, EMPTY_UNTIL_WRITTEN, TABLES
from scanner.core.store import COMMIT_FILE, Store

# float16 -> float in SQL: DuckDB has no half type. Bytes are little-endian, so the second byte pair of the hex comes first. The
# hex is cut up once: a lambda that looked into it would make it anew for every number.
# host: nearly all urls have neither port nor user, and without those one cheap expression in place of a dear one will do.
MACROS = """
create or replace macro half_to_float(bits) as
    (case when bits & 32768 = 0 then 1.0 else -1.0 end)
    * (case (bits >> 10) & 31
        when 0 then (bits & 1023) * pow(2.0, -24)
        when 31 then case when bits & 1023 = 0 then 'inf'::double else 'nan'::double end
        else (1 + (bits & 1023) / 1024.0) * pow(2.0, ((bits >> 10) & 31) - 15)
    end);
create or replace macro vec(embedding) as
    list_transform(list_transform(regexp_extract_all(hex(embedding), '.{4}'),
        lambda digits: ('0x' || substr(digits, 3, 2) || substr(digits, 1, 2))::integer),
        lambda bits: half_to_float(bits)::float);
create or replace macro host(url) as nullif(lower(
    case
        when regexp_matches(regexp_extract(url, '^[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)', 1), '[:@]')
        then regexp_extract(url, '^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/@?#]*@)?([^/:?#]+)', 1)
        else regexp_extract(url, '^[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)', 1)
    end), '');
create or replace macro caption_hash(caption) as (('0x' || sha256(caption)[1:16])::ubigint >> 1)::bigint;
create or replace macro caption_kind(caption) as
    2 * least(len(string_split(trim(caption), ' ')) // 3, 10) + regexp_matches(caption, '[0-9]')::integer;
create or replace macro match_hash(match, image_id, key, sha256) as
    case match
        when 'key' then hash(key)
        when 'sha256' then case when sha256 is not null then hash(sha256) end
        when 'image_id' then hash(image_id)
        else error('match is key, sha256 or image_id')
    end;
"""

HARDENED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_unsigned_extensions": False,
    "allow_persistent_secrets": False,
}
"""Nothing is installed, and neither extensions nor secrets that lie in the user's home are taken up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableView:
    """``select`` gives the rows of ``table``, with its columns also where there are none; ``paths`` are the parts it opens.

    ``is_written`` is False of a table that nobody wrote yet and that is as good as empty.
    """

    table: str
    select: str
    paths: tuple[str, ...]
    is_written: bool

    def create(self, schema: str) -> str:
        """The statement that makes it a view of a schema."""
        return f"create view {quoted(schema)}.{quoted(self.table)} as {self.select}"


def table_views(store: Store, beside: Store | None = None) -> list[TableView]:
    """A view for every committed table, of ``beside`` where ``store`` has none.

    One without rows is empty, with its columns, and so is one of ``EMPTY_UNTIL_WRITTEN`` that is not there; another that was
    never committed has none.
    """
    found = []
    # Of distant runs, tables that are not there cost no request each.
    folders = {id(run): run.folders() for run in (store, beside) if run is not None}

    def is_there(run: Store, table: str) -> bool:
        known = folders[id(run)]
        return known is None or table in known

    for table, schema in TABLES.items():
        holder, manifest = store, store.manifest(table) if is_there(store, table) else None
        if manifest is None and beside is not None:
            holder, manifest = beside, beside.manifest(table) if is_there(beside, table) else None
        # A table of an older version is not empty, but unknown.
        is_old = manifest is None and is_there(holder, table) and holder.fs.exists(holder.path(table, COMMIT_FILE))
        if manifest is None and (table not in EMPTY_UNTIL_WRITTEN or is_old):
            continue
        if manifest is not None and manifest.num_rows:
            paths: tuple[str, ...] = tuple(protocol(holder) + path for path in holder.part_paths(table))
            listed = ", ".join(map(literal, paths))
            select = f"select * from read_parquet([{listed}], hive_partitioning = false)"
        else:
            columns = ", ".join(f"null::{ARROW_TO_SQL[c.type]} as {quoted(c.name)}" for c in schema.columns)
            paths, select = (), f"select {columns} where false"
        found.append(TableView(table=table, select=select, paths=paths, is_written=manifest is not None))
    return found


LOCK = "set lock_configuration = true"
"""The last statement of all that prepares a connection: nothing that was set can be set back."""


def closed(paths: Iterable[str]) -> list[str]:
    """Statements after which the parts at ``paths`` are all that a statement can open, whatever it says, once ``LOCK`` ran."""
    return [f"set allowed_paths = [{', '.join(map(literal, paths))}]", "set enable_external_access = false"]


def protocol(store: Store) -> str:
    """What stands before a path of the run for DuckDB; empty for local ones."""
    if store.is_local:
        return ""
    names = store.fs.protocol
    return (names if isinstance(names, str) else names[0]) + "://"


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
