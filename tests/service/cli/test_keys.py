"""`twins keys`: keys are shown once, and their hashes are in the file."""

import re
import shlex
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner, Result

from service.access import key_file
from service.access.keys import SCOPES, digest
from service.cli.keys import keys
from service.rest.protection import DEFAULTS
from tools.documents import SECURITY


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a command on a file."""

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(keys, [*arguments, "--file", str(tmp_path / "keys.toml")])

    command.path = tmp_path / "keys.toml"
    return command


def test_a_new_key_is_printed_and_only_its_hash_is_in_the_file(run):
    secret = run("add", "team-a", "--scope", "infer", "--expires", "2027-01-01").output.strip()
    (key,) = key_file.read(run.path)
    assert (key.name, key.digest, key.scopes) == ("team-a", digest(secret), ("infer",))
    assert key.expires == datetime(2027, 1, 1, tzinfo=UTC)
    assert len(secret) >= 32
    assert secret not in run.path.read_text()
    assert run.path.stat().st_mode & 0o777 == 0o600


def test_keys_are_added_to_those_in_the_file_and_none_is_like_another(run):
    secrets = {run("add", name).output for name in ("one", "two", "three")}
    assert len(secrets) == 3
    assert [key.name for key in key_file.read(run.path)] == ["one", "two", "three"]
    assert key_file.read(run.path)[0].scopes == ("infer", "models")


@pytest.mark.parametrize("name", ["taken", "with space", ""])
def test_a_name_that_is_taken_or_impossible_is_refused(run, name):
    run("add", "taken")
    before = run.path.read_bytes()
    assert run("add", name).exit_code == 2
    assert run.path.read_bytes() == before


def test_the_list_shows_scopes_and_expired_keys_and_no_hash(run):
    run("add", "old", "--scope", "control", "--expires", "2020-01-01T12:00:00")
    run("add", "new")
    output = run("list").output
    assert "2020-01-01 12:00:00 UTC (expired)" in output
    assert "never" in output
    assert key_file.read(run.path)[0].digest.hex() not in output


def test_a_removed_key_is_gone_and_an_unknown_one_is_refused(run):
    run("add", "one")
    run("add", "two")
    assert run("remove", "one").exit_code == 0
    assert [key.name for key in key_file.read(run.path)] == ["two"]
    assert "has no key one; it has two" in run("remove", "one").output


# ---------------------------------------------------------------------- the page about it


def test_the_commands_of_the_page_work_in_their_order(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line)[2:] for line in SECURITY.read_text().splitlines() if line.startswith("twins keys")]
    assert [command[0] for command in commands] == ["add", "add", "add", "list", "remove"]
    for command in commands:
        result = CliRunner().invoke(keys, command)
        assert result.exit_code == 0, result.output
    assert [key.name for key in key_file.read(tmp_path / "keys.toml")] == ["operator", "prometheus"]


def test_the_file_of_the_page_is_read(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", SECURITY.read_text(), re.DOTALL)
    (tmp_path / "keys.toml").write_text(example)
    (key,) = key_file.read(tmp_path / "keys.toml")
    assert (key.name, key.scopes) == ("team-a", ("infer", "models"))


def test_the_page_describes_every_scope():
    assert tuple(re.findall(r"^\| `(\w+)` \|", section("In a file"), re.MULTILINE)) == SCOPES


def test_the_page_has_the_headers_of_the_code():
    found = dict(re.findall(r"^\| `([\w-]+)` \| `(.*?)` \|", section("Headers"), re.MULTILINE))
    assert {name.lower(): value for name, value in found.items()} == {
        name.decode(): value.decode() for name, value in DEFAULTS
    }


def section(title: str) -> str:
    """Return the text below a heading of the page."""
    return re.split(r"^#+ ", SECURITY.read_text().partition(f"# {title}\n")[2], flags=re.MULTILINE)[0]
