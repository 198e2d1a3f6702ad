"""Find the images of a folder that are most alike to one image: `python examples/neighbours.py FOLDER IMAGE`.

The embeddings are those of `twins embed --normalize`, so that their product is the cosine of their angle.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

TILE, GAP = 160, 8  # pixels


@dataclass(frozen=True)
class Neighbour:
    """An image of the folder."""

    path: Path
    likeness: float  # the cosine, from -1 to 1


@dataclass(frozen=True)
class Index:
    """The embeddings of images, N C, each of length 1."""

    paths: Sequence[Path]
    embeddings: NDArray[np.float32]

    def nearest(self, query: NDArray[np.float32], count: int) -> list[Neighbour]:
        """Return the images whose embeddings are closest to one, best first."""
        likeness = self.embeddings @ query
        best = np.argsort(-likeness, kind="stable")[:count]
        return [Neighbour(self.paths[i], float(likeness[i])) for i in best]


def embed(source: Path, model: str) -> Index:
    """Return the embeddings of a file, or of all images in a folder that can be read. Raise ClickException."""
    command = [sys.executable, "-m", "service.cli", "embed", str(source), "--normalize", "--model", model]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = [line for line in lines if "embedding" in line]
    if not found:
        raise click.ClickException(f"no embedding of {source}: {done.stderr.strip()}")
    return Index([Path(line["file"]) for line in found], np.array([line["embedding"] for line in found], np.float32))


def sheet(image: Path, neighbours: Sequence[Neighbour]) -> Image.Image:
    """Return one row of images: the one that was asked for, and its neighbours after a gap."""
    tiles = [tile(path) for path in (image, *(each.path for each in neighbours))]
    drawn = Image.new("RGB", (len(tiles) * (TILE + GAP) + 2 * GAP, TILE + 2 * GAP), "white")
    for number, each in enumerate(tiles):
        drawn.paste(each, (GAP + number * (TILE + GAP) + (GAP if number else 0), GAP))
    return drawn


def tile(path: Path) -> Image.Image:
    """Return an image as a square."""
    with Image.open(path) as opened:
        return ImageOps.fit(ImageOps.exif_transpose(opened).convert("RGB"), (TILE, TILE))


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="twins_svt_nano", show_default=True, help="A classifier, as `twins embed` takes it.")
@click.option("--count", default=5, show_default=True, type=click.IntRange(1), help="Find this many images.")
@click.option("--output", type=click.Path(path_type=Path), help="Draw the images into this file.")
def main(folder: Path, image: Path, *, model: str, count: int, output: Path | None) -> None:
    """Print the images in FOLDER that are most alike to IMAGE, best first."""
    index, query = embed(folder, model), embed(image, model).embeddings[0]
    others = [neighbour for neighbour in index.nearest(query, count + 1) if not neighbour.path.samefile(image)]
    for neighbour in others[:count]:
        click.echo(f"{neighbour.likeness:.3f}  {neighbour.path}")
    if output:
        sheet(image, others[:count]).save(output)


if __name__ == "__main__":
    main()
