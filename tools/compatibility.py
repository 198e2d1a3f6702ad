"""Check that the gRPC interface breaks no client of the last release: `python -m tools.compatibility`.

Whatever a release had must still be there with the same facts: a field with its number, type and cardinality, a method
with its messages and streams, a value of an enum with its number. New elements break no client.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

from tools.documents import ROOT

SOURCE = Path("twins/v1/twins.proto")
CURRENT = ROOT / "proto"
RELEASED = CURRENT / "released"

Facts = dict[str, object]
"""What clients depend on, by its name, as in `number`."""


@dataclass(frozen=True)
class Element:
    """A part of an interface that clients use."""

    name: str  # as in `field twins.v1.ClassifyRequest.image`
    facts: Facts


def compiled(folder: Path, source: Path = SOURCE) -> FileDescriptorProto:
    """Return the description of a source below a folder. Raise ValueError if it cannot be compiled."""
    with tempfile.NamedTemporaryFile(suffix=".binpb") as target:
        if protoc.main(["protoc", f"--proto_path={folder}", f"--descriptor_set_out={target.name}", str(source)]):
            raise ValueError(f"{folder / source} cannot be compiled")
        return FileDescriptorSet.FromString(Path(target.name).read_bytes()).file[0]


def elements(file: FileDescriptorProto) -> Iterator[Element]:
    """Yield every element of an interface."""
    for message in file.message_type:
        yield from of_message(message, file.package)
    for enum in file.enum_type:
        yield from of_enum(enum, file.package)
    for service in file.service:
        yield from of_service(service, file.package)


def of_message(message: DescriptorProto, package: str) -> Iterator[Element]:
    """Yield a message with its fields and with what is declared inside it."""
    name = f"{package}.{message.name}"
    yield Element(f"message {name}", {})
    for field in message.field:
        yield Element(f"field {name}.{field.name}", facts(field, message))
    for nested in message.nested_type:
        yield from of_message(nested, name)
    for enum in message.enum_type:
        yield from of_enum(enum, name)


def facts(field: FieldDescriptorProto, message: DescriptorProto) -> Facts:
    """Return what a client depends on in a field."""
    alone = field.proto3_optional or not field.HasField("oneof_index")
    return {
        "number": field.number,
        "type": field.type_name.removeprefix(".") or kind(field.Type.Name(field.type)),
        "cardinality": "optional" if field.proto3_optional else CARDINALITIES[field.label],
        "oneof": "none" if alone else message.oneof_decl[field.oneof_index].name,
    }


CARDINALITIES = {
    FieldDescriptorProto.LABEL_OPTIONAL: "single",
    FieldDescriptorProto.LABEL_REQUIRED: "required",
    FieldDescriptorProto.LABEL_REPEATED: "repeated",
}


def kind(name: str) -> str:
    """Return a type as the source writes it: `uint32` for TYPE_UINT32."""
    return name.removeprefix("TYPE_").lower()


def of_enum(enum: EnumDescriptorProto, package: str) -> Iterator[Element]:
    """Yield an enum with its values."""
    name = f"{package}.{enum.name}"
    yield Element(f"enum {name}", {})
    for value in enum.value:
        yield Element(f"value {name}.{value.name}", {"number": value.number})


def of_service(service: ServiceDescriptorProto, package: str) -> Iterator[Element]:
    """Yield a service with its methods."""
    name = f"{package}.{service.name}"
    yield Element(f"service {name}", {})
    for method in service.method:
        yield Element(
            f"method {name}.{method.name}",
            {
                "request": method.input_type.removeprefix("."),
                "response": method.output_type.removeprefix("."),
                "stream of requests": method.client_streaming,
                "stream of responses": method.server_streaming,
            },
        )


def breaking(released: FileDescriptorProto, current: FileDescriptorProto) -> list[str]:
    """Return the changes that break clients of a release, a sentence for each."""
    now = {element.name: element.facts for element in elements(current)}
    return [change for element in elements(released) for change in changes(element, now.get(element.name))]


def changes(element: Element, now: Facts | None) -> list[str]:
    """Return what has changed in an element of a release."""
    if now is None:
        return [f"{element.name} was removed"]
    return [
        f"{element.name}: {fact} changed from {value} to {now[fact]}"
        for fact, value in element.facts.items()
        if now[fact] != value
    ]


def last_release() -> Path:
    """Return the folder of the last release."""
    return max(RELEASED.iterdir(), key=lambda folder: [int(part) for part in folder.name.split(".")])


def main() -> int:
    """Print the changes since the last release that break clients. Return 1 if there are any."""
    release = last_release()
    found: Sequence[str] = breaking(compiled(release), compiled(CURRENT))
    print("\n".join(found) or f"nothing breaks the clients of {release.name}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
