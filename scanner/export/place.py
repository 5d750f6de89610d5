"""The folder of an export: whether it may be written, and what says which export it is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from fsspec.utils import get_protocol

from scanner.core.config import RunConfig, fingerprint
from scanner.core.errors import ObjectError, SourceError, StoreError, UnreachableError
from scanner.core.keep_config import ExportConfig, ExportFormat, KeepConfig
from scanner.core.lock import LOCK_FILE
from scanner.core.schemas import TABLES
from scanner.core.sql import find_query
from scanner.core.store import EXPORT_FILE, RUN_FILE, TEMPORARY, Store
from scanner.export.facts import joined_identity
from scanner.sources.places import resolve

LAYOUT = 1
"""Raised when the same choice is written in other bytes."""
FORMATS: tuple[ExportFormat, ...] = ("ids", "datacomp", "curator", "hf", "tars")


def check_place(run: Store, out: Store, config: RunConfig) -> None:
    """Raises StoreError where an export would mix with a run, a source or foreign files."""
    step = "Give --to a folder of its own."
    if out.root == run.root or out.fs.exists(out.path(RUN_FILE)):
        raise StoreError(f"{out.url} is a run.", next_step=step)
    for source in config.sources:
        root = _searched_root(source.url, out)
        place = os.path.realpath(out.root) if out.is_local else out.root
        if root is not None and f"{place}/".startswith(f"{root.rstrip('/')}/"):
            raise StoreError(f"{out.url} lies inside the source {source.url}: the next scan would take it in.", next_step=step)
    if out.fs.exists(out.path(EXPORT_FILE)) or not out.fs.exists(out.root):
        return
    found = [path.rstrip("/").rsplit("/", 1)[-1] for path in out.fs.ls(out.root, detail=False)]
    other = sorted(name for name in found if name != LOCK_FILE and not name.startswith(TEMPORARY))
    if other:
        raise StoreError(f"{out.url} is no export, and not empty: it holds {other[0]}.", next_step=step)


def _searched_root(url: str, out: Store) -> str | None:
    """The folder that a source is searched in; None where it is in another kind of store, or not at hand: lists need none."""
    if get_protocol(url) != get_protocol(out.url):
        return None
    try:
        place = resolve(url)
    except (SourceError, UnreachableError, ObjectError):
        return None
    if place.names is not None:
        return None
    return os.path.realpath(place.root) if place.is_local else place.root


def run_fingerprint(run: Store) -> str:
    """Of the tables that a policy looks at. Raises StoreError if one was never written."""
    inputs = {}
    for table in sorted({*find_query("export/facts").reads, "links", "embeddings"}):
        manifest = run.manifest(table)
        if manifest is None and table not in ("links", "embeddings"):
            raise StoreError(f"{run.url} has no table {table} yet.", next_step="Run the scan to its end first.")
        inputs[table] = manifest.fingerprints if manifest else []
    return fingerprint(inputs)


def identity_of(run: Store, keep: KeepConfig, export: ExportConfig) -> str:
    """Of what is chosen and how it is cut; not of the forms that are written, which may be added to.

    Raises:
        StoreError: a table is not there.
        SourceError: a file to be joined is not there.
    """
    joined = [joined_identity(url) for url in keep.join]
    cut = [export.shard_samples, export.curator_id]
    return fingerprint(LAYOUT, TABLES["keep"].version, keep, cut, run_fingerprint(run), joined)


def claim(
    run: Store, out: Store, config: RunConfig, *, identity: str, rules: Sequence[str], versions: Mapping[str, str]
) -> tuple[ExportFormat, ...]:
    """Writes ``export.yaml`` and returns the forms that the folder holds then, earlier ones too.

    Raises:
        StoreError: the folder holds another export.
    """
    keep, export = config.keep, config.export
    known = yaml.safe_load(out.get(EXPORT_FILE) or b"") or {}
    if not isinstance(known, dict) or known.get("identity", identity) != identity:
        raise StoreError(
            f"{out.url} holds an export of another policy, another cut or another state of the run.",
            next_step="Give --to another folder, or delete that one.",
        )
    wanted = {*export.formats, *known.get("formats", ())}
    formats = tuple(form for form in FORMATS if form in wanted)
    document: dict[str, Any] = {
        "layout": LAYOUT,
        "identity": identity,
        "run": {
            "url": os.path.abspath(run.root) if run.is_local else run.url,
            "fingerprint": run_fingerprint(run),
            "sources": [source.url for source in config.sources],
            "encoder": config.encoder.name,
            "threshold": config.neighbors.cosine,
        },
        "keep": keep.model_dump(mode="json"),
        "rules": list(rules),
        "export": {"shard_samples": export.shard_samples, "curator_id": export.curator_id},
        "formats": list(formats),
        "versions": dict(versions),
    }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode()
    if out.get(EXPORT_FILE) != text:
        out.put(text, EXPORT_FILE)
    return formats


def sweep(out: Store) -> None:
    """Removes what a stopped export left half written. Only under the lock."""
    if not out.is_local:
        return
    for folder, _, names in os.walk(out.root):
        for name in names:
            if name.startswith(TEMPORARY):
                Path(folder, name).unlink()
