"""What is public is documented, the generated pages are fresh, and no page names what is not there."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from scanner.cli import reference
from scanner.cli.main import cli
from scanner.core.config import RunConfig, load_config, resolve
from scanner.core.reference import commands_page, config_keys, shipped_configs, walk_commands
from scanner.core.schemas import TABLES
from scanner.core.sql import find_query, queries
from scanner.sources.open import FORMATS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
CONTEXT = click.Context(cli, info_name="scanner")
COMMANDS = dict(walk_commands(cli, CONTEXT))


def text_of(name):
    return (ROOT / name).read_text("utf-8")


def headings(text):
    return re.findall(r"^#+ +(.+?) *$", text, flags=re.M)


def without_code(text):
    return re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", text, flags=re.S))


def commands_in(text):
    """Every ``scanner …`` of code blocks and code spans, as arguments; comments and what a shell does with output left out."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, flags=re.S) for line in block.splitlines()]
    lines += re.findall(r"`(scanner [^`\n]*)`", text)
    for line in lines:
        if line.strip().startswith("scanner "):
            yield shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize("name", reference.pages())
def test_generated_pages_are_fresh(name):
    assert (DOCS / name).is_file(), "run `make docs`"
    assert (DOCS / name).read_text("utf-8") == reference.pages()[name], f"docs/{name} is stale: run `make docs`"


def test_every_table_and_column_is_documented():
    text = text_of("docs/tables.md")
    assert set(TABLES) <= set(headings(text))
    for table in TABLES.values():
        section = text.split(f"\n## {table.name}\n")[1].split("\n## ")[0]
        for column in table.columns:
            assert column.doc, (table.name, column.name)
            assert f"| `{column.name}` |" in section, (table.name, column.name)


def test_every_query_is_documented_and_its_example_runs_it():
    text = text_of("docs/queries.md")
    assert set(queries()) <= set(headings(text))
    for name, query in queries().items():
        assert query.example in text
        (arguments,) = commands_in(f"```sh\n{query.example}\n```")
        assert arguments[:3] == ["query", "RUN", name]
        given = dict(value.split("=", 1) for flag, value in pairwise(arguments) if flag == "--param")
        query.arguments(given)
        assert {table.removeprefix("other.") for table in query.reads} <= set(TABLES), name


def test_every_command_and_option_is_documented_with_an_example():
    text = text_of("docs/commands.md")
    assert set(COMMANDS) <= set(headings(text))
    for name, command in COMMANDS.items():
        assert "Example:" in (command.help or ""), f"{name} has no runnable example in its help"
        section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts} has no help"
                assert parameter.opts[0] in section


def test_every_config_key_and_file_is_documented():
    text = text_of("docs/configs.md")
    for path, field in config_keys():
        assert field.description, f"{path} has no docstring"
        assert f"| `{path}` |" in text
    files = {path.stem for path in (ROOT / "configs").glob("*.yaml")}
    assert files == set(shipped_configs())
    for name in files:
        assert f"({'../configs/' + name}.yaml)" in text


def test_keys_are_all_keys_of_the_model():
    def leaves(value, prefix=""):
        for key, inner in value.items():
            yield from leaves(inner, f"{prefix}{key}.") if isinstance(inner, dict) else [prefix + key]

    config = RunConfig(sources=({"url": "x"},)).to_dict()
    (config["sources[]"],) = config.pop("sources")
    assert {path for path, _ in config_keys()} == set(leaves(config))


def test_stale_pages_are_noticed_and_rewritten(tmp_path):
    run = CliRunner().invoke
    assert run(reference.main, [str(tmp_path), "--check"]).exit_code == 1
    assert run(reference.main, [str(tmp_path)]).exit_code == 0
    assert run(reference.main, [str(tmp_path), "--check"]).exit_code == 0
    page = tmp_path / "tables.md"
    page.write_text(page.read_text("utf-8") + "more\n", "utf-8")
    result = run(reference.main, [str(tmp_path), "--check"])
    assert result.exit_code == 1
    assert "tables.md" in result.output


def test_commands_page_is_of_the_group_that_it_is_given():
    @click.group()
    def group():
        """A group."""

    @group.command()
    @click.argument("place")
    @click.option("--how", help="In what way: <fast|slow>.")
    def go(place, how):
        """Goes there.

        \b
        Example:
          scanner go home
        """

    group.add_command(click.Group("more", commands={"go": go}, help="A group in it."))
    page = commands_page(group)
    assert "## more go\n\n    scanner more go [OPTIONS] PLACE" in page
    assert "## go" in page
    assert "scanner go [OPTIONS] PLACE" in page
    assert "| `--how TEXT` | In what way: &lt;fast\\|slow>. |" in page
    assert "```sh\nscanner go home\n```" in page


