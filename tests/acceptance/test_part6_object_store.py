"""Part 6, object stores: what parts 1 and 3 had to show, on a real S3 server that also fails, is slow and cuts its answers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from faulty_proxy import FAULTS, faulty
from object_store import BUCKET, SECRET_KEY
from serving import serving as serving_pages
from store_runs import call, kill_at, make_all, parts_of, start, tables_of

import scanner as package
from scanner.core.lock import LOCK_FILE
from scanner.core.store import COMMIT_FILE, Store
from scanner.lab.planted import make_planted
from scanner.pipelines.scan import open_sources, run_config

SEED = 606
SHARD_ROWS, NUM_SHARDS = 40, 8
OPTIONS = ("--encoder", "pixels", "--part-rows", 30, "--workers", 2, "-q")
RATES = {"busy": 0.006, "broken": 0.006, "slow": 0.006, "reset": 0.004, "cut": 0.01, "short": 0.01, "lost": 0.03}
TIMEOUT_S = 600.0


@pytest.fixture
def proxy(s3):
    with faulty(s3.port, seed=SEED) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def tars(tmp_path_factory) -> Path:
    planted = make_planted(
        str(tmp_path_factory.mktemp("planted")), num_images=SHARD_ROWS * NUM_SHARDS, seed=SEED, shard_rows=SHARD_ROWS
    )
    return Path(planted.source_url)


@pytest.fixture(scope="module")
def remote_tars(s3, tars) -> str:
    return s3.upload(tars, f"planted/{tars.name}")


@pytest.fixture(scope="module")
def expected(tars, tmp_path_factory) -> dict[str, list]:
    """Tables of a scan of the local copy into a local folder."""
    run = tmp_path_factory.mktemp("local") / "run"
    call("scan", tars, "--out", run, *OPTIONS)
    found = tables_of(run)
    assert len(found["groups"]) > 50
    assert len(found["shards"]) == NUM_SHARDS
    return found


@pytest.fixture(scope="module")
def forms(tars, tmp_path_factory) -> dict[str, Path]:
    return make_all(tars, tmp_path_factory.mktemp("forms"))


@pytest.mark.parametrize("form", ["folder", "tars", "hf", "plain"])
def test_every_format_gives_the_tables_of_its_local_copy_through_faults(form, forms, s3, proxy, tmp_path):
    source = s3.upload(forms[form], f"forms/{form}/set")
    call("scan", forms[form], "--out", tmp_path / "run", *OPTIONS)
    proxy.rates = RATES
    start = time.monotonic()
    call("scan", source, "--out", f"{s3.url}/forms-runs/{form}", *OPTIONS, env=s3.environment(proxy.endpoint))
    print(f"\n{form}: {len(proxy.requests)} requests, {time.monotonic() - start:.0f} s, faults: {dict(proxy.injected)}")
    local = tables_of(tmp_path / "run")
    statuses = [row["status"] for row in local["images"]]
    # The three that were spoilt, and an oddity that the planted set has of its own.
    assert statuses.count("unreadable") >= 3
    assert statuses.count("ok") >= 145
    assert len(statuses) == 150
    assert tables_of(f"{s3.url}/forms-runs/{form}") == local
    assert sum(proxy.injected.values()) >= 5


def test_all_kinds_of_faults_change_nothing(s3, proxy, remote_tars, expected):
    run = f"{s3.url}/runs/faults"
    proxy.rates = {name: 1.5 * rate for name, rate in RATES.items()}
    start = time.monotonic()
    call("scan", remote_tars, "--out", run, *OPTIONS, env=s3.environment(proxy.endpoint))
    print(f"\n{len(proxy.requests)} requests, {time.monotonic() - start:.0f} s, faults: {dict(proxy.injected)}")
    assert set(proxy.injected) == set(FAULTS)
    assert tables_of(run) == expected
    # One PUT an object but for those that failed; the commit files last of their tables; nothing but objects of the run.
    writes = [path.partition("?")[0] for method, path in proxy.requests if method == "PUT"]
    assert all(method in ("GET", "HEAD", "PUT", "DELETE") for method, _ in proxy.requests), "no copy and no multipart upload"
    for table in ("images", "embeddings", "groups"):
        last = max(i for i, path in enumerate(writes) if f"/{table}/part-" in path)
        assert any(f"/{table}/{COMMIT_FILE}" in path for path in writes[last + 1 :]), table
    names = [name.removeprefix(f"{BUCKET}/runs/faults/") for name in s3.fs().find(f"{BUCKET}/runs/faults")]
    assert LOCK_FILE not in names
    assert all("/" in name or name in ("run.yaml", "summary.json", "report.html") for name in names), names


def test_kills_change_nothing(s3, proxy, tars, remote_tars, tmp_path):
    """At seeded moments of every stage, and with half of an object sent, the store failing now and then as well."""
    env = s3.environment(proxy.endpoint)
    local = start(str(tars), str(tmp_path / "run"), "never", env)
    assert local.wait(TIMEOUT_S) == 0, local.stderr.read()
    tables = tables_of(tmp_path / "run")
    undisturbed = start(remote_tars, f"{s3.url}/kills/undisturbed", "never", env)
    out, said = undisturbed.communicate(timeout=TIMEOUT_S)
    assert undisturbed.returncode == 0, said
    assert tables_of(f"{s3.url}/kills/undisturbed") == tables
    took = {name: float(seconds) for name, seconds in (line.split() for line in out.splitlines())}
    num_puts = sum(method == "PUT" for method, _ in proxy.requests)
    rng = random.Random(SEED)
    stages = [f"stage:{name}:{rng.uniform(0.1, 0.9) * took[name]:.3f}" for name in ("embed", "embed", "neighbors", "report")]
    puts = [rng.randint(3, num_puts // 3), rng.randint(num_puts // 3, num_puts // 2), rng.randint(num_puts // 2, num_puts - 3)]
    proxy.rates = {name: 0.3 * rate for name, rate in RATES.items()}
    for moment in [*stages, *puts]:
        run = f"{s3.url}/kills/{str(moment).replace(':', '-')}"
        process: list[subprocess.Popen] = []
        if isinstance(moment, int):
            kill_at(proxy, moment, process)
        process.append(start(remote_tars, run, moment if isinstance(moment, str) else "never", env))
        _, said = process[0].communicate(timeout=TIMEOUT_S)
        proxy.before = lambda method, path: None
        assert process[0].returncode == -signal.SIGKILL, f"{moment}: ended with {process[0].returncode}: {said[-1500:]}"
        finished = parts_of(s3, run)
        again = start(remote_tars, run, "never", env)
        _, said = again.communicate(timeout=TIMEOUT_S)
        assert again.returncode == 0, f"{moment}: {said[-3000:]}"
        kept = parts_of(s3, run)
        assert {name: kept[name] for name in finished} == finished, f"{moment}: a finished part was written again"
        assert tables_of(run) == tables, f"{moment}: the tables differ"
        left = [path for path in Store(run).unlisted() if "/shards/" not in path]
        assert left == [], f"{moment}: {left}"
        print(f"\n{moment}: {len(finished)} parts were finished, {len(kept) - len(finished)} made after, tables equal")


def test_half_of_a_large_upload_is_nothing(s3, proxy):
    """What is too large for one PUT goes up in pieces; killed among them, no reader sees any of it."""
    write = "Store(os.environ['RUN']).put(os.urandom(120 << 20), 'images', 'part-big')"
    code = f"import os; from scanner.core.store import Store; {write}"
    process: list[subprocess.Popen] = []
    pieces = []

    def before(method: str, path: str) -> None:
        if method == "PUT" and "partNumber=" in path:
            pieces.append(path)
            if len(pieces) == 2:
                os.kill(process[0].pid, signal.SIGKILL)

    proxy.before = before
    env = {**os.environ, **s3.environment(proxy.endpoint), "RUN": f"{s3.url}/large"}
    process.append(subprocess.Popen([sys.executable, "-c", code], env=env))
    assert process[0].wait(TIMEOUT_S) == -signal.SIGKILL
    store = Store(f"{s3.url}/large")
    assert not store.fs.exists(store.path("images", "part-big"))
    assert store.unlisted() == []
    proxy.before = lambda method, path: None
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=TIMEOUT_S)
    assert store.fs.info(store.path("images", "part-big"))["size"] == 120 << 20


@pytest.mark.parametrize("search", ["join", "cells", "faiss-flat"])
def test_searches_and_their_audit_are_those_of_the_local_run(search, s3, tars, remote_tars, tmp_path):
    options = ("--search", search, "--pairs", "all", *OPTIONS)
    call("scan", tars, "--out", tmp_path / "run", *options, "--scratch", tmp_path)
    call("scan", remote_tars, "--out", f"{s3.url}/searches/{search}", *options, "--scratch", tmp_path)
    local = tables_of(tmp_path / "run")
    assert len(local["pairs"]) > 50
    assert tables_of(f"{s3.url}/searches/{search}") == local


def test_a_set_that_grows_in_the_store_is_one_scan(s3, tars, expected):
    fs, run = s3.fs(), f"{s3.url}/grown-run"
    names = sorted(tars.glob("*.tar"))
    place = f"{BUCKET}/grown/{tars.name}"
    for tar in names[: NUM_SHARDS // 2]:
        fs.pipe_file(f"{place}/{tar.name}", tar.read_bytes())
    call("scan", f"s3://{place}", "--out", run, *OPTIONS)
    before = {name: state for name, state in parts_of(s3, run).items() if "/images/" in name or "/embeddings/" in name}
    for tar in names[NUM_SHARDS // 2 :]:
        fs.pipe_file(f"{place}/{tar.name}", tar.read_bytes())
    call("scan", f"s3://{place}", "--out", run, *OPTIONS)
    after = parts_of(s3, run)
    assert {name: after[name] for name in before} == before
    # How much was compared is told by the audit and the thresholds of a whole search alone.
    whole = {name: rows for name, rows in expected.items() if name not in ("audit", "thresholds")}
    assert {name: rows for name, rows in tables_of(run).items() if name not in ("audit", "thresholds")} == whole
    said = call("scan", f"s3://{place}", "--out", run, *OPTIONS[:-1]).stdout
    assert "Nothing was recomputed" in said


@pytest.fixture(scope="module")
def both(s3, tars, remote_tars, tmp_path_factory) -> tuple[Path, str]:
    """One scan in a local folder, and the same in the store."""
    local, remote = tmp_path_factory.mktemp("both") / "run", f"{s3.url}/commands/run"
    call("scan", tars, "--out", local, *OPTIONS)
    call("scan", remote_tars, "--out", remote, *OPTIONS)
    return local, remote


@pytest.mark.parametrize(
    "arguments",
    [("query", "risk/top_captions"), ("query", "groups/top_groups", "--format", "csv"), ("query", "hygiene/shard_health"),
     ("sql", "select status, count(*) as n from images group by status order by all"),
     ("sql", "select max(list_sum(vec(embedding))) from embeddings")],
)  # fmt: skip
def test_questions_have_the_answers_of_the_local_run(arguments, both):
    local, remote = (call(arguments[0], run, *arguments[1:]).stdout for run in both)
    assert remote == local
    assert len(remote.splitlines()) >= 2


def test_other_commands_work_on_a_run_in_the_store(both, s3, tmp_path):
    remote = both[1]
    statuses = [[line.rpartition(",")[0] for line in call("status", run).stdout.splitlines() if "groups" in line] for run in both]
    assert statuses[0]
    assert statuses[1] == statuses[0]  # all but how long it took
    checks = [
        subprocess.run([sys.executable, "-m", "scanner.cli.main", "check", run], capture_output=True, check=False).returncode
        for run in map(str, both)
    ]
    assert checks[0] == checks[1]
    for run in both:
        call("report", run, "-q")
    pages = [Store(str(run)).get("report.html") for run in both]
    assert pages[1].count(b"data:image/jpeg") == pages[0].count(b"data:image/jpeg") > 10
    assert call("clean", remote).returncode == 0
    with package.open(remote) as run:
        assert run.sql("select count(*) from images").fetchall() == [(SHARD_ROWS * NUM_SHARDS,)]
    call("sql", remote, "--export", tmp_path / "risk.duckdb")
    assert (tmp_path / "risk.duckdb").stat().st_size > 1000


def test_an_export_into_the_store_is_the_local_one(both, s3, proxy, tmp_path):
    local, remote = both
    call("export", local, "--to", tmp_path / "clean", "--as", "ids,tars,hf", "-q")
    proxy.rates = RATES
    to = f"{s3.url}/clean"
    call("export", remote, "--to", to, "--as", "ids,tars,hf", "-q", env=s3.environment(proxy.endpoint))
    made = {str(p.relative_to(tmp_path / "clean")): p.read_bytes() for p in (tmp_path / "clean").rglob("*") if p.is_file()}
    fs = s3.fs()
    there = {name.removeprefix(f"{BUCKET}/clean/"): fs.cat_file(name) for name in fs.find(f"{BUCKET}/clean")}
    shown = [name for name in made if name.split("/")[0] in ("ids", "tars", "hf", "samples.parquet", "SHA256SUMS")]
    assert len(shown) > 6
    assert {name: there.get(name) for name in shown} == {name: made[name] for name in shown}
    assert LOCK_FILE not in there
    # And what was exported is a source again.
    call("scan", f"{to}/tars", "--out", f"{s3.url}/clean-run", *OPTIONS)


def test_serve_shows_a_run_in_the_store_with_its_pictures(both):
    store = Store(both[1])
    config = run_config(store)
    representative = store.read("groups", ["group_id"])["group_id"][0].as_py()
    with serving_pages(store, config, lambda: open_sources(config)) as client:
        assert client.get("").status == 200
        assert client.get("groups").status == 200
        picture = client.get("picture", id=representative)
        assert (picture.status, picture.headers["content-type"]) == (200, "image/jpeg")


def test_a_shard_that_cannot_be_had_is_said_and_tried_again(s3, proxy, remote_tars, expected):
    """Refused, or failing at every try while the store answers: a broken shard and no gap; the next scan takes it in."""
    run, env = f"{s3.url}/runs/refused", s3.environment(proxy.endpoint, AWS_MAX_ATTEMPTS="1")
    proxy.always = lambda method, path: (
        "forbidden" if method == "GET" and "00002.tar" in path else "broken" if method == "GET" and "00005.tar" in path else None
    )
    done = call("scan", remote_tars, "--out", run, *OPTIONS[:-1], env=env)
    assert "could not be fetched" in done.stderr + done.stdout
    shards = {row["url"]: row for row in tables_of(run)["shards"]}
    assert [url for url, row in shards.items() if row["status"] == "broken"] == ["00002.tar", "00005.tar"]
    assert all("could not be fetched" in shards[url]["error_message"] for url in ("00002.tar", "00005.tar"))
    assert SECRET_KEY not in done.stderr + done.stdout
    proxy.always = lambda method, path: None
    call("scan", remote_tars, "--out", run, *OPTIONS, env=env)
    rows = tables_of(run)
    current = {row["url"]: row["num_rows"] for row in rows["shards"] if row["status"] == "current"}
    assert current == {row["url"]: row["num_rows"] for row in expected["shards"]}
    assert sorted(row["sha256"] for row in rows["images"]) == sorted(row["sha256"] for row in expected["images"])
    assert len({row["group_id"] for row in rows["groups"]}) == len({row["group_id"] for row in expected["groups"]})


def test_a_store_that_does_not_answer_ends_the_scan_with_what_to_do(s3, remote_tars, tmp_path):
    with faulty(s3.port) as gone:
        env = s3.environment(gone.endpoint, AWS_MAX_ATTEMPTS="1")
    begin = time.monotonic()
    done = call("scan", remote_tars, "--out", tmp_path / "run", *OPTIONS, env=env, code=2)
    print(f"\nafter {time.monotonic() - begin:.0f} s: {done.stderr}")
    assert "cannot be reached" in done.stderr
    assert "AWS_ENDPOINT_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_that_goes_away_amid_a_scan_leaves_what_is_finished(s3, proxy, remote_tars, expected):
    run, env = f"{s3.url}/runs/outage", s3.environment(proxy.endpoint, AWS_MAX_ATTEMPTS="1")
    proxy.always = lambda method, path: (
        "broken" if sum("/images/part-" in p for m, p in list(proxy.requests) if m == "PUT") >= 3 else None
    )
    done = call("scan", remote_tars, "--out", run, *OPTIONS, env=env, code=2)
    assert "Traceback" not in done.stderr
    finished = parts_of(s3, run)
    assert any("/images/" in name for name in finished)
    proxy.always = lambda method, path: None
    call("scan", remote_tars, "--out", run, *OPTIONS, env=env)
    kept = parts_of(s3, run)
    assert {name: kept[name] for name in finished} == finished
    assert tables_of(run) == expected


def test_two_scans_of_one_run_do_not_mix(s3, proxy, remote_tars):
    run, env = f"{s3.url}/runs/locked", s3.environment(proxy.endpoint)
    taken = threading.Event()
    proxy.before = lambda method, path: taken.set() if method == "PUT" and "/run.yaml" in path else None
    first = start(remote_tars, run, "never", env)
    assert taken.wait(60)
    second = call("scan", remote_tars, "--out", run, *OPTIONS, code=2)
    assert f"process {first.pid}" in second.stderr
    _, said = first.communicate(timeout=TIMEOUT_S)
    assert first.returncode == 0, said


def test_credentials_are_nowhere(both, s3, remote_tars, tmp_path):
    call("export", both[1], "--to", f"{s3.url}/secret-export", "--as", "ids", "-q")
    fs = s3.fs()
    for name in [*fs.find(f"{BUCKET}/commands"), *fs.find(f"{BUCKET}/secret-export")]:
        data = fs.cat_file(name)
        assert SECRET_KEY.encode() not in data, name
        assert os.environ["AWS_ACCESS_KEY_ID"].encode() not in data, name
    wrong = call("scan", remote_tars, "--out", tmp_path / "run", env=s3.environment(AWS_SECRET_ACCESS_KEY="wrong-secret"), code=2)
    assert "wrong-secret" not in wrong.stderr
    assert "AWS_SECRET_ACCESS_KEY" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    url = f"s3://me:{SECRET_KEY}@{BUCKET}/planted"
    for arguments in (("scan", url, "--out", tmp_path / "r", *OPTIONS, "--format", "folder"), ("status", url)):
        refused = call(*arguments, code=2)
        assert "password" in refused.stderr
        assert SECRET_KEY not in refused.stderr + refused.stdout
    assert not (tmp_path / "r").exists()
