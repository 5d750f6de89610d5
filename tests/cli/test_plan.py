from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from scanner.cli.main import cli
from scanner.cli.plan import plan as command
from scanner.core.errors import ConfigError
from scanner.plan.rates import shipped_rates

STAGES = [
    "read and decode", "embed", "collapse copies", "cells: fit", "cells: assign", "scratch sort", "join", "audit", "groups",
    "verify", "risk", "report",
]  # fmt: skip
LARGE = ["plan", "--images", "5e9", "--gpus", "8", "--model", "ViT-L-14"]


def planned(*arguments):
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_the_table_has_every_stage_and_every_rate_its_origin():
    result = CliRunner().invoke(cli, LARGE)
    assert result.exit_code == 0, result.output
    table, rates = result.output.split("\nRates:\n")
    lines = table.splitlines()
    assert "5,000,000,000 images" in lines[0]
    for stage in [*STAGES, "total"]:
        assert sum(line.startswith(stage + " ") for line in lines) == 1, stage
    assert max(map(len, lines)) <= 120
    assert rates.count("; assumed: ") + rates.count("; measured: ") == len(planned(*LARGE)["rates"])
    assert "limited by the 8 GPUs; with twice as many" in table


def test_json_has_the_documented_fields():
    found = planned(*LARGE)
    assert list(found) == [
        "format_version", "inputs", "search", "num_cells", "stages", "phases", "totals", "limit", "rates",
    ]  # fmt: skip
    assert found["inputs"]["images"] == 5 * 10**9
    assert found["inputs"]["model"]["dim"] == 768
    assert (found["inputs"]["gpus"], found["inputs"]["gpu"], found["inputs"]["cores"]) == (8, "h100", 128)
    assert [stage["stage"] for stage in found["stages"]] == STAGES
    for stage in found["stages"]:
        assert set(stage) == {
            "stage", "phase", "seconds", "seconds_by_resource", "bound_by", "status", "table_bytes", "scratch_bytes",
            "memory_bytes", "rates",
        }  # fmt: skip
        assert stage["seconds"] == max(stage["seconds_by_resource"].values())
        assert stage["seconds_by_resource"][stage["bound_by"]] == stage["seconds"]
        assert set(stage["rates"]) <= set(found["rates"])
        assert stage["status"] in ("measured", "assumed", "given")
    for name, rate in found["rates"].items():
        assert {"value", "unit", "status", "source"} <= set(rate), name
        assert (rate["status"] == "measured") == ("file" in rate), name
    assert set(found["totals"]) == {"seconds", "gpu_hours", "source_bytes", "table_bytes", "scratch_bytes", "memory_bytes"}
    assert found["totals"]["seconds"] == pytest.approx(sum(phase["seconds"] for phase in found["phases"]))
    assert found["stages"][1]["table_bytes"] == {"embeddings": 5 * 10**9 * (2 * 768 + 8)}


def test_what_is_given_is_used_and_called_given():
    found = planned(*LARGE, "--storage-mb-s", "500", "--bytes-an-image", "50k", "--duplicate-share", "0.1")
    assert {name: found["rates"][name]["value"] for name in ("storage", "bytes_an_image", "duplicate_share")} == {
        "storage": 5e8, "bytes_an_image": 50_000, "duplicate_share": 0.1,
    }  # fmt: skip
    assert found["rates"]["storage"]["status"] == "given"
    assert found["totals"]["source_bytes"] == 25 * 10**13
    scratch = next(stage for stage in found["stages"] if stage["stage"] == "scratch sort")
    assert scratch["status"] == "given", "nothing but the storage binds it"


def test_duplicates_can_be_none():
    found = planned("plan", "--images", "1000", "--cores", "2", "--duplicate-share", "0")
    verify = next(stage for stage in found["stages"] if stage["stage"] == "verify")
    assert verify["seconds"] == 0


def test_each_search_can_be_asked_for():
    exact = planned("plan", "--images", "250k", "--cores", "2", "--model", "small", "--search", "join")
    cells = planned("plan", "--images", "250k", "--cores", "2", "--model", "small", "--search", "cells")
    assert "scratch sort" not in [stage["stage"] for stage in exact["stages"]]
    assert [stage["stage"] for stage in cells["stages"]] == STAGES
    assert exact["totals"]["scratch_bytes"] == 0 < cells["totals"]["scratch_bytes"]


def test_pixels_have_no_network():
    found = planned("plan", "--images", "1000", "--cores", "1", "--model", "pixels")
    assert "cores" not in found["stages"][1]["seconds_by_resource"]
    assert found["stages"][1]["table_bytes"] == {"embeddings": 1000 * (2 * 4608 + 8)}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--images", "-5"], "--images is '-5'"),
        (["--images", "many"], "400M"),
        (["--images", "1e6", "--model", "ViT-L-41"], "Did you mean 'ViT-L-1"),
        (["--images", "1e6", "--model", "MobileCLIP-S1"], "--gflops-an-image"),
        (["--images", "1e6", "--memory", "1GB", "--cores", "2"], "Give --memory 2GB"),
        (["--images", "1e6", "--memory", "x"], "16GB"),
        (["--images", "1e6", "--gpus", "2", "--gpu", "none"], "--gpu is none"),
        (["--images", "1e6", "--duplicate-share", "1"], "below 1"),
        (["--images", "1e6", "--duplicate-share", "nan"], "below 1"),
        (["--images", "1e6", "--storage-mb-s", "0"], "above 0"),
        (["--images", "1e6", "--storage-mb-s", "inf"], "above 0"),
        (["--images", "1e6", "--bytes-an-image", "0"], "--bytes-an-image"),
    ],
)
def test_errors_say_what_was_found_and_what_to_do(arguments, said):
    result = CliRunner().invoke(cli, ["plan", *arguments])
    assert isinstance(result.exception, ConfigError)
    assert said in str(result.exception)


def test_the_help_names_the_defaults_that_the_rates_have():
    rates = shipped_rates()
    said = {option.opts[0]: option.help for option in command.params}
    assert f"(default: {rates['storage'].value / 1e6:g})" in said["--storage-mb-s"]
    assert f"(default: {rates['bytes_an_image'].value:g}," in said["--bytes-an-image"]
    assert f"(default: {rates['duplicate_share'].value:g})" in said["--duplicate-share"]
    assert f"(default: {rates['cores_a_gpu'].value:g} a GPU;" in said["--cores"]


@pytest.mark.parametrize("arguments", [["plan", "--help"], [*LARGE]])
def test_it_loads_no_network_and_no_search(arguments):
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom scanner.cli.main import cli\n"
        f"assert CliRunner().invoke(cli, {arguments!r}).exit_code == 0\n"
        "print([name for name in ('torch', 'faiss', 'open_clip', 'numpy', 'pyarrow', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
