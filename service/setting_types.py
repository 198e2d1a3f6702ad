"""The types of settings that are more than a number or a word, and how they are read from a variable."""

import re
from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr


def split(value: object) -> object:
    """Split a string at its commas, which is how a list is written in a variable."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def split_keys(value: object) -> object:
    """Split a string like `split`, but refuse an empty one: an empty variable must not switch authentication off."""
    if isinstance(value, str) and not value.strip():
        raise ValueError("must have a key; remove it if no key is needed")
    return split(value)


def check_key(key: SecretStr) -> SecretStr:
    """Refuse a name without a key, as is left over when the variable in NAME:$KEY is empty."""
    if key.get_secret_value().endswith(":"):
        raise ValueError("one key has a name and nothing else; write NAME:KEY")
    if key.get_secret_value().startswith(":"):
        raise ValueError("one key has an empty name; write KEY or NAME:KEY")
    return key


def check_keys(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """Refuse a key that is given twice: the log could not say whose requests it carries."""
    texts = [key.get_secret_value() for key in keys]
    secrets = {text.partition(":")[2] or text for text in texts}
    if len(secrets) < len(texts):
        raise ValueError("one key is given twice, perhaps under two names; give each key once")
    return keys


def split_devices(value: object) -> object:
    """Split a string like `split`, but refuse a list without a device."""
    devices = split(value)
    if devices in ((), []):
        raise ValueError("must name a device: auto, cpu, cuda or cuda:N")
    return devices


def check_device(text: str) -> str:
    """Refuse a string that names no device."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise ValueError("must be auto, cpu, cuda (the first GPU) or cuda:N (the GPU with the number N)")
    return text


def check_network(text: str) -> str:
    """Refuse a string that is neither an IP address nor a network."""
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise ValueError("must be an IP address or a network, such as 10.0.0.0/8") from None


def check_endpoint(text: str) -> str:
    """Refuse a string that is no URL of a receiver."""
    if text and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", text):
        raise ValueError("must be a URL, such as http://localhost:4317")
    return text


def split_at_spaces(value: object) -> object:
    """Split a string at spaces, for a list whose elements contain commas."""
    return tuple(value.split()) if isinstance(value, str) else value


List = Annotated[tuple[str, ...], BeforeValidator(split)]
SpacedList = Annotated[tuple[str, ...], BeforeValidator(split_at_spaces)]
Key = Annotated[SecretStr, Field(min_length=1), AfterValidator(check_key)]
Keys = Annotated[tuple[Key, ...], BeforeValidator(split_keys), AfterValidator(check_keys)]
Devices = Annotated[
    tuple[Annotated[str, AfterValidator(check_device)], ...], Field(min_length=1), BeforeValidator(split_devices)
]
Networks = Annotated[tuple[Annotated[str, AfterValidator(check_network)], ...], BeforeValidator(split)]
Endpoint = Annotated[str, AfterValidator(check_endpoint)]
Port = Annotated[int, Field(ge=0, le=65535)]
Route = Annotated[str, Field(pattern=r"^(/[\w.:~-]+)*$")]
