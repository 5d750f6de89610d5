"""``check``."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scanner.cli.query import engine_options
from scanner.core.errors import ConfigError, UndecidedError, ViolationError
from scanner.core.store import Store

if TYPE_CHECKING:
    from scanner.gate.results import CheckResult

FORMATS = ("table", "json", "junit", "github")
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"


@click.command()
@click.argument("run_url", metavar="RUN")
@click.option(
    "--policy",
    default="pretraining",
    show_default=True,
    metavar="FILE",
    help="A policy: a YAML file, or one that ships by its name.",
)
@click.option("--waivers", multiple=True, metavar="FILE", help="Waivers beside those of the policy; may be given again.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="What is printed. github: the table and annotations, and the summary of the step where there is one.",
)
@click.option("--json", "json_path", metavar="FILE", help="Write JSON too.")
@click.option("--junit", "junit_path", metavar="FILE", help="Write JUnit XML too.")
@click.option("--summary", "summary_path", metavar="FILE", help="Append Markdown, such as the summary of a step of GitHub.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Violators of each rule that are shown; all are counted.",
)
@click.option(
    "--as-of", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="Judge waivers as on that day instead of today (UTC)."
)
@engine_options
def check(
    run_url: str,
    policy: str,
    waivers: tuple[str, ...],
    format_: str,
    json_path: str | None,
    junit_path: str | None,
    summary_path: str | None,
    limit: int,
    as_of: datetime | None,
    memory: str,
    threads: int | None,
    scratch: str,
) -> None:
    """The gate: hold a run against a policy of named rules, and answer with an exit code.

    0: passed. 1: a rule of severity error is violated. 2: a required rule could not tell, as the run lacks what it asks for; so
    do a run that is not there and a policy that cannot be used. What is violated wins over what could not be told.

    \b
    Example:
      scanner check run
      scanner check run --policy release --format github --junit gate.xml
      scanner check run --policy my-policy.yaml --waivers waivers.yaml --as-of 2027-01-01
    """
    from scanner.pipelines.check import check as check_pipeline

    result = check_pipeline(
        Store.open(run_url), policy, waivers=waivers, today=as_of.date() if as_of else None, limit=limit, memory=memory,
        threads=threads or 0, scratch=scratch,
    )  # fmt: skip
    _print(_printed(result, format_))
    _write(result, json_path, junit_path, summary_path)
    if format_ == "github" and os.environ.get(STEP_SUMMARY):
        _write(result, None, None, os.environ[STEP_SUMMARY])
    _answer(result)


def _printed(result: CheckResult, format_: str) -> str:
    from scanner.gate.json_form import json_text
    from scanner.gate.junit import junit_text
    from scanner.gate.step_summary import annotation_lines, markdown_text
    from scanner.gate.text_form import text_lines

    if format_ == "json":
        return json_text(result)
    if format_ == "junit":
        return junit_text(result)
    lines = text_lines(result)
    if format_ == "github":
        if not os.environ.get(STEP_SUMMARY):
            return markdown_text(result)
        lines += annotation_lines(result)
    return "\n".join(lines) + "\n"


def _print(text: str) -> None:
    """Prints, and lets nobody who stopped reading (``| head``) turn a violation into a pass."""
    try:
        click.echo(text, nl=False)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(result: CheckResult, json_path: str | None, junit_path: str | None, summary_path: str | None) -> None:
    from scanner.gate.json_form import json_text
    from scanner.gate.junit import junit_text
    from scanner.gate.step_summary import markdown_text

    try:
        if json_path:
            Path(json_path).write_text(json_text(result), "utf-8")
        if junit_path:
            Path(junit_path).write_text(junit_text(result), "utf-8")
        if summary_path:
            with Path(summary_path).open("a", encoding="utf-8") as file:
                file.write(markdown_text(result))
    except OSError as error:
        raise ConfigError(
            f"Cannot write {error.filename}: {error.strerror}.", next_step="Give a path in a folder that is there."
        ) from error


def _answer(result: CheckResult) -> None:
    """The outcome as an exit code. Raises ViolationError or UndecidedError; returns where the run passed."""
    if result.failing:
        raise ViolationError(
            f"{result.run} violates policy {result.policy}: {', '.join(rule.name for rule in result.failing)}.",
            next_step="Mend the set and scan it again, or waive with a reason and a day on which that ends (docs/gate.md).",
        )
    if result.open:
        raise UndecidedError(
            f"Policy {result.policy} could not tell of {result.run}: {', '.join(rule.name for rule in result.open)}.",
            next_step="Each says above what it lacks; `required: false` in the policy makes it be told only.",
        )
