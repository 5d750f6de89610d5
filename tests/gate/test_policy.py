from __future__ import annotations

import pytest

from scanner.core.errors import ConfigError
from scanner.gate.policy import load_policy, load_waivers, shipped_policies

DUPLICATES = "rules: {duplicates: {query: hygiene/large_groups, params: {max_images: 3}}}"
WAIVER = DUPLICATES + "\nwaivers: [{rule: duplicates, reason: r, expires: 2026-01-01"


@pytest.fixture
def policy(tmp_path):
    """``policy(text)`` writes a file and loads it."""

    def load(text: str, name: str = "own.yaml"):
        (tmp_path / name).write_text(text)
        return load_policy(str(tmp_path / name))

    return load


@pytest.mark.parametrize("name", shipped_policies())
def test_every_shipped_policy_loads_and_explains_itself(name):
    found = load_policy(name)
    assert found.name == name
    assert found.description
    for rule_name, rule in found.rules.items():
        assert rule.why, rule_name
        assert rule.asks.name.startswith("hygiene/"), rule_name
        assert set(rule.params) <= set(rule.arguments)


def test_the_default_asks_what_the_issue_of_hygiene_is():
    asked = {(rule.query, rule.params.get("role")) for rule in load_policy("pretraining").rules.values()}
    expected = ["large_groups", "redundant_share", "repeated_captions", "likely_memorized", "unreadable_share", "blank_share",
                "confirmed_extractions", "low_recall", "broken_shards", "missing_captions", "unverified_share"]  # fmt: skip
    assert asked >= {(f"hygiene/{name}", None) for name in expected}
    assert asked >= {("hygiene/leaked_images", "eval"), ("hygiene/leaked_images", "takedown")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rulez: {}", "'rules'"),
        ("{}", "no rules"),
        ("rules: {x: {query: hygiene/large_group}}", "hygiene/large_groups"),
        ("rules: {x: {queri: hygiene/large_groups, query: hygiene/large_groups}}", "'query'"),
        ("rules: {x: {severity: error}}", "query"),
        ("rules: {Bad Name: {query: hygiene/large_groups}}", "pattern"),
        ("rules: {x: {query: hygiene/large_groups, severity: eror}}", "'error' or 'warning'"),
        ("rules: {x: {query: hygiene/large_groups, params: {max_image: 3}}}", "'max_images'"),
        ("rules: {x: {query: hygiene/large_groups, params: {max_images: 2.5}}}", "integer"),
        ("rules: {x: {query: hygiene/large_groups, params: {max_images: true}}}", "integer"),
        ("rules: {x: {query: hygiene/large_groups, params: {max_images: many}}}", "integer"),
        ("rules: {x: {query: hygiene/large_groups, params: {max_images: 0}}}", ">= 1"),
        ("rules: {x: {query: hygiene/large_groups, params: {classes: [pictures]}}}", "'picture'"),
        ("rules: {x: {query: hygiene/large_groups, params: {classes: []}}}", "list"),
        ("rules: {x: {query: hygiene/large_groups, params: {limit: 5}}}", "limit"),
        ("rules: {x: {query: hygiene/redundant_share, params: {max_share: 30}}}", r"\[0, 1\]"),
        ("rules: {x: {query: hygiene/redundant_share, params: {max_share: .nan}}}", r"\[0, 1\]"),
        ("rules: {x: {query: hygiene/leaked_images, params: {role: evall}}}", "'eval'"),
        (DUPLICATES + "\nrules: {}", "stands twice"),
        ("extends: pretrainin\n", "'pretraining'"),
        ("extends: pretraining\nrules: {duplicate_cuont: {severity: warning}}", "'duplicate_count'"),
        ("extends: pretraining\nrules: {duplicate_count: {params: {max_image: 3}}}", "'max_images'"),
        ("extends: pretraining\nrules: {duplicate_count: {severty: warning}}", "'severity'"),
        ("extends: no/such.yaml", "Cannot read"),
        ("extends: [pretraining]", "extends"),
        ("extends: own.yaml", "extend one another"),
        (DUPLICATES + "\nwaivers: [{rule: duplicate, reason: r, expires: 2026-01-01}]", "'duplicates'"),
        (DUPLICATES + "\nwaivers: [{rule: duplicates, expires: 2026-01-01}]", "reason"),
        (DUPLICATES + "\nwaivers: [{rule: duplicates, reason: '  ', expires: 2026-01-01}]", "reason"),
        (DUPLICATES + "\nwaivers: [{rule: duplicates, reason: r}]", "expires"),
        (DUPLICATES + "\nwaivers: [{rule: duplicates, reason: r, expires: never}]", "expires"),
        (DUPLICATES + "\nwaivers: [{rule: duplicates, reason: r, expires: 2026-01-01, were: {}}]", "'where'"),
        (WAIVER + ", where: {}}]", "leave `where` out"),
        (
            DUPLICATES + "\nwaivers: [{rule: duplicates, reason: r, expires: 2026-01-01, where: {group_id: []}}]",
            "leave `where` out",
        ),
        (WAIVER + ", where: {group_id: [true]}}]", "numbers"),
        ("[1, 2]", "list"),
        ("a: [", "not YAML"),
    ],
)
def test_a_bad_policy_is_told_where_and_what_to_do(text, said, policy):
    with pytest.raises(ConfigError, match=said) as error:
        policy(text)
    assert error.value.exit_code == 2
    assert error.value.next_step
    assert "own.yaml" in str(error.value) or "configs/policies" in str(error.value) or "policy" in str(error.value)


