from __future__ import annotations

from datetime import date
from typing import get_args

import pytest
from gate.making import build, write

from scanner.core.errors import ConfigError, StoreError
from scanner.core.store import Store
from scanner.gate.check import check
from scanner.gate.policy import Policy, Rule, load_policy
from scanner.gate.results import EXIT_CODES, SAID, Outcome
from scanner.gate.waivers import Waiver

TODAY = date(2026, 6, 15)


def ask(store: Store, *waivers: dict, limit: int = 20, today: date = TODAY, rules: dict | None = None, **changes: object):
    """A check of one rule, ``x``: large groups at most of two images."""
    rule = Rule.model_validate({"query": "hygiene/large_groups", "params": {"max_images": 2}, **changes})
    made = tuple(Waiver.model_validate({"rule": "x", "reason": "known", "expires": "2026-12-31", **one}) for one in waivers)
    policy = Policy(name="own", description="", rules={"x": rule, **(rules or {})}, waivers=made)
    return check(store, policy, today=today, limit=limit)


def rule_of(result, name: str = "x"):
    return next(rule for rule in result.rules if rule.name == name)


def test_no_row_passes_and_a_row_violates(store):
    passed = ask(store, params={"max_images": 3})
    assert (passed.outcome, passed.exit_code, rule_of(passed).outcome) == ("pass", 0, "pass")
    failed = ask(store)
    assert (failed.outcome, failed.exit_code) == ("violated", 1)
    (row,) = rule_of(failed).rows
    assert (row["group_id"], row["num_images"], row["commonest_caption"]) == (0, 3, "a boat")


def test_a_warning_is_told_and_decides_nothing(store):
    result = ask(store, severity="warning")
    assert (result.exit_code, rule_of(result).outcome, rule_of(result).is_failing) == (0, "violated", False)
    assert "told only: x" in result.line()


def test_a_rule_that_is_off_is_not_asked(store):
    result = ask(store, enabled=False)
    assert (result.exit_code, rule_of(result).outcome, rule_of(result).num_violators) == (0, "off", 0)


def test_all_violators_are_counted_and_some_are_shown(store):
    result = rule_of(ask(store, query="hygiene/likely_memorized", params={"max_images": 1}, limit=0))
    assert (result.num_violators, result.rows, result.is_truncated) == (1, (), True)
    many = [{"group_id": g, "caption_hash": g, "caption": f"c{g}", "num_images": 9} for g in range(40_000)]
    write(store, "group_captions", many)
    write(store, "group_risk", [{"group_id": g, "class": "picture", "num_images": 9} for g in range(40_000)])
    result = rule_of(ask(store, {"where": {"group_id": [7, 39_999]}}, query="hygiene/likely_memorized", params={"max_images": 1}))
    assert (result.num_violators, result.num_waived, len(result.rows), result.is_truncated) == (39_998, 2, 20, True)
    assert result.command("a run") == (
        "scanner query 'a run' hygiene/likely_memorized --param max_images=1 --param limit=40000"
    ), "all of them, and not only the first thousand"


MISSING = {
    "hygiene/low_recall": "audit", "hygiene/large_groups": "group_risk", "hygiene/blank_share": "group_evidence",
    "hygiene/redundant_share": "groups", "hygiene/confirmed_extractions": "extractions",
    "hygiene/leaked_images": "leaks", "hygiene/incomplete_comparisons": "comparisons",
}  # fmt: skip


@pytest.mark.parametrize("query", MISSING)
def test_a_table_that_is_missing_could_not_tell(store, query):
    table = MISSING[query]
    if store.fs.exists(store.path(table)):
        store.fs.rm(store.path(table), recursive=True)
    result = ask(store, query=query, params={})
    assert (result.outcome, result.exit_code, rule_of(result).outcome) == ("unknown", 2, "unknown")
    assert f"reads table {table}" in rule_of(result).reason


def test_what_nobody_looked_at_could_not_tell(store):
    leaked = {"query": "hygiene/leaked_images", "params": {"role": "takedown"}}
    write(store, "comparisons", [{"other": "bench", "role": "eval", "form": "run", "num_left": 9, "num_right": 4}])
    write(store, "leaks", [])
    assert ask(store, **leaked).exit_code == 2, "a comparison of another role says nothing"
    assert "no set of role takedown was compared" in rule_of(ask(store, **leaked)).reason
    comparisons = [
        {"other": "bench", "role": "eval", "form": "run", "num_left": 9, "num_right": 4},
        {"other": "gone", "role": "takedown", "form": "run", "num_left": 9, "num_right": 4},
    ]
    write(store, "comparisons", comparisons)
    assert ask(store, **leaked).exit_code == 0
    leak = {"left_id": 3, "right_dataset": "gone", "right_id": 1, "right_key": "r", "role": "takedown", "kind": "near"}
    write(store, "leaks", [leak])
    assert ask(store, **leaked).exit_code == 1
    assert ask(store, query="hygiene/leaked_images", params={"role": "eval"}).exit_code == 0
    extractions = {"query": "hygiene/confirmed_extractions", "params": {"model": "b"}}
    write(store, "prompts", [])
    write(store, "extractions", [{"model_id": "aa", "prompt_id": 1, "verdict": "extracted"}])
    assert "none of model b" in rule_of(ask(store, **extractions)).reason
    assert ask(store, query="hygiene/confirmed_extractions", params={}).exit_code == 1
    write(store, "audit", [])
    assert "not audited" in rule_of(ask(store, query="hygiene/low_recall", params={})).reason


