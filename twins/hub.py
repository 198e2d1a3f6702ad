"""A model's weights as a file on this disk: from the package, the cache, or the Hugging Face hub.

`HF_HUB_OFFLINE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and the proxy variables act as everywhere:
huggingface_hub reads them.
"""

import hashlib
from importlib.resources import files
from pathlib import Path

from twins.errors import WeightsUnavailable
from twins.zoo import HubFile, Packaged, Spec, find


def fetch(spec: Spec) -> Path:
    """The file with a model's weights, downloaded with a progress bar if need be, and checked.

    Raises UnknownModel, WeightsUnavailable.
    """
    if spec.checkpoint is not None:
        return spec.checkpoint
    source = find(spec.name).source
    path = packaged(source) if isinstance(source, Packaged) else download(spec.name, source)
    check(path, source.sha256)
    return path


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


def unavailable(name: str, source: HubFile, why: str) -> WeightsUnavailable:
    """The error, with the way out."""
    return WeightsUnavailable(
        f"cannot fetch the weights of {name} ({source}): {why}\n"
        f"Without a network, bring the file yourself: on a machine that has one, `twins pull {name}` or download "
        f"{source.file} from {source.repo}; then use --model {name}=PATH/{source.file}"
    )


def check(path: Path, sha256: str | None) -> None:
    """Compares a file with its known hash, if one is known. Raises WeightsUnavailable."""
    if sha256 is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise WeightsUnavailable(
            f"{path} is damaged or was replaced: its sha256 is {found}, not {sha256}. Delete it and fetch it again."
        )
