"""Build and check a release in `dist/`: `python -m tools.release [--image cpu] [--key FILE]`, or `make release`.

Everything is built from the files of the commit. The release is refused if tracked files differ from it.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.documents import ROOT
from tools.release import image, installed, packages, signing, source
from tools.release.version import section, version

TARGET = ROOT / "dist"


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--image", action="append", choices=sorted(image.FILES), help="the images to build; default: all"
    )
    parser.add_argument("--no-image", action="store_true", help="build no image, even if a Docker engine answers")
    parser.add_argument("--docker-flags", default="", help="further flags of `docker build`")
    parser.add_argument("--key", type=Path, help="the private SSH key that signs the checksums")
    parser.add_argument("--signers", type=Path, default=signing.SIGNERS, help="the public keys of those who may sign")
    return parser.parse_args()


def say(text: str) -> None:
    """Print a line at once."""
    print(f"release: {text}", flush=True)


def build_packages(current: str) -> list[packages.Archives]:
    """Build and check the wheel and the source archive of each package."""
    with tempfile.TemporaryDirectory() as folder:
        source.copy(Path(folder))
        epoch = source.commit_time()
        built = [packages.build(package, Path(folder), TARGET, epoch) for package in packages.PACKAGES]
    paths = source.tracked()
    pairs = zip(packages.PACKAGES, built, strict=True)
    if found := [text for package, archives in pairs for text in packages.problems(package, archives, paths, current)]:
        raise RuntimeError("\n".join(found))
    packages.check([path for archives in built for path in (archives.sdist, archives.wheel)])
    say(f"built and checked {', '.join(path.name for each in built for path in (each.sdist, each.wheel))}")
    return built


def try_packages(built: list[packages.Archives], current: str) -> None:
    """Install the wheels into new environments and ask the service."""
    say("installing the wheels with the pinned versions into new environments, which takes some minutes")
    with tempfile.TemporaryDirectory(prefix="twins-release-") as folder:
        installed.try_out(Path(folder), *(archives.wheel for archives in built), current)
    say("the installed service has answered curl and the installed client")


def build_images(chosen: argparse.Namespace, current: str) -> None:
    """Build the images, and write their ids and bills of materials beside the packages."""
    docker = None if chosen.no_image else image.engine()
    if not docker:
        say("NO IMAGE: " + ("not wanted" if chosen.no_image else "no Docker engine answers `docker version`"))
        return
    lines = []
    for host in chosen.image or sorted(image.FILES):
        built = image.build(docker, host, version=current, commit=source.commit(), flags=chosen.docker_flags)
        (TARGET / f"image-{host}.cdx.json").write_text(built.bill, "utf-8")
        lines.append(f"{built.id}  {built.name}\n")
        say(f"built and checked the image {built.name}")
    (TARGET / "images.txt").write_text("".join(lines), "utf-8")


def sign(chosen: argparse.Namespace) -> None:
    """Write the checksums of all files, and sign them if a key is given."""
    sums = signing.write_sums(TARGET)
    say(f"wrote {sums.relative_to(ROOT)}")
    if chosen.key:
        say(f"signed: {signing.sign(sums, chosen.key, chosen.signers).relative_to(ROOT)}")
    else:
        say("NOT SIGNED: give a private SSH key by `make release KEY=FILE`")


def main() -> str | None:
    """Make the release. Return what is wrong."""
    chosen = arguments()
    if changed := source.changed():
        return "release: these files differ from the commit:\n" + "\n".join(changed)
    current = version()
    shutil.rmtree(TARGET, ignore_errors=True)
    try:
        date, notes = section(current)
        say(f"version {current}, {date}, commit {source.commit()[:12]}")
        built = build_packages(current)
        try_packages(built, current)
        build_images(chosen, current)
        (TARGET / "NOTES.md").write_text(f"{notes}\n", "utf-8")
        sign(chosen)
    except subprocess.CalledProcessError as error:
        said = [text if isinstance(text, str) else text.decode() for text in (error.stdout, error.stderr) if text]
        return f"release: {error}\n" + "\n".join(said)
    except (RuntimeError, ValueError) as error:
        return f"release: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main())
