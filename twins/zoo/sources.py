"""Where the weights of a model come from."""

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path


@dataclass(frozen=True)
class HubFile:
    """Weights that timm published on the Hugging Face hub."""

    repo: str
    revision: str | None = None  # None if it is not known: the newest is used
    sha256: str | None = None  # None if it is not known: the file is not checked
    file: str = "model.safetensors"

    def __post_init__(self) -> None:
        assert self.revision is None or len(self.revision) == 40, "the hub takes a shorter one for a branch"

    def __str__(self) -> str:
        return f"hf://{self.repo}/{self.file}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class Packaged:
    """Weights in the folder `weights/` of this package."""

    file: str
    sha256: str

    def document(self) -> str:
        """Return the model card of the weights, in Markdown."""
        return files("twins").joinpath("weights", f"{Path(self.file).stem}.md").read_text("utf-8")

    def __str__(self) -> str:
        return f"package://twins/weights/{self.file}"


@dataclass(frozen=True)
class Url:
    """Weights on the site of their project."""

    url: str
    sha256: str | None  # at least its first characters; None if it is not known: the file is not checked

    @property
    def file(self) -> str:
        """Return the name of the file."""
        return self.url.rpartition("/")[2]

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class Unpublished:
    """An architecture whose weights nobody published: a user brings a checkpoint."""

    instead: tuple[str, ...] = ()  # models of the same task with weights

    def __str__(self) -> str:
        return "a checkpoint of your own"


HUB = "hf://"
HUB_CHECKPOINT = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[\w./-]+))?(?:@(?P<revision>[\w./-]+))?")
HUB_SYNTAX = "hf://ORG/REPO, hf://ORG/REPO/FILE or hf://ORG/REPO@REVISION"


@dataclass(frozen=True)
class HubCheckpoint:
    """A checkpoint that somebody put on the Hugging Face hub."""

    repo: str
    file: str | None = None  # None: the usual name of weights there
    revision: str | None = None  # a branch, tag or commit; None: the main branch

    @property
    def name(self) -> str:
        """Return the name of the repository without its owner."""
        return self.repo.partition("/")[2]

    def __str__(self) -> str:
        return (
            f"hf://{self.repo}"
            + (f"/{self.file}" if self.file else "")
            + (f"@{self.revision}" if self.revision else "")
        )


Source = HubFile | Packaged | Url | Unpublished
