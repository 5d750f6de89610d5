"""Views of a run that is written meanwhile, queries that take too long, tables that are not there."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from served_run import HOSTILE, ids_of, picture
from serving import serving

from scanner.core.errors import QueryError
from scanner.core.progress import Progress
from scanner.core.sql import Query
from scanner.core.store import Store
from scanner.pipelines.scan import open_sources, scan
from scanner.report.serve import reader as module
from scanner.report.serve.params import RequestError
from scanner.report.serve.reader import Reader


def query(sql: str, *reads: str) -> Query:
    return Query(name="test/it", purpose="", grain="", reads=reads, parameters=(), example="", sql=sql)


def test_a_view_stays_as_it_is_and_the_next_is_of_the_new_tables(own, tmp_path):
    store, config = own
    reader = Reader(store, recheck_s=0.0)
    with reader.view() as old:
        before = old.rows("serve/images_page", text="", limit=100)
        (tmp_path / "set" / "new.png").write_bytes(picture(77))
        scan(store, config, Progress(quiet=True))
        assert old.rows("serve/images_page", text="", limit=100) == before
    with reader.view() as new:
        assert {row["key"] for row in new.rows("serve/images_page", text="", limit=100)} == {row["key"] for row in before} | {
            "new.png"
        }


def test_parts_that_go_while_they_are_read_are_asked_for_again(own, tmp_path):
    store, config = own
    reader, asked = Reader(store, recheck_s=1e9), []

    def ask(view):
        asked.append(view)
        if len(asked) == 1:
            (tmp_path / "set" / "new.png").write_bytes(picture(77))
            scan(store, config, Progress(quiet=True))
            store.remove(store.unlisted())
        return view.rows("report/overview")[0]["num_images"]

    assert reader.answer(ask) == 10
    assert len(asked) == 2


def test_a_part_that_is_simply_gone_is_no_endless_loop(own):
    store, _ = own
    reader = Reader(store, recheck_s=0.0)
    (path,) = store.part_paths("neighbors")
    store.remove([path])
    with pytest.raises((RequestError, QueryError)):
        reader.answer(lambda view: view.rows("serve/outliers_page"))


def test_what_takes_too_long_is_stopped_and_the_database_goes_on(run, monkeypatch):
    reader = Reader(run[0], timeout_s=0.5)
    slow = query("select count(*) from range(100000000) a, range(100000) b where a.range % 7 = b.range % 5")
    real = module.find_query
    monkeypatch.setattr(module, "find_query", lambda name: slow if name == "slow" else real(name))
    start = time.monotonic()
    with pytest.raises(RequestError, match=r"longer than 0\.5 seconds") as caught:
        reader.answer(lambda view: view.rows("slow"))
    assert caught.value.status == 503
    assert time.monotonic() - start < 20
    assert reader.answer(lambda view: view.rows("report/overview"))[0]["num_images"] == 9


def test_time_is_that_of_all_queries_of_a_view(run, monkeypatch):
    slow = query("select count(*) from range(20000000) a where hash(a.range) % 7 = 3")
    real = module.find_query
    monkeypatch.setattr(module, "find_query", lambda name: slow if name.startswith("slow") else real(name))
    monkeypatch.setattr(module, "KEPT_S", float("inf"))  # a first answer that took long would serve the other 999
    with pytest.raises(RequestError, match="was stopped"):
        Reader(run[0], timeout_s=0.3).answer(lambda view: [view.rows(f"slow{k}") for k in range(1000)])


def test_what_took_long_is_asked_once_for_the_same_parts(own, tmp_path, monkeypatch):
    store, config = own
    asked = []
    real = module.run_query
    monkeypatch.setattr(module, "run_query", lambda cursor, query, given: asked.append(query.name) or real(cursor, query, given))
    monkeypatch.setattr(module, "KEPT_S", 0.0)
    monkeypatch.setattr(module, "MAX_KEPT", 2)
    reader = Reader(store, recheck_s=0.0)

    def count() -> int:
        (row,) = reader.answer(lambda view: view.rows("report/overview"))
        return row.pop("num_images")

    assert (count(), count(), asked) == (9, 9, ["report/overview"]), "and nobody can change what is kept"
    (tmp_path / "set" / "new.png").write_bytes(picture(77))
    scan(store, config, Progress(quiet=True))
    assert (count(), len(asked)) == (10, 2)
    for limit in (1, 2):
        reader.answer(lambda view, limit=limit: view.rows("serve/outliers_page", limit=limit))
    assert (count(), len(asked)) == (10, 5), "two are kept"


def test_memory_is_one_for_all(run, monkeypatch):
    """Sixteen that together need more than there is: each has its answer or an error, none takes the machine."""
    reader = Reader(run[0], memory="200MB")
    big = query("select count(*) from (select distinct hash(range) as h from range(4000000))")
    real = module.find_query
    monkeypatch.setattr(module, "find_query", lambda name: big if name == "big" else real(name))

    def ask(_):
        try:
            return reader.answer(lambda view: view.rows("big"))[0]["count_star()"]
        except QueryError as error:
            return str(error)

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, range(16)))
    refused = [one for one in found if one != 4_000_000]
    assert all("Out of Memory" in str(one) for one in refused)


def test_queries_see_the_parts_and_nothing_else(run, monkeypatch, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    real = module.find_query
    for sql in (f"select * from '{tmp_path}/secret.csv'", "set memory_limit = '9GB'", f"copy (select 1) to '{tmp_path}/x.csv'"):
        monkeypatch.setattr(module, "find_query", lambda name, sql=sql: query(sql) if name == "bad" else real(name))
        with pytest.raises(QueryError):
            Reader(run[0]).answer(lambda view: view.rows("bad"))
    assert not (tmp_path / "x.csv").exists()


def test_an_unfinished_run_shows_what_there_is(tmp_path, run):
    _, config = run
    store = Store(str(tmp_path / "run"))
    store.write_run({"config": config.to_dict()})
    with serving(store, config, lambda: open_sources(config)) as client:
        answer = client.get("")
        assert answer.status == 200
        assert "The scan has not come to its end" in answer.page.text
        for path in ("groups", "captions", "images", "outliers", "unusable", "shards", "extractions", "leaks", "image?id=1"):
            answer = client.ask(path)
            assert answer.status == 404
            assert "This run has no table" in answer.page.text
        assert "scanner extract" in client.get("extractions").page.text
        assert client.get("alike").status == 200
        assert client.upload(picture(1)).status == 404


def test_pages_of_a_run_that_is_rewritten_again_and_again(own, tmp_path):
    """Scans that add and remove images and remove old parts at once, under eight readers: no error, every page a whole one."""
    store, config = own
    ids_before = ids_of(store)
    stop = threading.Event()
    statuses: list[int] = []

    def look(client, k: int) -> None:
        paths = ("", "groups", "captions", "images", "outliers", f"image?id={ids_before['a0.png']}", "shards", "alike?id=0")
        while not stop.is_set():
            answer = client.ask(paths[(k + len(statuses)) % len(paths)])
            assert answer.html.endswith("</html>")
            statuses.append(answer.status)

    with serving(store, config, lambda: open_sources(config)) as client, ThreadPoolExecutor(8) as threads:
        looking = [threads.submit(look, client, k) for k in range(8)]
        try:
            for k in range(3):
                (tmp_path / "set" / f"new{k}.png").write_bytes(picture(70 + k))
                (tmp_path / "set" / f"new{k}.txt").write_text(HOSTILE)
                scan(store, config, Progress(quiet=True))
                store.remove(store.unlisted())
        finally:
            stop.set()
        for one in looking:
            one.result(60)
        newest = ids_of(store)["new2.png"]
        time.sleep(1.1)
        answer = client.get("picture", id=newest)
        assert answer.headers["content-type"] == "image/jpeg", answer.body
        assert Image.open
    assert len(statuses) > 20
    assert set(statuses) <= {200, 404}, "404: an id of a shard that was superseded"
