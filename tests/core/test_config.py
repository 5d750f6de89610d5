from __future__ import annotations

import pytest

from scanner.core.config import RunConfig, check_config, fingerprint, load_config, override, parse_config, resolve
from scanner.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("encodr: {name: pixels}", "encoder"),
        ("encoder: {nam: pixels}", "name"),
        ("sources: [{url: x, formt: folder}]", "format"),
        ("risk: {prior: {k5: 3}}", "k50"),
        ("encoder: {batch_size: 0}", "batch_size"),
        ("encoder: {batch_size: many}", "batch_size"),
        ("neighbors: {threshold: 1.5}", "threshold"),
        ("neighbors: {report_thresholds: [0.9, 2]}", "report_thresholds"),
        ("neighbors: {search: annoy}", "faiss-flat"),
        ("[1, 2]", "list"),
        ("a: [", "not YAML"),
        ("sources: [{url: a/x.tar}, {url: b/x.tar}]", "two sources"),
    ],
)
def test_a_bad_config_is_told_where_and_what_to_do(text, said):
    with pytest.raises(ConfigError, match=said) as error:
        parse_config(text, where="test.yaml")
    assert "test.yaml" in str(error.value)
    assert error.value.next_step


def test_config_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().encoder = None


def test_override_checks_again():
    config = override(RunConfig(), {"encoder.name": "pixels", "neighbors.threshold": 0.9})
    assert (config.encoder.name, config.neighbors.threshold) == ("pixels", 0.9)
    with pytest.raises(ConfigError, match="threshold"):
        override(config, {"neighbors.threshold": 3})


def test_resolve_says_where_the_threshold_comes_from():
    assert resolve(override(RunConfig(), {"encoder.name": "pixels"})).neighbors.threshold_reason
    preset = resolve(RunConfig())
    assert isinstance(preset.neighbors.threshold, float)
    assert preset.neighbors.report_thresholds
    own = resolve(override(RunConfig(), {"neighbors.threshold": 0.5}))
    assert (own.neighbors.threshold, own.neighbors.threshold_reason) == (0.5, "set by the user")
    assert resolve(preset) == preset


def test_only_what_changes_a_result_is_in_a_fingerprint():
    config = RunConfig()
    assert fingerprint(config.encoder) == fingerprint(override(config, {"compute.workers": 3}).encoder)
    assert fingerprint(config.encoder) != fingerprint(override(config, {"encoder.batch_size": 3}).encoder)
    with pytest.raises(AssertionError):
        fingerprint(object())


def test_an_unknown_config_names_the_nearest():
    with pytest.raises(ConfigError, match="demo"):
        load_config("demmo")
    with pytest.raises(ConfigError, match="Cannot read"):
        load_config("no/such/file.yaml")


def test_dataset_names_come_from_the_url():
    names = ["a/b/", "a/{00000..00041}.tar", "s3://x/laion/*.tar", "c.parquet", "d/train-{0..3}.tar"]
    found = [check_config({"sources": [{"url": url}]}, where="x").sources[0].dataset for url in names]
    assert found == ["b", "set", "set", "c", "train"]


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_config(tmp_path, monkeypatch):
    shipped = load_config("demo")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert load_config("demo") == shipped
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config("./demo")