def test_an_unknown_policy_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="'pretraining'"):
        load_policy("pretrainig")
    with pytest.raises(ConfigError, match="Cannot read"):
        load_policy(str(tmp_path / "none.yaml"))


def test_what_is_extended_changes_limit_by_limit(policy, tmp_path):
    base = load_policy("pretraining")
    found = policy("""
description: Ours.
extends: pretraining
rules:
  duplicate_count: {severity: warning, params: {max_images: 7}}
  unreadable: {params: {max_images: 3}}
  caption_repetition: {enabled: false}
  takedown_matches: {required: true}
  audit: {query: hygiene/large_groups}
  small_groups: {query: hygiene/large_groups, params: {max_images: 2}}
""")
    assert found.description == "Ours."
    assert list(found.rules) == [*base.rules, "small_groups"]
    duplicates = found.rules["duplicate_count"]
    assert (duplicates.severity, duplicates.arguments["max_images"]) == ("warning", 7)
    assert duplicates.why == base.rules["duplicate_count"].why
    assert found.rules["unreadable"].params == {"max_share": 0.05, "max_images": 3}
    assert not found.rules["caption_repetition"].enabled
    assert found.rules["takedown_matches"].required
    assert found.rules["audit"].params == {}, "limits of another query do not carry over"
    assert found.rules["blanks"] == base.rules["blanks"]
    policy("extends: own.yaml\nrules: {small_groups: {params: {max_images: 3}}}", name="more.yaml")
    assert load_policy(str(tmp_path / "more.yaml")).rules["small_groups"].arguments["max_images"] == 3


def test_waivers_of_all_files_hold(policy, tmp_path):
    one = "{rule: duplicates, reason: r, expires: 2026-01-01"
    policy(f"{DUPLICATES}\nwaivers:\n- {one}, where: {{group_id: 7}}}}", name="base.yaml")
    found = policy(f"extends: base.yaml\nwaivers:\n- {one}, where: {{group_id: [8, 9]}}}}")
    (tmp_path / "w.yaml").write_text(f"waivers:\n- {one}}}")
    found = found.with_waivers(load_waivers(str(tmp_path / "w.yaml")), where="w.yaml")
    assert [waiver.where for waiver in found.waivers] == [{"group_id": ("7",)}, {"group_id": ("8", "9")}, {}]
    (tmp_path / "w.yaml").write_text("waivers:\n- {rule: x, reason: r, expires: 2026-01-01}")
    with pytest.raises(ConfigError, match="'x'"):
        found.with_waivers(load_waivers(str(tmp_path / "w.yaml")), where="w.yaml")
    (tmp_path / "w.yaml").write_text("waivers:\n")
    assert load_waivers(str(tmp_path / "w.yaml")) == ()
    (tmp_path / "w.yaml").write_text("waiver: []")
    with pytest.raises(ConfigError, match="'waivers'"):
        load_waivers(str(tmp_path / "w.yaml"))


def test_a_circle_of_policies_is_noticed_however_it_is_written(policy, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "other.yaml").write_text("extends: ../own.yaml\n")
    with pytest.raises(ConfigError, match="extend one another"):
        policy("extends: sub/../sub/other.yaml\n")
