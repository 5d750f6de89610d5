"""The command ``scanner``. Commands live one group a file and are imported when they are called, so help answers at once."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback

import click

from scanner import __version__
from scanner.core.errors import ScannerError, nearest

COMMANDS = {
    "scan": ("scanner.cli.scan", "Scan image-caption sets: embed, find near-duplicates, rank the risk."),
    "run": ("scanner.cli.scan", "A whole batch run from one YAML."),
    "plan": ("scanner.cli.plan", "What a scan would take: time, disk and memory a stage."),
    "extract": ("scanner.cli.extract", "Try the prompts of a run on a diffusion model, and say what it memorized."),
    "replay": ("scanner.cli.extract", "Make one image of an extraction again."),
    "review": ("scanner.cli.extract", "Record a person's verdict of a prompt."),
    "export": ("scanner.cli.export", "Keep-lists and rewritten sets: one image of each group stays."),
    "leak": ("scanner.cli.leak", "What a set has in common with another one: evaluation images, take-down lists."),
    "status": ("scanner.cli.inspect", "Where a run is: parts done, tables, last summary."),
    "query": ("scanner.cli.query", "Answer a question of the query library."),
    "sql": ("scanner.cli.query", "Run your own SQL over the tables of a run."),
    "shell": ("scanner.cli.shell", "Ask a run in SQL, statement after statement."),
    "check": ("scanner.cli.check", "The gate: hold a run against a policy, and answer with an exit code."),
    "report": ("scanner.cli.scan", "Make the HTML report of a run again."),
    "serve": ("scanner.cli.serve", "The pages of the report live: every group, caption and image, with search."),
    "clean": ("scanner.cli.inspect", "Remove files that no table lists."),
    "tables": ("scanner.cli.inspect", "The documented schema of every table."),
    "demo": ("scanner.cli.demo", "Make a small set with planted duplicates and scan it."),
    "lab": ("scanner.cli.lab", "Planted sets with known truth, the bundled models, and scores."),
}

OUR_MISTAKE = 70
"""Exit code of an exception that is no ScannerError: EX_SOFTWARE of sysexits.h."""


class LazyGroup(click.Group):
    """Knows its commands by name and one line; imports the rest when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}. {nearest(args[0], list(COMMANDS))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="scanner")
@click.option("--verbose", "-v", is_flag=True, help="Log what the stages decide.")
def cli(verbose: bool) -> None:
    """Find the duplicates of an image-caption training set before a model memorizes them, and rank the risk.

    Exit codes: 0 done (`check`: passed); 1 `check` found a violation; 2 an error that you can mend (`check`: could not tell); 3
    `scan` found less than the recall asked for; 70 a mistake of ours, with a traceback; 130 stopped.

    \b
    Example:
      scanner scan my-images/ --out run
      scanner query run risk/top_captions
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)


def main() -> None:
    """Entry point: a user's error is its text and an exit code, never a traceback."""
    # Threads that wait for one another by spinning take the cores from the decoding workers. Read when torch and faiss load.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        cli(standalone_mode=False)
    except ScannerError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(ScannerError.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped. Run the same command again to go on from here.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`| head`); what is left to flush has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception:
        # Python's own code for it, 1, means that a policy is violated, and nothing else.
        traceback.print_exc()
        sys.exit(OUR_MISTAKE)


if __name__ == "__main__":
    main()