def test_what_is_not_required_is_told_only(store):
    leaked = {"query": "hygiene/leaked_images", "params": {"role": "takedown"}}
    result = ask(store, **leaked, required=False)
    assert (result.exit_code, rule_of(result).outcome) == (0, "unknown")
    assert ask(store, **leaked, severity="warning").exit_code == 0


def test_what_is_violated_wins_over_what_could_not_be_told(store):
    unknown = Rule(query="hygiene/leaked_images")
    result = ask(store, rules={"y": unknown})
    assert (rule_of(result, "y").outcome, result.outcome, result.exit_code) == ("unknown", "violated", 1)
    assert ask(store, rules={"y": unknown}, params={"max_images": 3}).exit_code == 2


@pytest.mark.parametrize("run", [{}, {"is_finished": False}, {"is_finished": "yes"}])
def test_a_run_that_did_not_come_to_its_end_is_not_judged(store, run):
    store.write_run({"config": {}, **run})
    result = ask(store)
    assert (result.exit_code, rule_of(result).outcome, rule_of(result).num_violators) == (2, "unknown", 0)
    assert "run the same scan again" in rule_of(result).reason


@pytest.mark.parametrize("content", [b"no parquet", None])
def test_a_run_whose_part_is_damaged_or_gone_is_an_error(store, content):
    (path,) = store.part_paths("group_risk")
    store.fs.rm(path)
    if content is not None:
        store.fs.pipe_file(path, content)
    with pytest.raises(StoreError, match="group_risk") as error:
        ask(store)
    assert error.value.exit_code == 2


def test_a_waiver_lets_its_violators_pass_until_it_expires(store):
    waiver = {"where": {"group_id": [0, 99]}, "expires": "2026-06-15"}
    waived = ask(store, waiver)
    assert (waived.exit_code, rule_of(waived).outcome, rule_of(waived).num_waived) == (0, "waived", 1)
    (use,) = rule_of(waived).waivers
    assert (use.status, use.days_left, use.num_matched, use.is_used) == ("active", 0, 1, True)
    assert "last day" in use.line()
    expired = ask(store, waiver, today=date(2026, 6, 16))
    assert (expired.exit_code, rule_of(expired).outcome, rule_of(expired).num_violators) == (1, "violated", 1)
    (use,) = rule_of(expired).waivers
    assert (use.status, use.days_left, use.is_used) == ("expired", -1, True)
    assert "EXPIRED on 2026-06-15" in use.line()


def test_what_a_waiver_does_not_name_still_counts(store):
    two = {"params": {"max_images": 1}}
    result = rule_of(ask(store, {"where": {"group_id": 0}}, **two))
    assert (result.outcome, result.num_violators, result.num_waived) == ("violated", 1, 1)
    assert [row["group_id"] for row in result.rows] == [3]
    # All columns must fit; values are texts or numbers alike.
    assert rule_of(ask(store, {"where": {"group_id": "0", "dataset": "other"}}, **two)).num_waived == 0
    assert rule_of(ask(store, {"where": {"group_id": "0", "dataset": "web"}}, **two)).num_waived == 1
    assert rule_of(ask(store, {"where": {"commonest_caption": "a boat"}}, **two)).num_waived == 1
    assert rule_of(ask(store, {"where": {"commonest_caption": "A boat"}}, **two)).num_waived == 0
    both = rule_of(ask(store, {"where": {"group_id": 0}}, {"where": {"group_id": [0, 3]}}, **two))
    assert (both.outcome, both.num_waived, [use.num_matched for use in both.waivers]) == ("waived", 2, [1, 2])


def test_a_waiver_of_a_whole_rule(store):
    result = ask(store, {})
    assert (result.exit_code, rule_of(result).outcome, rule_of(result).num_waived) == (0, "waived", 1)
    unknown = ask(store, {}, query="hygiene/leaked_images", params={})
    assert (unknown.exit_code, rule_of(unknown).outcome) == (0, "waived")
    assert rule_of(unknown).waivers[0].is_used
    assert "could not tell" in rule_of(unknown).line()
    assert ask(store, {"expires": "2026-01-01"}, query="hygiene/leaked_images", params={}).exit_code == 2
    assert ask(store, {"where": {"image_id": 3}}, query="hygiene/leaked_images", params={}).exit_code == 2