@pytest.mark.parametrize("name", [name for name in shipped_configs() if name != "encoders"])
def test_every_shipped_config_resolves(name):
    config = resolve(load_config(name))
    assert config == resolve(load_config(ROOT / "configs" / f"{name}.yaml"))
    assert config.description
    assert config.sources or config.extract.model, "a scan names what it scans, an extraction whom it asks"
    assert isinstance(config.neighbors.threshold, float)
    assert config.neighbors.threshold_reason
    assert resolve(config) == config
    plan = CliRunner().invoke(cli, ["run", name, "--plan"])
    assert plan.exit_code == 0, plan.output
    assert all(source.url in plan.output for source in config.sources)


def test_laion_configs_name_the_public_encoder():
    for name in ("laion400m", "laion2b"):
        assert load_config(name).encoder.name == "open_clip:ViT-B-32/laion2b_s34b_b79k"


def test_every_preset_has_a_reason():
    presets = yaml.safe_load(text_of("configs/encoders.yaml"))
    assert {"default", "pixels", "small", RunConfig().encoder.name} <= set(presets)
    for name, preset in presets.items():
        assert preset["reason"].strip(), name
        assert preset["report_thresholds"], name


def test_there_are_pages():
    assert {"README.md", "CONTRIBUTING.md", "SECURITY.md", "risk.md", "sources.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}, which is not there"
        assert file.is_relative_to(ROOT), f"{page.name} links out of the repository: {target}"
        if anchor:
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(file.read_text("utf-8"))}
            assert anchor in slugs, f"{page.name} links to {target}, which has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_pages_name_exist_and_parse(page):
    for arguments in commands_in(page.read_text("utf-8")):
        name = next((argument for argument in arguments if not argument.startswith("-")), None)
        if name is None:
            assert arguments in (["--help"], ["--version"])
            continue
        assert name in COMMANDS, f"{page.name}: there is no `scanner {name}`"
        if isinstance(COMMANDS[name], click.Group) and len(arguments) > 1 and not arguments[1].startswith("-"):
            name = f"{name} {arguments[1]}"
            assert name in COMMANDS, f"{page.name}: there is no `scanner {name}`"
        known = {option for parameter in COMMANDS[name].params for option in [*parameter.opts, *parameter.secondary_opts]} | {
            "--help"
        }
        used = {argument.split("=")[0] for argument in arguments if argument.startswith("-")}
        assert used <= known, f"{page.name}: `scanner {name}` has no {used - known}"
        if name == "query" and len(arguments) > 2 and arguments[2] != "NAME":
            find_query(arguments[2])


def test_make_targets_that_pages_name_exist():
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), flags=re.M))
    for page in PAGES:
        text = page.read_text("utf-8")
        named = set(re.findall(r"(?:^|`)make ([a-z]+)", text, flags=re.M))
        assert named <= targets, f"{page.name}: no make {named - targets}"
    assert {"make demo", "make test"} <= set(re.findall(r"make [a-z]+", text_of("README.md")))


@pytest.mark.parametrize("name", ["README.md", "docs/sources.md"])
def test_every_format_is_in_the_table(name):
    text = text_of(name)
    for format_ in FORMATS:
        assert f"| `{format_}` |" in text, f"{name} has no line for {format_}"


def test_every_page_of_the_docs_is_named_in_the_readme():
    readme = text_of("README.md")
    for page in DOCS.glob("*.md"):
        assert f"(docs/{page.name})" in readme


def test_the_prior_in_docs_is_the_prior_in_the_config():
    prior, text = RunConfig().risk.prior, text_of("docs/risk.md")
    assert f"`k50` = {prior.k50:g}, `slope` = {prior.slope:g}," in text
    assert f"`max_probability` = {prior.max_probability:g}." in text
    for k, written in ((10, "0.001"), (100, "0.09"), (300, "0.45"), (1000, "0.83")):
        score = prior.max_probability / (1 + (prior.k50 / k) ** prior.slope)
        assert f"{score:.3f}".startswith(written) or f"{score:.2f}" == written


def test_the_licence_is_the_one_that_the_package_names():
    text = text_of("LICENSE")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert "Copyright 2026 the trainscan authors" in text
    assert 'license = "Apache-2.0"' in text_of("pyproject.toml")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_words_that_are_not_used(page):
    prose = without_code(page.read_text("utf-8"))
    found = re.findall(r"\bclusters?\b|\bclustering\b", prose, flags=re.I)
    assert len(found) <= (1 if page.name == "CONTRIBUTING.md" else 0), found
