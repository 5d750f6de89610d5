"""A list of URLs downloaded by a stand-in for img2dataset, with everything in it that goes wrong."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from download.web import web

from scanner.core.download_config import DownloadConfig
from scanner.core.errors import LockedError, SourceError
from scanner.core.progress import Progress
from scanner.download.stage import Download
from scanner.sources.open import open_source


@pytest.fixture
def server():
    with web() as running:
        yield running


@pytest.fixture
def python(tmp_path):
    """An interpreter that has the stand-in."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nPYTHONPATH="{Path(__file__).parent / "standin"}" exec "{sys.executable}" "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.fixture
def config(server, python):
    return DownloadConfig(
        python=python, allow_addresses=(server.address,), timeout_s=1, total_timeout_s=3, retries=0, retry_pause_s=0
    )


def write_list(path, urls, captions=None):
    pq.write_table(pa.table({"url": urls, "text": captions or [f"caption {i}" for i in range(len(urls))]}), path)
    return path


def run(url, folder, config):
    return Download(str(url), folder, config, Progress(quiet=True)).run()


def rows_of(folder):
    """Status and message of each row, by caption."""
    source = open_source(str(folder / "images"), format="img2dataset")
    samples = [sample for shard in source.shards() for sample in source.samples(shard)]
    assert len({sample.key for sample in samples}) == len(samples)
    return {sample.caption: (sample.status, sample.error_message, sample.url) for sample in samples}


def urls_with_faults(server):
    return [
        f"{server.url}/ok/1",
        f"{server.url}/missing/1",
        f"{server.url}/flaky/1",
        f"{server.url}/page/1",
        f"{server.url}/to?url=http://10.0.0.1/x.jpg",
        "file:///etc/passwd",
        f"{server.url}/to?url={server.url}/ok/2",
        f"{server.url}/slow/1",
        f"{server.url}/ok/3",
        None,
    ]


def test_every_row_has_its_status_and_a_rerun_tries_the_passing_ones_only(server, config, tmp_path):
    path = write_list(tmp_path / "urls.parquet", urls_with_faults(server))
    result = run(path, tmp_path / "images", config)
    assert (result.num_rows, result.num_ok, result.num_failed, result.num_transient) == (10, 3, 5, 2)
    rows = rows_of(tmp_path / "images")
    assert len(rows) == 10
    assert rows["caption 0"] == ("ok", None, f"{server.url}/ok/1")
    assert rows["caption 1"][:2] == ("missing", "failed_to_download: HTTP Error 404: Not Found")
    assert rows["caption 2"][:2] == ("missing", "failed_to_download: HTTP Error 503: Service Unavailable")
    assert rows["caption 3"][:2] == ("unreadable", "failed_to_resize: image decoding error")
    assert "refused: 10.0.0.1 is private" in rows["caption 4"][1]
    assert rows["caption 5"] == (
        "missing", "failed_to_download: refused: the scheme 'file' is neither http nor https", "file:///etc/passwd"
    )  # fmt: skip
    assert rows["caption 6"][0] == rows["caption 8"][0] == "ok"
    assert "timed out" in rows["caption 7"][1]
    assert rows["caption 9"][:2] == ("missing", "failed_to_download: refused: no URL")

    before, server.is_mended = Counter(server.requests), True
    result = run(path, tmp_path / "images", config)
    assert (result.num_ok, result.num_failed, result.num_transient) == (5, 5, 0)
    assert Counter(server.requests) - before == Counter({"/flaky/1": 1, "/slow/1": 1})
    again = rows_of(tmp_path / "images")
    assert {caption for caption, row in again.items() if row != rows[caption]} == {"caption 2", "caption 7"}
    assert again["caption 2"][0] == again["caption 7"][0] == "ok"

    before = Counter(server.requests)
    assert run(path, tmp_path / "images", config) == result
    assert Counter(server.requests) == before


def test_what_failed_for_a_passing_reason_is_tried_again_at_once_where_that_is_asked_for(server, config, tmp_path):
    path = write_list(tmp_path / "urls.parquet", [f"{server.url}/flaky/{i}" for i in range(5)])
    result = run(path, tmp_path / "images", config.model_copy(update={"retries": 2}))
    assert (result.num_ok, result.num_transient) == (5, 0)
    assert set(server.requests.values()) == {2}


def test_rows_that_img2dataset_loses_are_found(server, config, tmp_path):
    urls = [f"{server.url}/ok/{i}" for i in range(4)]
    path = write_list(tmp_path / "urls.parquet", urls, ["a", "lose me", "c", "d"])
    result = run(path, tmp_path / "images", config)
    assert (result.num_rows, result.num_ok, result.num_transient) == (4, 3, 1)
    assert rows_of(tmp_path / "images")["lose me"][:2] == (
        "missing", "failed_to_download: lost by img2dataset: it lists no such row"
    )  # fmt: skip


def test_files_added_to_the_list_are_taken_in_and_changed_ones_refused(server, config, tmp_path):
    folder = tmp_path / "list"
    folder.mkdir()
    write_list(folder / "a.parquet", [f"{server.url}/ok/1"], ["one"])
    run(folder, tmp_path / "images", config)
    write_list(folder / "b.parquet", [f"{server.url}/ok/2", f"{server.url}/flaky/2"], ["two", "three"])
    result = run(folder, tmp_path / "images", config)
    assert (result.num_rows, result.num_ok, result.num_transient) == (3, 2, 1)
    assert server.requests["/ok/1"] == 1
    assert set(rows_of(tmp_path / "images")) == {"one", "two", "three"}
    write_list(folder / "a.parquet", [f"{server.url}/ok/9"], ["another"])
    with pytest.raises(SourceError, match=r"a\.parquet of the list .* was changed or removed"):
        run(folder, tmp_path / "images", config)


