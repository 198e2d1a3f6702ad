"""`twins export`: writes a model as a file for another runtime."""

from dataclasses import replace
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from twins.errors import BackendMissing
from twins.runtime.files import FORMATS, Exported, check_installed, written
from twins.runtime.files import export as write_file
from twins.zoo.models import parse_reference


@click.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--to", "format_name", type=click.Choice(list(FORMATS)), required=True, help="Write this format")
@click.option("--labels", type=click.Path(path_type=Path), help="Read the class names from this file, one per line")
@click.option("--force", is_flag=True, help="Overwrite FILE")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs")
def export(  # noqa: PLR0913 - one for each flag
    name: str, file: Path, *, format_name: str, labels: Path | None, force: bool, as_json: bool
) -> None:
    """Write a model as a file that other runtimes run, and check it against the network.

    The file takes images of any number and size as uint8 pixels and normalises them itself. Class names and
    preprocessing are in its metadata.

    \b
    twins export twins_svt_nano --to onnx nano.onnx
    twins export twins_svt_nano_fpn --to openvino nano_fpn.xml
    twins export mine=./checkpoint.pth --to torch-export mine.pt2
    """  # noqa: D301 - click wants the control character
    reference = parse_reference(name)
    check_file(file, format_name, reference.checkpoint, force=force)
    try:
        check_installed(format_name)
    except BackendMissing as error:
        raise click.UsageError(f"--to {format_name}: {error}") from error
    from twins.zoo.loading import load  # imported late because it imports torch

    loaded = load(replace(reference, labels_file=labels))
    try:
        exported = write_file(loaded, format_name, file)
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror or error}") from error
    if as_json:
        click.echo(msgspec.json.encode(exported, enc_hook=str))
    else:
        write_report(exported)


def check_file(file: Path, format_name: str, checkpoint: Path | None, *, force: bool) -> None:
    """Raise UsageError if the file must not be written."""
    suffix, *_ = FORMATS[format_name].suffixes
    if file.suffix != suffix:
        raise click.UsageError(f"FILE is {file}; its name must end in {suffix}")
    if not file.parent.is_dir():
        raise click.UsageError(f"{file.parent}: no such folder")
    for each in written(format_name, file):
        if checkpoint is not None and each.exists() and each.samefile(checkpoint):
            raise click.UsageError(f"{each} is the checkpoint; choose another name for FILE")
        if each.exists() and not force:
            raise click.UsageError(f"{each} exists; --force overwrites it")


def write_report(exported: Exported) -> None:
    """Print the inputs and outputs of a file, and how it was checked."""
    ports = Table("name", "", "type", "shape", box=None)
    for port in exported.ports:
        ports.add_row(port.name, port.kind, port.dtype, " × ".join(port.shape))
    checks = Table("images", "size", "largest difference", "same class", box=None)
    for check in exported.checks:
        size = f"{check.size[0]} × {check.size[1]}"
        checks.add_row(str(check.batch), size, f"{check.difference:.1e} of the deviation", f"{check.agreement:.2%}")
    screen = Console()
    screen.print(f"{exported.path}: {exported.version}", soft_wrap=True, highlight=False, markup=False)
    screen.print(ports)
    screen.print("Checked against the network on random images:")
    screen.print(checks)