def test_a_waiver_that_matches_nothing_is_told(store):
    for waiver in ({}, {"where": {"group_id": 99}}):
        result = ask(store, waiver, params={"max_images": 2 if waiver else 3})
        (use,) = rule_of(result).waivers
        assert not use.is_used
        assert "MATCHES NOTHING" in use.line()
    (use,) = rule_of(ask(store, {"where": {"group_id": 99}, "expires": "2026-01-01"})).waivers
    assert use.line().count("it can go") == 1


def test_a_waiver_of_a_column_that_is_not_there_is_an_error(store):
    with pytest.raises(ConfigError, match="'group_id'"):
        ask(store, {"where": {"grup_id": 0}})
    with pytest.raises(ConfigError, match="neither texts nor numbers"):
        ask(store, {"where": {"example_keys": 0}}, query="report/unusable_reasons", params={})


def test_every_outcome_has_a_word_and_every_answer_a_code():
    assert set(SAID) == set(get_args(Outcome))
    assert EXIT_CODES == {"pass": 0, "violated": 1, "unknown": 2}


LIMITS = {
    "set_size": ({"min_images": 9}, {"min_images": 10}),
    "unreadable": ({"max_share": 0.1}, {"max_share": 0.09}),
    "broken_shards": ({"max_shards": 1}, {"max_shards": 0}),
    "missing_captions": ({"max_share": 0.12}, {"max_share": 0.11}),
    "blanks": ({"max_share": 0.12}, {"max_share": 0.11}),
    "duplicate_count": ({"max_images": 3}, {"max_images": 2}),
    "memorized_captions": ({"max_images": 3}, {"max_images": 2}),
    "near_duplicates": ({"max_share": 0.34}, {"max_share": 0.33}),
    "caption_repetition": ({"max_images": 3}, {"max_images": 2}),
    "unverified": ({"max_share": 0.21}, {"max_share": 0.19}),
    "audit": ({"min_recall": 0.5}, {"min_recall": 0.51}),
    "eval_overlap": ({"max_share": 0.25}, {"max_share": 0.24}),
    "takedown_matches": ({"max_share": 0.5}, {"max_share": 0.49}),
    "comparisons": ({"max_share": 0.2}, {"max_share": 0.19}),
    "extractions": ({"max_prompts": 1}, {"max_prompts": 0}),
}
"""Of every rule of the default policy, limits at which it passes and at which it does not, for the run below."""


@pytest.fixture(scope="module")
def every_fault(tmp_path_factory):
    """A run with something of everything."""
    store = build(str(tmp_path_factory.mktemp("gate") / "run"))
    images = store.read("images").to_pylist()
    images[8] |= {"caption": None, "is_blank": True}
    write(store, "images", images)
    groups = store.read("groups").to_pylist()
    groups[4] |= {"kind": "unverified"}
    write(store, "groups", groups)
    shards = [
        {"shard_id": 0, "dataset": "web", "url": "a.tar"},
        {"shard_id": 1, "dataset": "web", "url": "b.tar", "status": "broken"},
    ]
    write(store, "shards", shards)
    audit = [{"measure": "neighbors", "band": "all", "num_pairs": 4, "recall": 0.5, "recall_low": 0.1, "recall_high": 0.9}]
    write(store, "audit", audit)
    write(store, "comparisons", [
        {"other": "bench", "role": "eval", "form": "run", "num_left": 9, "num_right": 4, "num_right_unusable": 1},
        {"other": "gone", "role": "takedown", "form": "hashes", "num_left": 9, "num_right": 2},
    ])  # fmt: skip
    write(store, "leaks", [
        {"left_id": 3, "right_dataset": "bench", "right_id": 1, "right_key": "r", "role": "eval", "kind": "near"},
        {"left_id": 5, "right_dataset": "gone", "right_id": 1, "right_key": "ffff", "role": "takedown", "kind": "unverified"},
    ])  # fmt: skip
    write(store, "prompts", [{"prompt_id": 1, "lane": "duplicate", "prompt": "a boat"}])
    write(store, "extractions", [{"model_id": "m", "prompt_id": 1, "verdict": "extracted", "image_id": 0}])
    return store


@pytest.mark.parametrize("name", load_policy("pretraining").rules)
def test_every_rule_of_the_default_passes_and_fails_by_its_limit(every_fault, name):
    rule = load_policy("pretraining").rules[name]
    for limits, outcome in zip(LIMITS[name], ("pass", "violated"), strict=True):
        changed = rule.model_copy(update={"params": {**rule.params, **limits}})
        result = check(every_fault, Policy(name="own", description="", rules={name: changed}), today=TODAY, limit=20)
        assert result.rules[0].outcome == outcome, (limits, result.rules[0].line())


def test_a_scan_that_begins_meanwhile_is_noticed(store, monkeypatch):
    finished = store.read_run()
    states = [finished, {"config": {}}]
    monkeypatch.setattr(Store, "read_run", lambda self: states.pop(0))
    with pytest.raises(StoreError, match="while it was judged"):
        ask(store)
