"""The metadata in checkpoints of other projects, translated to the keys of `metadata`.

OpenMMLab (mmsegmentation, mmpretrain) stores class names, colours and its configuration in `meta`, and mean and
standard deviation in the configuration or in buffers. timm writes a `config.json` next to the weights.
"""

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from twins.checkpoints import metadata
from twins.errors import BadOption, CheckpointError
from twins.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor

PREPROCESSOR_BUFFER = re.compile(r"(?:\w+\.)*data_preprocessor\.\w+")
UINT8_RANGE = 255  # OpenMMLab's mean and standard deviation are on the scale 0 to 255
DIGITS = 6

RGB_FLAGS: dict[str, tuple[tuple[str, ...], bool]] = {
    "data_preprocessor": (("bgr_to_rgb", "to_rgb"), False),
    "img_norm_cfg": (("to_rgb",), True),
}
"""Names of the normalisation in OpenMMLab's configurations, 1.x and 0.x: the flags for RGB, and their default."""


def describe(content: object, statistics: "Mapping[str, Tensor]") -> dict[str, str]:
    """Return the metadata of a checkpoint's container; `statistics` are the buffers of its data preprocessor."""
    meta = content.get("meta") if isinstance(content, Mapping) else None
    found = describe_meta(meta) if isinstance(meta, Mapping) else {}
    values = {key.rpartition(".")[2]: tensor.flatten().tolist() for key, tensor in statistics.items()}
    return found | scaled(values)


def is_preprocessor_buffer(key: str) -> bool:
    """Return whether a key names a buffer of OpenMMLab's data preprocessor."""
    return bool(PREPROCESSOR_BUFFER.fullmatch(key))


def describe_meta(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return the class names, colours and normalisation in OpenMMLab's `meta`: 1.x in lower case, 0.x in capitals."""
    inner = meta.get("dataset_meta")
    newer: Mapping[str, Any] = inner if isinstance(inner, Mapping) else {}
    names: Any = newer.get("classes") or meta.get("CLASSES")
    colours: Any = newer.get("palette") or meta.get("PALETTE")
    found: dict[str, str] = {}
    if is_list(names, str):
        found[metadata.LABELS] = json.dumps([name.strip() for name in names])
    if is_list(colours, list | tuple) and all(is_colour(colour) for colour in colours):
        found[metadata.PALETTE] = json.dumps(["#" + bytes(colour).hex() for colour in colours])
    config = meta.get("cfg") or meta.get("config")
    return found | (config_normalisation(config) if isinstance(config, str) else {})


def config_normalisation(config: str) -> dict[str, str]:
    """Return mean and standard deviation in a configuration, which is Python source that is parsed and never run.

    Raises CheckpointError for a network that takes blue, green, red.
    """
    try:
        nodes = list(ast.walk(ast.parse(config)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    name, values = next(normalisations(nodes), ("", {}))
    if not scaled(values):
        return {}
    flags, default = RGB_FLAGS[name]
    if not next((values[flag] for flag in flags if flag in values), default):
        raise CheckpointError("its configuration says that the network takes BGR images, which is not supported")
    return scaled(values)


def normalisations(nodes: list[ast.AST]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the literal values of each normalisation in a configuration."""
    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) | ast.keyword(arg=str(name), value=value):
                if name in RGB_FLAGS and (values := literal_mapping(value)):
                    yield name, values


def literal_mapping(node: ast.expr) -> dict[str, Any]:
    """Return the entries of `dict(…)` or `{…}` whose values are literals."""
    match node:
        case ast.Call(func=ast.Name(id="dict"), args=[]):
            pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
        case ast.Dict():
            pairs = [(getattr(key, "value", None), value) for key, value in zip(node.keys, node.values, strict=True)]
        case _:
            return {}
    found: dict[str, Any] = {}
    for key, value in pairs:
        try:
            found[str(key)] = ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    return found


def scaled(values: Mapping[str, Any]) -> dict[str, str]:
    """Return mean and standard deviation on the scale 0 to 1 if both are given, as metadata."""
    mean, std = values.get("mean"), values.get("std")
    if not (is_list(mean, int | float) and is_list(std, int | float)):
        return {}
    return {metadata.MEAN: fractions(mean), metadata.STD: fractions(std)}


def fractions(values: Iterable[float]) -> str:
    """Return values on the scale 0 to 255 as JSON on the scale 0 to 1."""
    return json.dumps([round(value / UINT8_RANGE, DIGITS) for value in values])


@dataclass(frozen=True)
class TimmConfig:
    """The content of timm's `config.json`, which describes the weights in the same directory."""

    architecture: str
    preprocessing: Preprocessing


def read_timm_config(path: Path) -> TimmConfig | None:
    """Return the configuration at `path`, or None if there is none or another program wrote it.

    Raises CheckpointError if its values make no sense.
    """
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read. Correct or remove it.") from error
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        return None
    values = config.get("pretrained_cfg", config)  # older files have the values at the top
    try:
        if not isinstance(values, dict):
            raise TypeError("pretrained_cfg is no object")
        return TimmConfig(config["architecture"], timm_preprocessing(values))
    except (TypeError, ValueError, OverflowError, BadOption) as error:
        raise CheckpointError(f"{path} is wrong: {error}. Correct or remove it.") from error


def timm_preprocessing(values: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing in timm's `pretrained_cfg`. Raises ValueError, TypeError."""
    if values.get("crop_mode", "center") != "center":
        raise ValueError(f"the crop mode {values['crop_mode']!r} is not supported")
    _, height, width = values.get("input_size") or (3, None, None)
    if height != width:
        raise ValueError("the input is not square")
    return Preprocessing(
        size=height,
        crop=values.get("crop_pct"),
        interpolation=values.get("interpolation"),
        mean=metadata.triple(values.get("mean")),
        std=metadata.triple(values.get("std")),
    )


def is_list(value: Any, kind: Any) -> TypeGuard[Sequence[Any]]:
    """Return whether `value` is a list or tuple of such elements that is not empty."""
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(element, kind) for element in value)


def is_colour(value: Any) -> bool:
    """Return whether `value` is red, green and blue from 0 to 255."""
    return is_list(value, int) and len(value) == 3 and all(0 <= part <= 255 for part in value)
