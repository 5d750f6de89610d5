"""The reference pages of docs/, rendered from what they document: schemas, query headers, config models, commands.

Whatever is public and not on these pages, or on them and no longer so, fails tests/test_docs.py. ``scanner.cli.reference``
writes them; commands come from there, since nothing here may know the command line.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from datetime import date
from importlib import resources
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from scanner.core.config import RunConfig, load_config
from scanner.core.schemas import ARROW_TO_SQL, TABLES
from scanner.core.sql import queries

if TYPE_CHECKING:
    import click
    from pydantic.fields import FieldInfo

_GENERATED = "<!-- Generated from {source} by `make docs`. Edit that, not this. -->"


def tables_page() -> str:
    """docs/tables.md: every table with its grain, key and columns."""
    lines = opening(
        "Tables",
        "scanner/core/schemas.py",
        "A run is a folder; each table is a folder of Parquet parts in it, listed by `_table.json`. `scanner sql` and"
        " `scanner query` see them as DuckDB views of these names. A `?` marks columns that may be null; the key columns"
        " identify a row.",
    )
    lines += ["", *(f"- [{table.name}](#{table.name}): {table.grain}" for table in TABLES.values())]
    for table in TABLES.values():
        lines += [
            "",
            f"## {table.name}",
            "",
            f"{_sentence(table.grain)} Key: {_codes(table.key)}. Schema version {table.version}.",
            "",
        ]
        rows = [
            (f"`{c.name}`", f"`{c.type}{'?' if c.is_nullable else ''}`", f"`{ARROW_TO_SQL[c.type]}`", c.doc)
            for c in table.columns
        ]
        lines += grid(("column", "type", "in SQL", "holds"), rows)
    return page(lines)


def queries_page() -> str:
    """docs/queries.md: every query with its purpose, grain, tables, parameters and an example."""
    lines = opening(
        "Queries",
        "the headers of queries/",
        "`scanner query RUN NAME` answers them; `scanner query RUN` lists them. A name without its area will do where it is"
        " unique. Each file is SQL that runs in any DuckDB shell over the same tables, but for its `$parameters` and the macros"
        " `vec(embedding)`, `host(url)`, `caption_hash(caption)`, `caption_kind(caption)` and"
        " `match_hash(match, image_id, key, sha256)`: [sql.md](sql.md).",
    )
    area = ""
    for query in queries().values():
        if area != (area := query.name.split("/")[0]):
            lines += ["", f"## {area}"]
        lines += ["", f"### {query.name}", "", _sentence(query.purpose), ""]
        lines += [f"Grain: {query.grain}. Reads {_codes(query.reads)}. SQL: [{query.name}.sql](../queries/{query.name}.sql).", ""]
        lines += [line for need in query.needs for line in (f"No rows say nothing where {need.reason}.", "")]
        if query.parameters:
            rows = [
                (f"`{p.name}`", p.takes, "required" if p.default is None else f"`{p.default}`", p.doc) for p in query.parameters
            ]
            lines += [*grid(("parameter", "type", "default", "means"), rows), ""]
        lines += ["```sh", query.example, "```"]
    return page(lines)


def configs_page() -> str:
    """docs/configs.md: every key with its type, default, range and meaning; the shipped files; thresholds by encoder."""
    lines = opening(
        "Configs",
        "scanner/core/config.py and configs/",
        "`scanner run FILE` takes a YAML of the keys below; `scanner scan --config FILE` takes the same, and its flags win over"
        " it. Every key has a default but `sources[].url`. An unknown key is an error that names the nearest known one. The"
        " resolved config is written into `run.yaml`.",
    )
    lines += ["", "## Keys", ""]
    lines += keys_grid(RunConfig)
    lines += ["", "## Shipped configs", ""]
    files = [name for name in shipped_configs() if name != "encoders"]
    lines += grid(
        ("file", "is for"), [(f"[{n}.yaml](../configs/{n}.yaml)", " ".join(load_config(n).description.split())) for n in files]
    )
    lines += ["", "## Thresholds by encoder", ""]
    lines += ["`neighbors.threshold: by_encoder` takes these from [encoders.yaml](../configs/encoders.yaml).", ""]
    presets = yaml.safe_load((resources.files("scanner.configs") / "encoders.yaml").read_text("utf-8"))
    thresholds = [
        (f"`{name}`", str(preset["threshold"]), ", ".join(map(str, preset["report_thresholds"])), preset["reason"])
        for name, preset in presets.items()
    ]
    lines += grid(("encoder", "threshold", "also counted at", "reason"), thresholds)
    return page(lines)


def commands_page(group: click.Group) -> str:
    """docs/commands.md: every command with its help text, arguments and options, as ``--help`` gives them."""
    import click

    program = "scanner"
    context = click.Context(group, info_name=program)
    lines = opening("Commands", "the help texts of scanner/cli/", _flow(group.help or ""))
    for name, command in walk_commands(group, context):
        inner = click.Context(command, info_name=name, parent=context)
        usage = " ".join([program, name, *command.collect_usage_pieces(inner)])
        lines += ["", f"## {name}", "", f"    {usage}", "", *_help_lines(command.help or "")]
        rows = []
        for parameter in command.get_params(inner):
            record = parameter.get_help_record(inner)
            if record and isinstance(parameter, click.Option) and "--help" not in parameter.opts:
                # Placeholders such as <model> would be read as HTML.
                rows.append((_code(record[0]), " ".join(record[1].split()).replace("<", "&lt;")))
        if rows:
            lines += ["", *grid(("option", "means"), rows)]
    return page(lines)


def walk_commands(group: click.Group, context: click.Context, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command by its full name (``lab make``), a group before its members."""
    import click

    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        yield prefix + name, command
        if isinstance(command, click.Group):
            yield from walk_commands(command, click.Context(command, info_name=name, parent=context), f"{prefix}{name} ")


