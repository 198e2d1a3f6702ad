"""A model's weights as a file on this disk: from the package, the cache, the Hugging Face hub, or their project's site.

`HF_HUB_OFFLINE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and the proxy variables act as everywhere:
huggingface_hub reads them.
"""

from dataclasses import replace
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path

from twins.checkpoints.file_kind import advice_for_directory
from twins.errors import WeightsUnavailable
from twins.zoo import downloads
from twins.zoo.models import HubFile, ModelReference, Packaged, Url, find_entry


def fetch(reference: ModelReference) -> Path:
    """Return the file with a model's weights, which is downloaded with a progress bar if need be, and checked.

    Raises UnknownModel, WeightsUnavailable.
    """
    if reference.file is not None:
        check_unchanged(reference.file, reference.sha256)
        return reference.file
    if reference.checkpoint is not None:
        return reference.checkpoint
    source = find_entry(reference.name).source
    path = find_file(reference.name, source)
    check(path, source.sha256)
    return path


def resolve(reference: ModelReference) -> ModelReference:
    """Return the reference with the file of its weights and the sha256 of that file.

    Raises UnknownModel, WeightsUnavailable.
    """
    path = fetch(reference).absolute()
    return replace(reference, file=path, sha256=read_digest(path))


def check_unchanged(path: Path, sha256: str | None) -> None:
    """Compare a file with the hash that it had when it was resolved. Raises WeightsUnavailable."""
    if (found := read_digest(path)) != sha256:
        raise WeightsUnavailable(
            f"{path} was replaced after the start: it has another sha256, {found} instead of {sha256}. Bring back the "
            "old file, or start again with the new one."
        )


def read_digest(path: Path) -> str:
    """Return the sha256 of a file. Raises WeightsUnavailable."""
    try:
        return downloads.digest(path)
    except OSError as error:
        advice = f". {advice_for_directory(path)}" if path.is_dir() else ""
        raise WeightsUnavailable(f"{path}: cannot read the weights: {error.strerror or error}{advice}") from error


def find_file(name: str, source: Packaged | HubFile | Url) -> Path:
    """The file of a source, downloaded if it is not here yet. Raises WeightsUnavailable."""
    match source:
        case Packaged():
            return packaged(source)
        case HubFile():
            return download(name, source)
        case Url():
            return download_url(name, source)


def packaged(source: Packaged) -> Path:
    """A file that came with the package."""
    return Path(str(files("twins").joinpath("weights", source.file)))


def download(name: str, source: HubFile) -> Path:
    """A file of the hub, from the ordinary cache if it is there. Raises WeightsUnavailable."""
    try:
        # imported late: only those who fetch should pay for it, and a malformed HF_ENDPOINT fails here
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(source.repo, source.file, revision=source.revision, library_name="twins-serving"))
    except Exception as error:  # full disks, and whatever the HTTP library under this version of the hub's raises
        raise unavailable(name, source, reason(error)) from error


def reason(error: Exception) -> str:
    """Why nothing could be fetched, in a line."""
    responses = (getattr(cause, "response", None) for cause in (error, error.__cause__))
    if {getattr(response, "status_code", None) for response in responses} & {401, 403, 404}:
        return "the hub does not have it, or does not show it to you; is HF_TOKEN set and right?"
    return str(error).strip().partition("\n")[0] or type(error).__name__


def download_url(name: str, source: Url) -> Path:
    """A file from its project's site, from the cache if it is there. Raises WeightsUnavailable."""
    from huggingface_hub import constants

    path = Path(constants.HF_HOME) / "twins" / source.file  # beside the hub's files: one folder to keep
    if path.is_file():
        return path
    if constants.HF_HUB_OFFLINE:
        raise unavailable(name, source, f"HF_HUB_OFFLINE is set, and {path} is not there")
    try:
        downloads.fetch(source.url, path, sha256=source.sha256)
    except (OSError, HTTPException, ValueError) as error:
        raise unavailable(name, source, str(error) or type(error).__name__) from error
    return path


def unavailable(name: str, source: HubFile | Url, why: str) -> WeightsUnavailable:
    """The error, with the way out."""
    place = source.repo if isinstance(source, HubFile) else source.url
    return WeightsUnavailable(
        f"cannot fetch the weights of {name} ({source}): {why}\n"
        f"Without a network, bring the file yourself: on a machine that has one, `twins pull {name}` or download "
        f"{source.file} from {place}; then use --model {name}=PATH/{source.file}"
    )


def check(path: Path, sha256: str | None) -> None:
    """Compares a file with its known hash, or the beginning of it, if one is known. Raises WeightsUnavailable."""
    if sha256 is None:
        return
    found = downloads.digest(path)
    if not found.startswith(sha256):
        wanted = f"not {sha256}" if len(sha256) == len(found) else f"which does not begin with {sha256}"
        raise WeightsUnavailable(
            f"{path} is damaged or was replaced: its sha256 is {found}, {wanted}. Delete it and fetch it again."
        )
