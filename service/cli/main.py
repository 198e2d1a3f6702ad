"""The commands and their exit codes."""

import pkgutil
import sys
from collections.abc import Mapping

import click

from service.settings import SettingsError
from twins import __version__
from twins.errors import BackendMissing, BadOption, DatasetError, TwinsError

EXIT_USAGE, EXIT_MODEL, EXIT_INTERRUPTED = 2, 3, 130

COMMANDS: Mapping[str, str] = {
    "serve": "service.cli.serve:serve",
    "classify": "service.cli.classify:classify",
    "segment": "service.cli.segment:segment",
    "detect": "service.cli.detect:detect",
    "embed": "service.cli.embed:embed",
    "evaluate": "service.cli.evaluate:evaluate",
    "load": "service.cli.load:load",
    "keys": "service.cli.keys:keys",
    "repository": "service.cli.repository:repository",
    "models": "service.cli.models:models",
    "pull": "service.cli.models:pull",
    "convert": "service.cli.models:convert",
    "export": "service.cli.export:export",
    "table": "service.cli.table:table",
}
"""Where the commands are. A command is imported when it is used, so that a service does not wait for the others."""

EPILOG = """\b
A model is NAME, one of `twins models`, or NAME=FILE for a checkpoint of your own,
or NAME=hf://ORG/REPO for one on the Hugging Face hub.
Exit codes: 0 success; 1 some images failed; 2 wrong usage or settings; 3 a model
cannot be downloaded or loaded; 4 stopped before the last answer; 5 the service
failed; 130 interrupted."""


class Commands(click.Group):
    """The commands of the table, beside those that are declared here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        command: click.Command = pkgutil.resolve_name(COMMANDS[cmd_name])
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return a command and its arguments. Raise NoSuchCommand, which names the closest one."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(args[0], possibilities=self.list_commands(ctx), ctx=ctx) from error


@click.group(
    cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
def twins() -> None:
    """Serve Twins vision transformers, or run them on this machine."""


@twins.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)


def main() -> None:
    """Run the command line. Errors that a user can correct are printed without a traceback."""
    try:
        twins(prog_name="twins", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
    except SettingsError as error:
        fail(error, EXIT_USAGE)
    except (BackendMissing, BadOption, DatasetError) as error:
        fail(error, EXIT_USAGE)
    except TwinsError as error:
        fail(error, EXIT_MODEL)
    except BrokenPipeError:
        sys.stderr.close()


def fail(error: Exception, code: int) -> None:
    """Print an error and exit."""
    click.echo(f"twins: {error}", err=True)
    sys.exit(code)
