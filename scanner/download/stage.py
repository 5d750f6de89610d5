"""Downloads a list of URLs into a folder of shards, so that every row of the list stands there with what became of it.

The folder holds ``lists/`` (the list as img2dataset takes it), ``refused/`` (rows whose URL is not asked for), ``images/``
(what img2dataset writes: tars, and a side-car Parquet each), and ``download.json``. The same call starts, resumes, takes in
files that were added to the list, and tries again what failed for a reason that may pass.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scanner.core.download_config import DownloadConfig
from scanner.core.errors import LockedError, SourceError
from scanner.core.progress import Bar, Progress
from scanner.download.lists import (
    LIST_ROWS,
    REFUSED_FIELDS,
    ROW,
    ListColumns,
    ListWriter,
    carried_name,
    list_files,
    prepared_schema,
    prepared_tables,
)
from scanner.download.process import LOG_FILE, run_img2dataset
from scanner.download.sidecars import SHARD_DIGITS, Outcome, complete, move_out, shard_name, transient_rows
from scanner.download.state import Pass, State, TakenIn
from scanner.sources.parquet_files import first_schema, open_parquet
from scanner.sources.places import Entry, Place, resolve

if TYPE_CHECKING:
    import pyarrow as pa

IMAGES = "images"
SHARD_ROWS, FEW_SHARD_ROWS = 10_000, 1_000
"""Of a shard, as img2dataset's own default; of a list of fewer than ``FEW_ROWS`` less, so that several processes have work."""
FEW_ROWS = 200_000
MAX_RUNS = 3
"""Of img2dataset on one pass: it leaves out shards that it fails at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadResult:
    """Rows of the list: downloaded, failed for good, failed for a reason that may pass; and reasons, most frequent first."""

    num_rows: int
    num_ok: int
    num_failed: int
    num_transient: int
    reasons: tuple[tuple[str, int], ...]

    def line(self, dataset: str) -> str:
        return (
            f"download: {dataset}: {self.num_ok:,} of {self.num_rows:,} images, {self.num_failed:,} failed for good, "
            f"{self.num_transient:,} failed for now (the next scan tries them again)"
        )


class Download:
    """A list of URLs and the folder that it is downloaded into.

    Args:
        url: Parquet file, folder of them, glob or braces, with a column of URLs.
        folder: on a local disk; made if it is not there.
        caption_column: None finds it.
        max_pixels: of an image; larger ones are not decoded.

    Raises:
        SourceError: the folder belongs to another list or to other settings.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        config: DownloadConfig,
        progress: Progress,
        *,
        caption_column: str | None = None,
        max_pixels: int = 100_000_000,
    ) -> None:
        self.url, self.folder, self.config, self.progress = url, folder, config, progress
        self.caption_column, self.max_pixels = caption_column, max_pixels
        self.lists, self.refused, self.images = folder / "lists", folder / "refused", folder / IMAGES

    def run(self) -> DownloadResult:
        """Downloads what there is to download.

        Raises:
            LockedError: another process downloads into the folder.
            SourceError: no list of URLs, a list that changed, img2dataset that is not there or fails.
        """
        for folder in (self.lists, self.refused, self.images):
            folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder):
            state = self._state()
            self._drop_strays(state)
            self._take_in(state)
            has_work = not all(a_pass.is_finished for a_pass in state.passes)
            self._finish(state)
            rounds = self.config.retries if has_work else max(1, self.config.retries)
            for number in range(rounds):
                if not self._num_transient(state):
                    break
                if has_work or number:
                    self.progress.say(f"download: {self._num_transient(state):,} failed for a reason that may pass")
                    time.sleep(self.config.retry_pause_s)
                self._retry(state)
                self._finish(state)
            return DownloadResult(
                num_rows=state.num_rows,
                num_ok=sum(a_pass.num_ok for a_pass in state.passes),
                num_failed=sum(a_pass.num_failed for a_pass in state.passes),
                num_transient=self._num_transient(state),
                reasons=tuple(state.reasons().most_common(10)),
            )

    def _state(self) -> State:
        state = State.load(self.folder)
        if state is None:
            place = resolve(self.url)
            entries = list_files(place)
            if not entries:
                raise SourceError(f"{self.url!r} holds no Parquet file.", next_step="Give a list of URLs as Parquet.")
            where, schema = first_schema(place, entries)
            columns = ListColumns.of(schema, caption_column=self.caption_column, where=where)
            return State(
                url=self.url, image_size=self.config.image_size, shard_rows=_shard_rows(place, entries),
                columns={carried_name(name): kind for name, kind in columns.others.items()},
                has_captions=columns.found.caption is not None,
            )  # fmt: skip
        for name, before, now in (("list", state.url, self.url), ("image_size", state.image_size, self.config.image_size)):
            if before != now:
                raise SourceError(
                    f"{self.folder} was downloaded with the {name} {before!r}, not {now!r}.",
                    next_step="Give another folder with --images DIR.",
                )
        return state

    def _drop_strays(self, state: State) -> None:
        """What was being written when a run was stopped: img2dataset would take such lists for its own."""
        known = {file.name for a_pass in state.passes for file in a_pass.files}
        for path in (*self.lists.iterdir(), *self.refused.iterdir()):
            if path.name not in known:
                path.unlink()

    def _take_in(self, state: State) -> None:
        """Files of the user's list that are not prepared yet, as one pass."""
        place = resolve(self.url)
        entries = list_files(place)
        known = {taken.name: taken for taken in state.lists}
        here = {entry.name: TakenIn(name=entry.name, size=entry.size, etag=entry.etag or "") for entry in entries}
        changed = [name for name, taken in known.items() if here.get(name) != taken]
        if changed:
            raise SourceError(
                f"{changed[0]} of the list {self.url!r} was changed or removed since it was downloaded.",
                next_step="Put it back, or download into another folder with --images DIR. Added files are taken in.",
            )
        added = [entry for entry in entries if entry.name not in known]
        if not added:
            return
        import pyarrow.parquet as pq

        name = self._namer(state)
        writer = self._writer(state, name)
        path = self.refused / name(0)
        num_rows = state.num_rows
        with pq.ParquetWriter(path, _refused_schema()) as refused:
            for entry in added:
                tables = prepared_tables(
                    place, entry, state.columns, caption_column=self.caption_column, first_row=num_rows
                )  # fmt: skip
                for table, without in tables:
                    writer.write(table)
                    if without.num_rows:
                        refused.write_table(without)
                    num_rows += table.num_rows
        state.passes.append(Pass(files=writer.close()))
        state.lists += [here[entry.name] for entry in added]
        state.save(self.folder)

    def _finish(self, state: State) -> None:
        """Every pass downloaded and its side-cars whole; passes whose rows moved on settled."""
        if not all(a_pass.is_finished for a_pass in state.passes):
            self._download(state)
        for number, a_pass in enumerate(state.passes):
            if not a_pass.is_finished:
                found = Outcome()
                refused = self._refused(number)
                for shard, listed in self._listed(state, a_pass):
                    found.add(complete(self.images, shard, listed, refused, shard_rows=state.shard_rows))
                _record(a_pass, found)
                a_pass.is_finished = True
                state.save(self.folder)
        self._settle(state)

    def _download(self, state: State) -> None:
        """Runs img2dataset until it has written every shard of the passes that are not finished."""
        rows = {
            shard: min(state.shard_rows, file.num_rows - (shard - file.first_shard) * state.shard_rows)
            for a_pass in state.passes
            if not a_pass.is_finished
            for file in a_pass.files
            for shard in file.shards(state.shard_rows)
        }
        with self.progress.bar("download", total=sum(rows.values()), unit="URLs") as bar:
            look = self._looking(bar, rows)
            for _ in range(MAX_RUNS):
                run_img2dataset(self._settings(state), self.folder, self.config, max_pixels=self.max_pixels, look=look)
                missing = [shard for shard in rows if not self._stats(shard).is_file()]
                if not missing:
                    return
        raise SourceError(
            f"img2dataset did not finish {len(missing):,} shards of {self.folder}, {shard_name(missing[0])} among them.",
            next_step=f"{self.folder / LOG_FILE} says why. Scan again: finished shards are kept.",
        )

    def _looking(self, bar: Bar, rows: dict[int, int]) -> Callable[[], int]:
        """Moves the bar by the shards that were finished; a number that grows with whatever is written.

        Args:
            rows: of each shard that is to be written.
        """
        waiting = dict(rows)

        def look() -> int:
            for shard in [shard for shard in waiting if self._stats(shard).is_file()]:
                bar.advance(waiting.pop(shard))
            tars = (self.images / f"{shard_name(shard)}.tar" for shard in islice(waiting, 64))
            return sum(path.stat().st_size for path in tars if path.is_file()) + (len(rows) - len(waiting)) * 2**40

        return look

    def _stats(self, shard: int) -> Path:
        return self.images / f"{shard_name(shard)}_stats.json"

    def _settings(self, state: State) -> dict[str, Any]:
        config = self.config
        return {
            "url_list": str(self.lists.resolve()),
            "input_format": "parquet",
            "url_col": "url",
            "caption_col": "caption" if state.has_captions else None,
            "save_additional_columns": [ROW, *state.columns],
            "output_folder": str(self.images.resolve()),
            "output_format": "webdataset",
            "number_sample_per_shard": state.shard_rows,
            "oom_shard_count": SHARD_DIGITS,
            "processes_count": config.processes or os.cpu_count() or 1,
            "thread_count": config.threads,
            "image_size": config.image_size,
            "resize_mode": "keep_ratio",
            "resize_only_if_bigger": True,
            "skip_reencode": True,
            "encode_format": "jpg",
            "encode_quality": 95,
            "extract_exif": False,
            "compute_hash": "sha256",
            # The proxy gives up first and says why; this is for a proxy that does not answer.
            "timeout": config.timeout_s + 5,
            "retries": 0,
            "max_shard_retry": 1,
            "incremental_mode": "incremental",
            "enable_wandb": False,
            "disallowed_header_directives": None if config.respect_opt_out else [],
        }

    def _num_transient(self, state: State) -> int:
        return sum(a_pass.num_transient for a_pass in state.passes)

    def _retry(self, state: State) -> None:
        """A pass of all rows that failed for a reason that may pass."""
        import pyarrow as pa

        writer = self._writer(state, self._namer(state))
        for a_pass in state.passes:
            if not a_pass.num_transient:
                continue
            for shard, listed in self._listed(state, a_pass):
                rows = transient_rows(self.images, shard)
                if len(rows):
                    writer.write(listed.filter(pa.array(np.isin(listed.column(ROW).to_numpy(), rows))))
        state.passes.append(Pass(files=writer.close(), is_retry=True))
        state.save(self.folder)
        self._settle(state)

    def _settle(self, state: State) -> None:
        """Rows that a later pass has taken over leave the side-cars of earlier ones; done again after a crash in between."""
        for number, a_pass in enumerate(state.passes):
            if not a_pass.is_finished or a_pass.is_settled:
                continue
            moved = self._rows_of([later for later in state.passes[number + 1 :] if later.is_retry])
            if not len(moved):
                continue
            found = Outcome()
            for shard, _ in self._listed(state, a_pass):
                found.add(move_out(self.images, shard, moved))
            _record(a_pass, found)
            a_pass.is_settled = True
            state.save(self.folder)

    def _rows_of(self, passes: list[Pass]) -> np.ndarray[Any, np.dtype[np.int64]]:
        import pyarrow.parquet as pq

        files = [self.lists / file.name for a_pass in passes for file in a_pass.files]
        rows = [pq.read_table(path, columns=[ROW]).column(ROW).to_numpy() for path in files]
        return np.unique(np.concatenate([np.empty(0, np.int64), *rows]))

    def _listed(self, state: State, a_pass: Pass) -> Iterator[tuple[int, pa.Table]]:
        """Each shard of a pass, and its rows of the prepared list: a row group."""
        place = resolve(str(self.lists))
        for file in a_pass.files:
            with open_parquet(place, file.name) as parquet:
                for group, shard in enumerate(file.shards(state.shard_rows)):
                    yield shard, parquet.read_row_group(group)

    def _refused(self, number: int) -> dict[int, tuple[str, str]]:
        import pyarrow.parquet as pq

        path = self.refused / _list_name(number, 0)
        if not path.is_file():
            return {}
        columns = pq.read_table(path).to_pydict()
        return {
            row: (url or "", reason) for row, url, reason in zip(*(columns[name] for name in REFUSED_FIELDS), strict=True)
        }  # fmt: skip

    def _namer(self, state: State) -> Callable[[int], str]:
        number = len(state.passes)
        return lambda file: _list_name(number, file)

    def _writer(self, state: State, name: Callable[[int], str]) -> ListWriter:
        return ListWriter(
            self.lists, name, prepared_schema(state.columns), shard_rows=state.shard_rows, first_shard=state.num_shards
        )


def _list_name(number: int, file: int) -> str:
    """In the order of the names img2dataset numbers its shards."""
    return f"{number:04d}-{file:05d}.parquet"


def _refused_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(ROW, pa.int64()), ("url", pa.string()), ("reason", pa.string())])


def _shard_rows(place: Place, entries: list[Entry]) -> int:
    total = 0
    for entry in entries[:100]:
        with open_parquet(place, entry.name) as parquet:
            total += parquet.metadata.num_rows
        if total >= FEW_ROWS:
            break
    assert LIST_ROWS % SHARD_ROWS == 0
    return FEW_SHARD_ROWS if total < FEW_ROWS else SHARD_ROWS


def _record(a_pass: Pass, found: Outcome) -> None:
    a_pass.num_ok, a_pass.num_failed, a_pass.num_transient = found.num_ok, found.num_failed, found.num_transient
    a_pass.reasons = dict(found.reasons.most_common(50))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LockedError(
                f"Another scan downloads into {folder}.", next_step="Wait for it, or give another folder with --images DIR."
            ) from None
        yield
