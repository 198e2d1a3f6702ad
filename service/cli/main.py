"""The commands and their exit codes."""

import sys

import click

from service.cli.classify import classify
from service.cli.embed import embed
from service.cli.evaluate import evaluate
from service.cli.models import convert, models, pull
from service.cli.segment import segment
from service.cli.serve import serve
from service.settings import SettingsError
from twins import __version__
from twins.errors import BackendMissing, BadOption, DatasetError, TwinsError

EXIT_USAGE, EXIT_MODEL, EXIT_INTERRUPTED = 2, 3, 130

EPILOG = """\b
A model is NAME, one of `twins models`, or NAME=FILE for a checkpoint of your own.
Exit codes: 0 success; 1 some images failed; 2 wrong usage or settings; 3 a model
cannot be downloaded or loaded; 4 stopped before the last answer; 5 the service
failed; 130 interrupted."""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def twins() -> None:
    """Serve Twins vision transformers, or run them on this machine."""


@twins.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)


for command in (serve, classify, segment, embed, evaluate, models, pull, convert):
    twins.add_command(command)


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
