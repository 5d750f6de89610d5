"""Part 5, must show 1: the gate on a planted and on a real set: every rule passes and fails, the three exit codes of the command,
JUnit opened by a parser, a waiver that expires, and the workflow of the docs, step by step."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pictures import draw, encoded, sample, write_tar

from scanner.core.schemas import TABLES, arrow_schema
from scanner.core.store import Store
from scanner.gate.policy import load_policy
from scanner.lab.planted import open_planted

NUM_IMAGES, SEED = 1_500, 515_001
HOSTILE = "<b>&]]> \x1b[2J ##[error] | `x`\n::error::boo"
EPSILON = 1e-9
DOCS = Path(__file__).parents[2] / "docs"


@dataclass
class Judged:
    """A scanned set, and limits of every rule at which it passes and just does not."""

    name: str
    run: Path
    source: Path
    limits: dict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)


def write(store: Store, table: str, rows: list[dict]) -> None:
    blanks = {"int64": 0, "float32": 0.0, "float64": 0.0, "string": "", "bool": False}
    blank = {c.name: None if c.is_nullable else blanks[c.type] for c in TABLES[table].columns}
    content = pa.Table.from_pylist([{**blank, **row} for row in rows], schema=arrow_schema(table))
    store.write_table(table, content, fingerprint="a" * 64, part_rows=1000)


def add_faults(folder: Path) -> None:
    """A tar with images without captions, one with hostile ones and a broken file, and a tar that ends early."""
    members = [piece for i in range(4) for piece in sample(f"bare{i}", encoded(draw(9000 + i)))]
    members += [piece for i in range(6) for piece in sample(f"hostile{i}", encoded(draw(9100)), HOSTILE)]
    members += sample("cut", encoded(draw(9200))[:100], "a broken file")
    write_tar(folder / "zz-faults.tar", members)
    whole = write_tar(folder / "zz-broken.tar", [p for i in range(4) for p in sample(f"b{i}", encoded(draw(9300 + i)), f"b {i}")])
    data = whole.read_bytes()
    whole.write_bytes(data[: data.rindex(b"b3.png") + 700])


def look_further(store: Store) -> None:
    """What other commands would have found: an evaluation set, a take-down list and a model, each with one match."""
    images = [row for row in store.read("images").to_pylist() if row["status"] == "ok"]
    write(store, "comparisons", [
        {"other": "bench", "role": "eval", "form": "run", "num_left": len(images), "num_right": 100, "num_right_unusable": 1},
        {"other": "gone", "role": "takedown", "form": "hashes", "num_left": len(images) - 1, "num_right": 50},
    ])  # fmt: skip
    write(store, "leaks", [
        {"left_id": images[0]["image_id"], "right_dataset": "bench", "right_id": 7, "right_key": "b7", "role": "eval",
         "kind": "near", "similarity": 0.97},
        {"left_id": images[1]["image_id"], "right_dataset": "gone", "right_id": 3, "right_key": "ffff0000ffff0000",
         "role": "takedown", "kind": "unverified", "hash_distance": 4},
    ])  # fmt: skip
    prompt = store.read("prompts").to_pylist()[0]
    write(store, "extractions", [{"model_id": "m" * 64, "prompt_id": prompt["prompt_id"], "verdict": "extracted"}])


def facts(store: Store) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """What each rule should find, counted in Python over the rows and not by the SQL that is on trial."""
    images = store.read("images").to_pylist()
    usable = [row for row in images if row["status"] == "ok"]
    groups, classes = (
        store.read("groups").to_pylist(),
        {r["group_id"]: r["class"] for r in store.read("group_evidence").to_pylist()},
    )
    (dataset,) = {row["dataset"] for row in images}
    class_of = {row["image_id"]: classes[row["group_id"]] for row in groups}
    sizes = Counter(row["group_id"] for row in groups)
    largest = max(number for group, number in sizes.items() if classes[group] not in ("blank", "placeholder"))
    caption_of = {row["image_id"]: row["caption"] for row in images}
    together = Counter(
        (row["group_id"], caption_of[row["image_id"]])
        for row in groups
        if caption_of[row["image_id"]] is not None and classes[row["group_id"]] != "blank"
    )
    captions = Counter(row["caption"] for row in usable if row["caption"] and row["caption"].strip())
    blank = sum(bool(row["is_blank"]) or class_of.get(row["image_id"]) in ("blank", "placeholder") for row in usable)
    redundant = sum(not row["is_representative"] and row["kind"] != "semantic" for row in groups)
    unverified = sum(row["kind"] == "unverified" for row in groups)
    recall_low = min(row["recall_low"] for row in store.read("audit").to_pylist() if row["band"] == "all")
    print(f"{dataset}: {len(usable)} of {len(images)} usable, largest group {largest}, {blank} blank, {redundant} redundant")

    def share(number: int, of: int) -> tuple[dict[str, Any], dict[str, Any]]:
        assert number, "a rule that finds nothing cannot be shown to fail"
        return {"max_share": number / of}, {"max_share": number / of - EPSILON}

    return {
        "set_size": ({"min_images": len(usable)}, {"min_images": len(usable) + 1}),
        "unreadable": share(len(images) - len(usable), len(images)),
        "broken_shards": ({"max_shards": 1}, {"max_shards": 0}),
        "missing_captions": share(sum(not (row["caption"] or "").strip() for row in usable), len(usable)),
        "blanks": share(blank, len(usable)),
        "duplicate_count": ({"max_images": largest}, {"max_images": largest - 1}),
        "memorized_captions": ({"max_images": max(together.values())}, {"max_images": max(together.values()) - 1}),
        "near_duplicates": share(redundant, len(usable)),
        "caption_repetition": ({"max_images": max(captions.values())}, {"max_images": max(captions.values()) - 1}),
        "unverified": share(unverified, len(groups)),
        "audit": ({"min_recall_low": recall_low}, {"min_recall_low": recall_low + EPSILON}),
        "eval_overlap": ({"max_share": 0.01}, {"max_share": 0.01 - EPSILON}),
        "takedown_matches": ({"max_share": 0.02}, {"max_share": 0.02 - EPSILON}),
        "comparisons": share(1, 101),
        "extractions": ({"max_prompts": 1}, {"max_prompts": 0}),
    }


@pytest.fixture(scope="module", params=["planted", "openclipart-captioned"])
def judged(request, scanner, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    source = folder / "set"
    if request.param == "planted":
        scanner("lab", "make", "--images", NUM_IMAGES, "--seed", SEED, "--out", folder / "lab", "-q")
        shutil.copytree(open_planted(str(folder / "lab")).source_url, source)
    else:
        shared = request.getfixturevalue("shared")
        source.mkdir()
        for tar in (shared / "data" / request.param).glob("*.tar"):
            shutil.copyfile(tar, source / tar.name)
    add_faults(source)
    run = folder / "run"
    scanner("scan", source, "--out", run, "--encoder", "pixels", "-q")
    shutil.copytree(run, folder / "plain")
    # An image of a group is gone when verification wants to see it again: one row is left unverified.
    store = Store(str(run))
    groups = store.read("groups").to_pylist()
    groups[-1] |= {"kind": "unverified"}
    write(store, "groups", groups)
    look_further(store)
    return Judged(request.param, run, source, facts(store))


def policy_file(path: Path, limits: dict[str, dict[str, Any]], **more: Any) -> Path:
    """The default policy with every rule of severity error, required, at those limits."""
    rules = {name: {"severity": "error", "required": True, "params": params} for name, params in limits.items()}
    path.write_text(yaml.safe_dump({"extends": "pretraining", "rules": rules, **more}))
    return path


def test_every_rule_passes_at_its_limit_and_fails_just_beyond(judged, scanner, tmp_path):
    assert set(judged.limits) == set(load_policy("pretraining").rules)
    passing = {name: limits for name, (limits, _) in judged.limits.items()}
    failing = {name: limits for name, (_, limits) in judged.limits.items()}
    said = scanner("check", judged.run, "--policy", policy_file(tmp_path / "p.yaml", passing), "--json", tmp_path / "p.json")
    assert {rule["outcome"] for rule in json.loads((tmp_path / "p.json").read_text())["rules"]} == {"pass"}
    print(f"\n{said.out}")
    said = scanner(
        "check", judged.run, "--policy", policy_file(tmp_path / "f.yaml", failing), "--json", tmp_path / "f.json", check=False
    )
    print(said.out)
    assert said.code == 1
    found = {rule["rule"]: rule for rule in json.loads((tmp_path / "f.json").read_text())["rules"]}
    assert {name: rule["outcome"] for name, rule in found.items()} == dict.fromkeys(judged.limits, "violated")
    assert all(rule["violators"] and rule["num_violators"] >= len(rule["violators"]) for rule in found.values())
    print(f"{said.seconds:.1f} s")


def test_each_rule_alone_decides(judged, scanner, tmp_path):
    """One rule just beyond its limit among others that pass: exit code 1, and no other is named."""
    passing = {name: limits for name, (limits, _) in judged.limits.items()}
    for name in ("duplicate_count", "takedown_matches", "audit"):
        limits = {**passing, name: judged.limits[name][1]}
        said = scanner("check", judged.run, "--policy", policy_file(tmp_path / "p.yaml", limits), check=False)
        assert said.code == 1
        assert f"violates policy p: {name}." in said.err


def test_the_three_exit_codes(judged, scanner, tmp_path):
    plain = judged.run.parent / "plain"
    passing = {name: limits for name, (limits, _) in judged.limits.items()}
    policy = policy_file(tmp_path / "own.yaml", {**passing, "unverified": {"max_share": 1}})
    assert scanner("check", judged.run, "--policy", policy).code == 0
    said = scanner("check", plain, "--policy", policy, check=False)
    print(f"\n{said.out}{said.err}")
    assert said.code == 2, "nobody compared it with anything, and no model was tried"
    assert "eval_overlap, takedown_matches, comparisons, extractions." in said.err
    policy = policy_file(tmp_path / "own.yaml", {**passing, "duplicate_count": judged.limits["duplicate_count"][1]})
    assert scanner("check", plain, "--policy", policy, check=False).code == 1, "what is violated wins"
    assert scanner("check", plain, "--policy", tmp_path / "none.yaml", check=False).code == 2
    assert scanner("check", tmp_path / "none", check=False).code == 2
    unfinished = tmp_path / "unfinished"
    shutil.copytree(plain, unfinished)
    shutil.rmtree(unfinished / "audit")
    said = scanner("check", unfinished, "--policy", policy_file(tmp_path / "audit.yaml", {"audit": {}}), check=False)
    assert "reads table audit" in said.out
    run = yaml.safe_load((unfinished / "run.yaml").read_text())
    (unfinished / "run.yaml").write_text(yaml.safe_dump({key: value for key, value in run.items() if key != "is_finished"}))
    assert scanner("check", unfinished, check=False).code == 2


def test_junit_is_read_by_a_parser_whatever_captions_hold(judged, scanner, tmp_path):
    failing = {name: limits for name, (_, limits) in judged.limits.items()} | {"caption_repetition": {"max_images": 5}}
    path = tmp_path / "gate.xml"
    policy = policy_file(tmp_path / "own.yaml", failing)
    scanner("check", judged.run, "--policy", policy, "--junit", path, "--limit", 1000, check=False)
    suite = ET.parse(path).getroot().find("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == (str(len(failing)), str(len(failing)))
    case = next(case for case in suite.iter("testcase") if case.get("name") == "caption_repetition")
    assert "<b>&]]>  [2J ## [error] | `x` ::error::boo" in case.find("failure").text


def test_a_waiver_expires(judged, scanner, tmp_path):
    passing = {name: limits for name, (limits, _) in judged.limits.items()}
    limits = {**passing, "duplicate_count": judged.limits["duplicate_count"][1]}
    policy = policy_file(tmp_path / "own.yaml", limits)
    said = scanner("check", judged.run, "--policy", policy, "--format", "json", check=False)
    rule = next(rule for rule in json.loads(said.out)["rules"] if rule["outcome"] == "violated")
    named = {"group_id": [row["group_id"] for row in rule["violators"]]}
    waivers = tmp_path / "waivers.yaml"
    waiver = {"rule": "duplicate_count", "where": named, "reason": "looked at", "expires": "2027-03-31"}
    waivers.write_text(yaml.safe_dump({"waivers": [waiver]}))
    arguments = ("check", judged.run, "--policy", policy, "--waivers", waivers, "--as-of")
    assert scanner(*arguments, "2027-03-31").code == 0
    said = scanner(*arguments, "2027-04-01", check=False)
    print("\n" + next(line for line in said.out.splitlines() if "EXPIRED" in line))
    assert said.code == 1


def test_a_scan_that_was_stopped_is_not_judged_until_it_is_finished(judged, scanner, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(judged.run.parent / "plain", run)
    policy = tmp_path / "own.yaml"
    policy.write_text("rules: {size: {query: hygiene/too_few_images}}")
    assert scanner("check", run, "--policy", policy).code == 0
    code = (
        "from scanner.risk import stage\n"
        "def stop(*_): raise KeyboardInterrupt\n"
        "stage.run = stop\n"
        "import sys; from scanner.cli.main import main; main()"
    )
    scan = ("scan", judged.source, "--out", run, "--encoder", "pixels", "--no-verify", "-q")
    assert subprocess.run([sys.executable, "-c", code, *map(str, scan)], check=False, capture_output=True).returncode == 130
    said = scanner("check", run, "--policy", policy, check=False)
    assert said.code == 2
    assert "did not come to its end" in said.out
    scanner(*scan)
    assert scanner("check", run, "--policy", policy).code == 0
    policy.write_text("rules: {unverified: {query: hygiene/unverified_share}}")
    assert scanner("check", run, "--policy", policy, check=False).code == 1, "nothing but the search has looked"


def test_the_workflow_of_the_docs_runs_step_by_step(tmp_path):
    block = next(text for text in re.findall(r"```yaml\n(.*?)```", (DOCS / "gate.md").read_text(), re.S) if "jobs:" in text)
    steps = {step["name"]: step for step in yaml.safe_load(block)["jobs"]["gate"]["steps"] if "name" in step}
    (tmp_path / "data").mkdir()
    for i in range(8):
        (tmp_path / "data" / f"{i}.png").write_bytes(encoded(draw(i if i < 5 else 5)))
        (tmp_path / "data" / f"{i}.txt").write_text(f"picture {min(i, 5)}")
    scanner = tmp_path / "bin" / "scanner"
    scanner.parent.mkdir()
    scanner.write_text(f'#!/bin/sh\nexec {sys.executable} -m scanner.cli.main "$@"\n')
    scanner.chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{scanner.parent}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(tmp_path / "step.md"),
    }  # fmt: skip

    def step(name: str) -> subprocess.CompletedProcess[str]:
        # As the runner calls it.
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", steps[name]["run"]]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert step("Scan").returncode == 0
    for most, code in ((3, 0), (2, 1)):
        rules = {"near_duplicates": {"params": {"max_share": 1}}, "duplicate_count": {"params": {"max_images": most}}}
        (tmp_path / "policy.yaml").write_text(yaml.safe_dump({"extends": "pretraining", "rules": rules}))
        gate = step("Gate")
        assert gate.returncode == code, gate.stdout + gate.stderr
    print("\n" + gate.stdout)
    assert "::error title=scanner check%3A duplicate_count::1 found" in gate.stdout
    assert (tmp_path / "step.md").read_text().count("## ") >= 2
    published = [Path(line) for line in steps["Publish"]["with"]["path"].split()] + [
        Path(steps["Test report"]["with"]["report_paths"])
    ]
    assert all((tmp_path / path).is_file() for path in published)
    assert ET.parse(tmp_path / "gate.xml").getroot().get("failures") == "1"