def keys_grid(section: type[BaseModel]) -> list[str]:
    """A table of the keys of a config or a policy: type, default, range and meaning."""
    rows = [
        (f"`{path}`", _code(_type_name(field.annotation)), _default(field), _range(field), _doc(field))
        for path, field in config_keys(section)
    ]
    return grid(("key", "type", "default", "range", "means"), rows)


def config_keys(section: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Dotted path and field of every key that holds a value, sections entered; ``sources[].url`` for keys of list items,
    ``rules.NAME.query`` for those of named ones."""
    for name, field in section.model_fields.items():
        inner = _section_of(field.annotation)
        if inner is None:
            yield prefix + name, field
        else:
            origin = get_origin(field.annotation)
            item = "[]" if origin is tuple else ".NAME" if origin is dict else ""
            yield from config_keys(inner, f"{prefix}{name}{item}.")


def shipped_configs() -> list[str]:
    """Names of the files in configs/, without ``.yaml``, ``encoders`` (the thresholds) among them."""
    names = (entry.name for entry in resources.files("scanner.configs").iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def _section_of(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if inspect.isclass(candidate) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _type_name(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(str(value) for value in inner)
    if origin in (Union, UnionType):
        return " | ".join(_type_name(choice) for choice in inner)
    if origin is tuple:
        return f"list of {_type_name(inner[0])}"
    if origin is dict:
        return "mapping"
    names: dict[Any, str] = {str: "text", int: "integer", float: "number", bool: "true | false", date: "date"}
    return names[annotation]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        value = list(value)
    return '`""`' if value == "" else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _range(field: FieldInfo) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return ", ".join(
        f"{sign} {getattr(bound, name):,}" for bound in field.metadata for name, sign in signs.items() if hasattr(bound, name)
    )


def _doc(field: FieldInfo) -> str:
    assert field.description, "every config key has a docstring under it"
    return _flow(field.description)


def opening(title: str, source: str, text: str) -> list[str]:
    """The lines that a generated page starts with."""
    return [f"# {title}", "", _GENERATED.format(source=source), "", text]


def page(lines: list[str]) -> str:
    """The lines as the content of a file."""
    return "\n".join(lines).rstrip() + "\n"


def grid(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A Markdown table; a bar inside a cell, code or not, is escaped, or it would end the cell."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return ["| " + " | ".join(row) + " |" for row in (list(head), ["---"] * len(head), *cells)]


def _codes(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _code(text: str) -> str:
    return f"`{text}`"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _flow(text: str) -> str:
    """A docstring as one line of Markdown; of a help text, what stands before click's no-wrap mark, the example."""
    return " ".join(inspect.cleandoc(text).split("\b")[0].replace("``", "`").split())


def _help_lines(text: str) -> list[str]:
    """Paragraphs of a help text; the block after click's no-wrap mark is the example."""
    prose, _, example = inspect.cleandoc(text).partition("\b")
    lines = [prose.strip()] if prose.strip() else []
    shown = [line.strip() for line in example.splitlines() if line.strip() and line.strip() != "Example:"]
    return [*lines, "", "```sh", *shown, "```"] if shown else lines
