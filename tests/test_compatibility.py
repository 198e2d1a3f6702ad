"""The gRPC interface against that of the last release, and the tool that compares them with buf."""

from pathlib import Path

import pytest

import twins
from tests.programs import need
from tools import compatibility
from tools.compatibility import breaking, last_release

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
    ("  bytes image = 1;\n", "", 'field "1" with name "image" on message "Query" was deleted'),
    ("bytes image = 1", "bytes data = 1", 'Field "1" on message "Query" changed name from "image" to "data"'),
    ("bytes image = 1", "bytes image = 9", 'field "1" with name "image" on message "Query" was deleted'),
    ("bytes image", "string image", 'changed type from "bytes" to "string"'),
    ("repeated string", "string", 'changed cardinality from "repeated" to "optional with implicit presence"'),
    ("    string last = 6;\n  }", "  }\n  string last = 6;", "moved from inside to outside a oneof"),
    ("  rpc Find(Query) returns (Answer);\n", "", 'RPC "Find" on service "Shop" was deleted'),
    ("Find(Query)", "Find(Answer)", 'changed request type from "v1.Query" to "v1.Answer"'),
    ("(stream Answer)", "(Answer)", "changed from server streaming to server unary"),
    ("  FORM_PNG = 1;\n", "", 'enum value "1" on enum "Form" was deleted'),
    ("service Shop", "service Store", 'service "Shop" was deleted'),
    ("  message Limit {\n    float least = 1;\n  }\n", "", 'message "Query.Limit" was deleted'),
]

HARMLESS = [
    ("  bytes image = 1;", "  bytes image = 1;\n  string id = 7;"),
    ("    string last = 6;", "    string last = 6;\n    string best = 7;"),
    ("FORM_PNG = 1;", "FORM_PNG = 1;\n  FORM_NPY = 2;"),
    ("service Shop {", "service Shop {\n  rpc List(Query) returns (Answer);"),
    ("message Answer {", "message Other {}\nmessage Answer {"),
    ("  bytes image = 1;", "  // The image.\n  bytes image = 1;"),
]


@pytest.fixture(autouse=True)
def buf():
    """Skip the tests where buf is not installed."""
    need("buf")


@pytest.fixture
def changes(tmp_path):
    """Return what finds the breaking changes of a replacement in the source."""

    def found(old: str, new: str) -> list[str]:
        assert old in RELEASED
        texts = {"released": RELEASED, "current": RELEASED.replace(old, new, 1)}
        return breaking(*(written(tmp_path / name, text) for name, text in texts.items()), Path("shop.proto"))

    return found


def written(folder: Path, text: str) -> Path:
    """Return a new folder with a source."""
    folder.mkdir()
    (folder / "shop.proto").write_text(text)
    return folder


def test_the_interface_breaks_no_client_of_the_last_release():
    assert breaking(last_release(), compatibility.CURRENT) == []


def test_the_last_release_is_not_newer_than_this_version():
    released, current = (list(map(int, name.split("."))) for name in (last_release().name, twins.__version__))
    assert released <= current


@pytest.mark.parametrize(("old", "new", "change"), BREAKING, ids=lambda part: part[:50])
def test_a_change_that_breaks_clients_is_found(changes, old, new, change):
    assert change in "\n".join(changes(old, new))


@pytest.mark.parametrize(("old", "new"), HARMLESS)
def test_an_addition_breaks_no_client(changes, old, new):
    assert changes(old, new) == []


def test_a_source_that_is_no_proto_is_an_error(changes):
    with pytest.raises(ValueError, match=r"shop\.proto cannot be compiled"):
        changes("message Query {", "message {")


def test_the_program_prints_what_it_found(capsys):
    assert compatibility.main() == 0
    assert capsys.readouterr().out == f"nothing breaks the clients of {last_release().name}\n"


def test_the_program_fails_for_a_change_that_breaks_clients(capsys, monkeypatch, tmp_path):
    source = (compatibility.CURRENT / compatibility.SOURCE).read_text("utf-8")
    target = tmp_path / compatibility.SOURCE
    target.parent.mkdir(parents=True)
    target.write_text(source.replace("rpc Classify(", "rpc Recognise("))
    monkeypatch.setattr(compatibility, "CURRENT", tmp_path)
    assert compatibility.main() == 1
    assert 'RPC "Classify" on service "Twins" was deleted' in capsys.readouterr().out
