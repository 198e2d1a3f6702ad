"""The gRPC interface against that of the last release, and the tool that compares them."""

from pathlib import Path

import pytest

import twins
from tools import compatibility
from tools.compatibility import breaking, compiled, last_release

RELEASED = """
syntax = "proto3";
package v1;
service Shop {
  rpc Find(Query) returns (Answer);
  rpc Watch(Query) returns (stream Answer);
}
message Query {
  bytes image = 1;
  optional uint32 top_k = 2;
  repeated string classes = 3;
  Form form = 4;
  oneof order {
    string first = 5;
    string last = 6;
  }
  message Limit {
    float least = 1;
  }
  enum Unit {
    UNIT_PIXELS = 0;
  }
}
message Answer {
  map<string, float> sums = 1;
}
enum Form {
  FORM_UNSPECIFIED = 0;
  FORM_PNG = 1;
}
"""

BREAKING = [
    ("  bytes image = 1;\n", "", "field v1.Query.image was removed"),
    ("bytes image = 1", "bytes data = 1", "field v1.Query.image was removed"),
    ("image = 1", "image = 9", "field v1.Query.image: number changed from 1 to 9"),
    ("bytes image", "string image", "field v1.Query.image: type changed from bytes to string"),
    ("Form form", "Answer form", "field v1.Query.form: type changed from v1.Form to v1.Answer"),
    ("optional uint32", "uint32", "field v1.Query.top_k: cardinality changed from optional to single"),
    ("repeated string", "string", "field v1.Query.classes: cardinality changed from repeated to single"),
    ("bytes image", "repeated bytes image", "field v1.Query.image: cardinality changed from single to repeated"),
    ("    string last = 6;\n  }", "  }\n  string last = 6;", "field v1.Query.last: oneof changed from order to none"),
    ("map<string, float>", "map<string, double>", "field v1.Answer.SumsEntry.value: type changed from float to double"),
    ("float least", "double least", "field v1.Query.Limit.least: type changed from float to double"),
    ("  rpc Find(Query) returns (Answer);\n", "", "method v1.Shop.Find was removed"),
    ("Find(Query)", "Find(Answer)", "method v1.Shop.Find: request changed from v1.Query to v1.Answer"),
    ("returns (Answer)", "returns (Query)", "method v1.Shop.Find: response changed from v1.Answer to v1.Query"),
    ("Find(Query)", "Find(stream Query)", "method v1.Shop.Find: stream of requests changed from False to True"),
    ("(stream Answer)", "(Answer)", "method v1.Shop.Watch: stream of responses changed from True to False"),
    ("  FORM_PNG = 1;\n", "", "value v1.Form.FORM_PNG was removed"),
    ("FORM_PNG = 1", "FORM_PNG = 2", "value v1.Form.FORM_PNG: number changed from 1 to 2"),
    ("  enum Unit {\n    UNIT_PIXELS = 0;\n  }\n", "", "enum v1.Query.Unit was removed"),
    ("service Shop", "service Store", "service v1.Shop was removed"),
    ("  message Limit {\n    float least = 1;\n  }\n", "", "message v1.Query.Limit was removed"),
]  # fmt: skip

HARMLESS = [
    ("  bytes image = 1;", "  bytes image = 1;\n  string id = 7;"),
    ("    string last = 6;", "    string last = 6;\n    string best = 7;"),
    ("FORM_PNG = 1;", "FORM_PNG = 1;\n  FORM_NPY = 2;"),
    ("service Shop {", "service Shop {\n  rpc List(Query) returns (Answer);"),
    ("message Answer {", "message Other {}\nmessage Answer {"),
    ("  bytes image = 1;", "  // The image.\n  bytes image = 1;"),
]


@pytest.fixture
def changes(tmp_path):
    """Return what finds the breaking changes of a replacement in the source."""

    def found(old: str, new: str) -> list[str]:
        assert old in RELEASED
        return breaking(*(described(tmp_path, text) for text in (RELEASED, RELEASED.replace(old, new, 1))))

    return found


def described(folder: Path, text: str):
    """Return the description of a source."""
    (folder / "shop.proto").write_text(text)
    return compiled(folder, Path("shop.proto"))


def test_the_interface_breaks_no_client_of_the_last_release():
    assert breaking(compiled(last_release()), compiled(compatibility.CURRENT)) == []


def test_the_last_release_is_not_newer_than_this_version():
    released, current = (list(map(int, name.split("."))) for name in (last_release().name, twins.__version__))
    assert released <= current


@pytest.mark.parametrize(("old", "new", "change"), BREAKING, ids=lambda part: part[:50])
def test_a_change_that_breaks_clients_is_found(changes, old, new, change):
    assert change in changes(old, new)


@pytest.mark.parametrize(("old", "new"), HARMLESS)
def test_an_addition_breaks_no_client(changes, old, new):
    assert changes(old, new) == []


def test_a_source_that_is_no_proto_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"shop\.proto cannot be compiled"):
        described(tmp_path, "message {")


def test_the_program_prints_what_it_found(capsys):
    assert compatibility.main() == 0
    assert capsys.readouterr().out == f"nothing breaks the clients of {last_release().name}\n"
