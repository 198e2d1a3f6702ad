"""Find the weights of a model: in the package, in the cache, on the Hugging Face hub, or on the site of their project.

huggingface_hub reads `HF_HUB_OFFLINE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and the proxy variables.
"""

from dataclasses import replace
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path

from twins.checkpoints.facts import TIMM_CONFIG
from twins.checkpoints.file_kind import WEIGHT_FILES, advice_for_directory
from twins.errors import WeightsUnavailable
from twins.zoo import downloads, hub_cache, retry
from twins.zoo.models import ModelReference, find_entry
from twins.zoo.sources import HubCheckpoint, HubFile, Packaged, Unpublished, Url

REMOVED = "It was removed from the cache, so that the next start downloads it again."
DELETE = "Delete it and download it again."


def fetch(reference: ModelReference) -> Path:
    """Return the file with a model's weights, which is downloaded with a progress bar if need be, and checked.

    Raises UnknownModel, WeightsUnavailable.
    """
    if reference.file is not None:
        check_unchanged(reference.file, reference.sha256)
        return reference.file
    reference = located(reference)
    if reference.checkpoint is not None:
        return reference.checkpoint
    source = find_entry(reference.name).source
    if isinstance(source, Unpublished):
        raise unpublished(reference.name, source)
    path = find_file(reference.name, source)
    check(path, source.sha256)
    return path


def resolve(reference: ModelReference) -> ModelReference:
    """Return the reference with the file of its weights and the sha256 of that file.

    Raises UnknownModel, WeightsUnavailable.
    """
    reference = located(reference)
    path = fetch(reference).absolute()
    return replace(reference, file=path, sha256=read_digest(path))


def located(reference: ModelReference) -> ModelReference:
    """Return the reference with the file of its checkpoint, which is downloaded if it is on the hub.

    timm's configuration is downloaded beside it, if there is one. Raises WeightsUnavailable.
    """
    if reference.hub is None or reference.checkpoint is not None:
        return reference
    source = reference.hub
    for file in (source.file,) if source.file else WEIGHT_FILES:
        if path := hub_file(reference.name, source, file):
            hub_file(reference.name, source, str(Path(file).with_name(TIMM_CONFIG)))
            return replace(reference, checkpoint=path)
    lacks = f"does not have {source.file}" if source.file else f"has neither {' nor '.join(WEIGHT_FILES)}"
    raise WeightsUnavailable(f"{source}: the repository {lacks}; name the file, as in hf://{source.repo}/FILE")


def hub_file(name: str, source: HubCheckpoint, file: str) -> Path | None:
    """Return a file of the hub, from the cache of the hub if it is there; None if there is no such file.

    Raises WeightsUnavailable if the hub cannot be reached, or has no such repository.
    """
    try:
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except Exception as error:  # a malformed HF_ENDPOINT
        raise WeightsUnavailable(f"cannot fetch the weights of {name} ({source}): {reason(error)}") from error
    try:
        return from_hub(source.repo, file, source.revision)
    except LocalEntryNotFoundError as error:
        if file.endswith(TIMM_CONFIG):
            return None
        raise WeightsUnavailable(f"cannot fetch the weights of {name} ({source}): {reason(error)}") from error
    except EntryNotFoundError:
        return None
    except Exception as error:
        raise WeightsUnavailable(f"cannot fetch the weights of {name} ({source}): {reason(error)}") from error


def check_unchanged(path: Path, sha256: str | None) -> None:
    """Compare a file with the hash that it had when it was resolved. Raises WeightsUnavailable."""
    if (found := read_digest(path)) != sha256:
        raise WeightsUnavailable(
            f"{path} was replaced after the start: it has another sha256, {found} instead of {sha256}. Bring back the "
            "old file, or restart the service with the new one."
        )


def read_digest(path: Path) -> str:
    """Return the sha256 of a file. Raises WeightsUnavailable."""
    try:
        return downloads.digest(path)
    except OSError as error:
        advice = f". {advice_for_directory(path)}" if path.is_dir() else ""
        raise WeightsUnavailable(f"{path}: cannot read the weights: {error.strerror or error}{advice}") from error


