"""Part 6, line 1: a list of URLs becomes risk tables, by the real img2dataset and a web server of faults."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from download.test_proxy import listener
from download.web import web

import scanner

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]

NUM_URLS = 2000
COUNTS = {"missing": 100, "slow": 40, "page": 20, "private": 20}
NUM_COPIES = 200
"""Of one picture, under URLs of their own."""


@pytest.fixture(scope="session")
def img2dataset(tmp_path_factory):
    """An interpreter with img2dataset; ``SCANNER_IMG2DATASET`` names one that is there."""
    given = os.environ.get("SCANNER_IMG2DATASET")
    if given:
        return given
    folder = tmp_path_factory.mktemp("download")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", "setuptools<81", "img2dataset>=1.47"], check=True)
    return str(python)


def kinds() -> list[str]:
    """What each URL is, spread over the list."""
    wanted = [kind for kind, count in COUNTS.items() for _ in range(count)]
    step = NUM_URLS // len(wanted)
    found = ["ok"] * NUM_URLS
    for i, kind in enumerate(wanted):
        found[i * step + 3] = kind
    return found


def test_a_list_of_urls_becomes_risk_tables(tmp_path, img2dataset):
    with web() as server, listener() as (secret, connections):
        urls, wanted = [], kinds()
        num_ok = 0
        for i, kind in enumerate(wanted):
            if kind == "private":
                urls.append(f"{server.url}/to?url=http://{[secret, '10.0.0.1', '169.254.169.254', '[::1]:22'][i % 4]}/{i}")
            elif kind == "ok":
                num_ok += 1
                urls.append(f"{server.url}/ok/{0 if num_ok <= NUM_COPIES else i}?{i}")
            else:
                urls.append(f"{server.url}/{kind}/{i}")
        captions = [f"picture number {i}" for i in range(NUM_URLS)]
        table = pa.table({"URL": urls, "TEXT": captions, "similarity": [0.3] * NUM_URLS, "SAMPLE_ID": list(range(NUM_URLS))})
        pq.write_table(table, tmp_path / "urls.parquet")
        config = tmp_path / "config.yaml"
        config.write_text("download: {timeout_s: 3, total_timeout_s: 20, retries: 1, retry_pause_s: 1}\n")
        command = [
            sys.executable, "-m", "scanner.cli.main", "scan", str(tmp_path / "urls.parquet"), "--out", str(tmp_path / "run"),
            "--config", str(config), "--encoder", "small", "--img2dataset", img2dataset, "--allow-address", server.address,
        ]  # fmt: skip
        subprocess.run(command, check=True, cwd=tmp_path)

        run = scanner.open(str(tmp_path / "run"))
        rows = run.sql("SELECT caption, url, status, error_message FROM images").fetchall()
        assert len(rows) == NUM_URLS
        found = {int(caption.split()[-1]): (status, message) for caption, _, status, message in rows}
        assert len(found) == NUM_URLS
        assert {int(caption.split()[-1]): url for caption, url, *_ in rows} == dict(enumerate(urls))
        for i, kind in enumerate(wanted):
            status, message = found[i]
            if kind == "ok":
                assert (status, message) == ("ok", None), found[i]
            elif kind == "missing":
                assert (status, message) == ("missing", "failed_to_download: HTTP Error 404: Not Found")
            elif kind == "slow":
                assert status == "missing"
                assert "timed out" in message
            elif kind == "page":
                assert status == "unreadable"
                assert message.startswith("failed_to_resize: ")
            else:
                assert status == "missing"
                assert "refused: " in message
        assert not connections, "something connected to what is no public address"
        # Everything was asked for once, what did not answer twice.
        asked = Counter(server.requests)
        assert {asked[f"/slow/{i}"] for i, kind in enumerate(wanted) if kind == "slow"} == {2}
        assert {asked[f"/missing/{i}"] for i, kind in enumerate(wanted) if kind == "missing"} == {1}

        top = run.sql("SELECT num_images FROM group_risk ORDER BY risk_rank LIMIT 1").fetchall()
        assert top == [(NUM_COPIES,)]

        server.is_mended = True
        subprocess.run(command, check=True, cwd=tmp_path)
        more = Counter(server.requests) - asked
        assert more == Counter({f"/slow/{i}": 1 for i, kind in enumerate(wanted) if kind == "slow"})
        rows = scanner.open(str(tmp_path / "run")).sql("SELECT caption, status FROM images").fetchall()
        assert Counter(status for _, status in rows) == {"ok": NUM_URLS - 140, "missing": 120, "unreadable": 20}
        assert len({caption for caption, _ in rows}) == NUM_URLS
        assert not connections

        asked = Counter(server.requests)
        subprocess.run(command, check=True, cwd=tmp_path)
        assert Counter(server.requests) == asked