def test_a_folder_belongs_to_one_list_and_one_size(server, config, tmp_path):
    path = write_list(tmp_path / "urls.parquet", [f"{server.url}/ok/1"])
    run(path, tmp_path / "images", config)
    other = write_list(tmp_path / "other.parquet", [f"{server.url}/ok/1"])
    with pytest.raises(SourceError, match="was downloaded with the list"):
        run(other, tmp_path / "images", config)
    with pytest.raises(SourceError, match="was downloaded with the image_size 384, not 256"):
        run(path, tmp_path / "images", config.model_copy(update={"image_size": 256}))
    (tmp_path / "images" / "download.json").write_text("{")
    with pytest.raises(SourceError, match=r"download\.json cannot be used"):
        run(path, tmp_path / "images", config)


def test_an_interpreter_without_img2dataset_is_told_what_to_do(server, config, tmp_path):
    path = write_list(tmp_path / "urls.parquet", [f"{server.url}/ok/1"])
    bare = config.model_copy(update={"python": sys.executable})
    with pytest.raises(SourceError, match=r"has no img2dataset that works: ModuleNotFoundError(.|\n)*--img2dataset"):
        run(path, tmp_path / "images", bare)
    with pytest.raises(SourceError, match="cannot be run: No such file"):
        run(path, tmp_path / "images", config.model_copy(update={"python": str(tmp_path / "nowhere")}))
    assert not server.requests
    assert run(path, tmp_path / "images", config).num_ok == 1


def test_two_downloads_into_one_folder_do_not_mix(server, config, tmp_path):
    import fcntl

    path = write_list(tmp_path / "urls.parquet", [f"{server.url}/ok/1"])
    (tmp_path / "images").mkdir()
    with (tmp_path / "images" / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(LockedError):
            run(path, tmp_path / "images", config)


SCRIPT = """
import sys
from pathlib import Path
from scanner.core.download_config import DownloadConfig
from scanner.core.progress import Progress
from scanner.download.stage import Download
config = DownloadConfig.model_validate_json(sys.argv[3])
Download(sys.argv[1], Path(sys.argv[2]), config, Progress(quiet=True)).run()
"""


def test_a_killed_download_goes_on_and_leaves_no_process_behind(server, config, tmp_path):
    path = write_list(tmp_path / "urls.parquet", [*(f"{server.url}/ok/{i}" for i in range(1500)), f"{server.url}/slow/1"])
    folder = tmp_path / "images"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(path), str(folder), config.model_dump_json()])
    wait_for(lambda: (folder / "images" / "000000_stats.json").is_file() and (folder / "images" / "000001.tar").is_file())
    children = descendants(process.pid)
    assert len(children) >= 2  # the proxy and img2dataset
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(is_running(child) for child in children))
    first = (folder / "images" / "000000.tar").stat().st_mtime_ns
    num_before = server.requests["/ok/3"]
    result = run(path, folder, config)
    assert (result.num_rows, result.num_ok, result.num_transient) == (1501, 1500, 1)
    assert (folder / "images" / "000000.tar").stat().st_mtime_ns == first
    assert server.requests["/ok/3"] == num_before == 1
    assert len(rows_of(folder)) == 1501


def test_a_crash_between_a_retry_and_its_settling_loses_and_repeats_nothing(server, config, tmp_path, monkeypatch):
    path = write_list(tmp_path / "urls.parquet", urls_with_faults(server))
    run(path, tmp_path / "images", config)
    server.is_mended = True
    with monkeypatch.context() as patch:
        patch.setattr(Download, "_settle", crash_once_there_is_a_retry)
        with pytest.raises(KeyboardInterrupt):
            run(path, tmp_path / "images", config)
    state = json.loads((tmp_path / "images" / "download.json").read_text())
    assert [a_pass["is_retry"] for a_pass in state["passes"]] == [False, True]
    result = run(path, tmp_path / "images", config)
    assert (result.num_rows, result.num_ok, result.num_failed, result.num_transient) == (10, 5, 5, 0)
    assert len(rows_of(tmp_path / "images")) == 10


def test_lists_that_a_stopped_run_left_half_written_are_not_downloaded(server, config, tmp_path):
    path = write_list(tmp_path / "urls.parquet", [f"{server.url}/ok/1"])
    (tmp_path / "images" / "lists").mkdir(parents=True)
    write_list(tmp_path / "images" / "lists" / "0000-00000.parquet", [f"{server.url}/ok/9"])
    assert run(path, tmp_path / "images", config).num_rows == 1
    assert server.requests == {"/ok/1": 1}


def crash_once_there_is_a_retry(_, state):
    if state.passes[-1].is_retry:
        raise KeyboardInterrupt


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    """Of a process, by /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [pid]
    for parent in found:
        found += [child for child, its_parent in parents.items() if its_parent == parent]
    return found[1:]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (OSError, ProcessLookupError):
        return False
