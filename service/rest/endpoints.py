"""The endpoints that run a model: one per task, made from the task's options and renderers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from service.core.call import Call
from service.errors import BadRequest, NotAcceptable
from service.rest.accept import choose
from service.rest.body import BodyContent, ImageBody, check_names
from twins.render import RENDERERS
from twins.render.renderer import JSON, Renderer
from twins.tasks import TASKS
from twins.tasks.options import Option, declared
from twins.tasks.task import AnyTask

FORMAT = "format"
MODEL = Option("model", str, None, "Run this model from /models. The default is the first model that can run the task.")


@dataclass(frozen=True)
class Endpoint:
    """The endpoint of one task."""

    task: AnyTask
    renderers: Mapping[str, Renderer]  # by format
    options: Mapping[str, Option]  # the task's, and those that every endpoint has
    body: type[ImageBody]  # of a request in JSON

    def call(self, given: BodyContent, query: dict[str, str], accept: str) -> Call:
        """Return what a client asks for. An option in the body overrides the same one in the query.

        Raises BadRequest, BadOption, NotAcceptable.
        """
        check_names(given.options, self.options)
        texts = {**query, **given.options}
        values = {name: READERS[self.options[name].kind](name, text) for name, text in texts.items()}
        model, wanted = values.pop(MODEL.name, None), values.pop(FORMAT, None)
        name, media_type = self.choose_format(wanted, accept, several=given.several)
        return Call(self.task.name, given.images, self.task.options(**values), model, self.renderers[name], media_type)

    @property
    def offers(self) -> Mapping[str, str]:
        """Return the format for each media type, for clients that name no format."""
        offers: dict[str, str] = {}
        for name, renderer in self.renderers.items():
            for media_type in renderer.media_types:
                offers.setdefault(media_type, name)
        return offers

    def choose_format(self, wanted: str | None, accept: str, *, several: bool) -> tuple[str, str]:
        """Return the format of an answer and its media type. Raises BadRequest, NotAcceptable.

        Several images are answered by a list, which exists in JSON only.
        """
        if wanted is not None:
            self.options[FORMAT].check(wanted)
            media_types = self.renderers[wanted].media_types
            media_type = choose(accept, media_types) or media_types[0]
            if several and media_type != JSON:
                raise NotAcceptable(
                    f"several images are answered in JSON, which {wanted} is not; send one image at a time"
                )
            return wanted, media_type
        offers = [JSON] if several else list(self.offers)
        if self.offers.keys() == {JSON}:  # there is nothing to choose from
            return self.offers[JSON], JSON
        if (liked := choose(accept, offers)) is None:
            what = "several images are answered" if several else "the answer is available"
            raise NotAcceptable(f"{what} as {', '.join(offers)}; the Accept header {accept[:200]!r} matches none")
        return self.offers[liked], liked


def read_list(_: str, text: str) -> tuple[str, ...]:
    """Return the values of a list separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def read_int(name: str, text: str) -> int:
    """Return a whole number. Raises BadRequest."""
    if not (text.isascii() and text.removeprefix("-").isdecimal() and len(text) < 10):
        raise BadRequest(f"{name} is {text[:40]!r}; it must be a whole number")
    return int(text)


def read_float(name: str, text: str) -> float:
    """Return a number. Raises BadRequest."""
    try:
        return float(text)
    except ValueError as error:
        raise BadRequest(f"{name} is {text[:40]!r}; it must be a number") from error


def read_bool(name: str, text: str) -> bool:
    """Return true or false. Raises BadRequest."""
    if text.lower() not in ("true", "false"):
        raise BadRequest(f"{name} is {text[:40]!r}; it must be true or false")
    return text.lower() == "true"


READERS: Mapping[type, Callable[[str, str], Any]] = {
    str: lambda _, text: text,
    tuple: read_list,
    int: read_int,
    float: read_float,
    bool: read_bool,
}
"""The parsers of option texts, by the type of the option."""


def json_type(option: Option) -> Any:
    """Return the type of an option in JSON, described for the OpenAPI document.

    The description has the option's range as well, but only the task checks it, whatever the protocol.
    """
    schema = {
        "minimum": option.minimum,
        "maximum": option.maximum,
        "enum": list(option.choices) or None,
        "default": option.default if option.default != () else None,
    }
    kind: Any = list[str | int] if option.kind is tuple else option.kind
    given = {key: value for key, value in schema.items() if value is not None}
    return Annotated[kind, Meta(description=option.description, extra_json_schema=given)]


def body(name: str, options: Mapping[str, Option]) -> type[ImageBody]:
    """Return the JSON form of a request with these options."""
    fields = [(each, json_type(option) | None, None) for each, option in options.items()]
    namespace = {"__doc__": ImageBody.__doc__}
    made = msgspec.defstruct(name, fields, bases=(ImageBody,), namespace=namespace, forbid_unknown_fields=True)
    return cast("type[ImageBody]", made)


def endpoint(task: AnyTask) -> Endpoint:
    """Return the endpoint of a task. It has the option `format` if there is more than one."""
    renderers = RENDERERS[task.name]
    options = {MODEL.name: MODEL, **declared(task.options)}
    if len(renderers) > 1:
        described = "Return the answer in this format. This takes precedence over the Accept header."
        options[FORMAT] = Option(FORMAT, str, None, described, choices=tuple(renderers))
    return Endpoint(task, renderers, options, body(f"{task.name.title()}Body", options))


ENDPOINTS: Mapping[str, Endpoint] = {name: endpoint(task) for name, task in TASKS.items()}
"""By the task's name, which is also the path."""