def find_file(name: str, source: Packaged | HubFile | Url) -> Path:
    """Return the file of a source; download it if necessary. Raises WeightsUnavailable."""
    match source:
        case Packaged():
            return packaged(source)
        case HubFile():
            return download(name, source)
        case Url():
            return download_url(name, source)


def packaged(source: Packaged) -> Path:
    """Return a file of the package."""
    return Path(str(files("twins").joinpath("weights", source.file)))


def download(name: str, source: HubFile) -> Path:
    """Return a file of the hub, from the cache of the hub if it is there. Raises WeightsUnavailable."""
    try:
        return from_hub(source.repo, source.file, source.revision)
    except Exception as error:  # a full disk, or any error of the HTTP library of huggingface_hub
        raise unavailable(name, source, reason(error)) from error


def from_hub(repo: str, file: str, revision: str | None) -> Path:
    """Return a file of the hub, from its cache if it is there. Raise any error of huggingface_hub."""
    # imported here, since only downloads need it, and since a malformed HF_ENDPOINT raises on import
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def download() -> Path:
        hub_cache.remove_leftovers(repo)
        return Path(hf_hub_download(repo, file, revision=revision, library_name="twins-serving"))

    # which the library raises after several tries of its own
    return retry.repeatedly(download, final=LocalEntryNotFoundError)


def reason(error: Exception) -> str:
    """Return one line that says why a download failed."""
    responses = (getattr(cause, "response", None) for cause in (error, error.__cause__))
    if {getattr(response, "status_code", None) for response in responses} & {401, 403, 404}:
        return "the hub does not have this file, or you have no access to it; check HF_TOKEN"
    return str(error).strip().partition("\n")[0] or type(error).__name__


def cache_folder() -> Path:
    """Return the folder for what this project downloads and compiles, beside the cache of the hub."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "twins"


def download_url(name: str, source: Url) -> Path:
    """Return a file from the site of its project, from the cache if it is there. Raises WeightsUnavailable."""
    from huggingface_hub import constants

    path = cache_folder() / source.file  # one folder holds all downloads
    if path.is_file():
        return path
    if constants.HF_HUB_OFFLINE:
        raise unavailable(name, source, f"HF_HUB_OFFLINE is set, and {path} does not exist")
    try:
        downloads.fetch(source.url, path, sha256=source.sha256 or "")
    except (OSError, HTTPException, ValueError) as error:
        raise unavailable(name, source, str(error) or type(error).__name__) from error
    return path


def unpublished(name: str, source: Unpublished) -> WeightsUnavailable:
    """Return the error for a model whose weights nobody published."""
    others = f" Published models of its kind are {', '.join(source.instead)}." if source.instead else ""
    return WeightsUnavailable(
        f"nobody published weights for {name}; give a checkpoint of your own: --model {name}=FILE.{others}"
    )


def unavailable(name: str, source: HubFile | Url, why: str) -> WeightsUnavailable:
    """Return the error, with advice on how to provide the file."""
    place = source.repo if isinstance(source, HubFile) else source.url
    return WeightsUnavailable(
        f"cannot fetch the weights of {name} ({source}): {why}\n"
        f"Without a network, provide the file yourself: on another machine, run `twins pull {name}` or download "
        f"{source.file} from {place}. Then use --model {name}=PATH/{source.file}"
    )


def check(path: Path, sha256: str | None) -> None:
    """Compare a file with its sha256, or the beginning of it, if one is known. Raises WeightsUnavailable.

    A damaged file of a cache is removed, since every further start would fail in the same way.
    """
    if sha256 is None:
        return
    found = read_digest(path)
    if not found.startswith(sha256):
        removed = hub_cache.remove_file(path)
        wanted = f"not {sha256}" if len(sha256) == len(found) else f"which should begin with {sha256}"
        raise WeightsUnavailable(
            f"{path} is damaged or was replaced: its sha256 is {found}, {wanted}. {REMOVED if removed else DELETE}"
        )
