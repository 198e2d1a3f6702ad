"""The file of keys: what is in it, what is refused, and what a change does."""

from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from service.access import key_file
from service.access.key_file import CurrentKeys
from service.access.keys import Key, digest
from service.errors import Unauthenticated
from service.settings import Settings, SettingsError

ONE = f'[[keys]]\nname = "one"\nsha256 = "{digest("1").hex()}"\n'
TWO = f'[[keys]]\nname = "two"\nsha256 = "{digest("2").hex()}"\n'


@pytest.fixture
def path(tmp_path):
    """Return a file with one key."""
    (tmp_path / "keys.toml").write_text(ONE)
    return tmp_path / "keys.toml"


def test_a_key_may_infer_and_list_models_for_ever_unless_the_file_says_otherwise(path):
    assert key_file.read(path) == [Key("one", digest("1"), ("infer", "models"), None)]


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2027-01-01", 0),
        ("2027-01-01T12:00:00", 12),
        ("2027-01-01T12:00:00Z", 12),
        ("2027-01-01T12:00:00+02:00", 10),
    ],
)
def test_a_key_expires_at_a_date_or_a_time_in_utc(path, text, hour):
    path.write_text(f"{ONE}expires = {text}\n")
    assert key_file.read(path)[0].expires == datetime(2027, 1, 1, hour, tzinfo=UTC)


def test_what_is_written_can_be_read(path):
    keys = [Key("old", digest("old"), ("infer",), datetime(999, 1, 2, 3, 4, 5, tzinfo=UTC))]
    key_file.write(path, keys)
    assert key_file.read(path) == keys


def test_a_file_may_begin_with_a_byte_order_mark(path):
    path.write_text(ONE, "utf-8-sig")
    assert [key.name for key in key_file.read(path)] == ["one"]


BROKEN = {
    "no TOML": ("[[keys]\n", "line 1"),
    "no hash": ('[[keys]]\nname = "one"\n', "sha256"),
    "a key in place of its hash": ('[[keys]]\nname = "one"\nsha256 = "s3cret"\n', "sha256"),
    "an unknown scope": (f'{ONE}scopes = ["all"]\n', "scopes"),
    "no scope": (f"{ONE}scopes = []\n", "scopes"),
    "an unknown field": (f'{ONE}key = "s3cret"\n', "unknown field"),
    "a name with a space": (ONE.replace("one", "o n e"), "name"),
    "a line break behind a name": (ONE.replace('"one"', '"one\\n"'), "name"),
    "a line break behind a hash": (ONE.replace('"\n', '\\n"\n', 2).replace("one\\n", "one"), "sha256"),
    "a time as a string": (f'{ONE}expires = "2027-01-01"\n', "expires must be a date"),
    "a time before which the calendar ends": (f"{ONE}expires = 9999-12-31T23:59:00-01:00\n", "range"),
    "a deep array": (f"{ONE}scopes = {'[' * 5000}{']' * 5000}\n", "recursion"),
    "a name twice": (ONE + TWO.replace("two", "one"), "one is there twice"),
    "a hash twice": (ONE + ONE.replace("one", "two"), "one is there twice"),
}


@pytest.mark.parametrize(("text", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_with_the_reason_and_without_its_values(path, text, reason):
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"keys\.toml") as caught:
        key_file.read(path)
    assert reason in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        key_file.read(tmp_path / "absent.toml")


@pytest.mark.parametrize("setting", ["one:other", "two:1"])
def test_a_key_or_a_name_may_not_be_in_the_setting_as_well(path, setting):
    with pytest.raises(SettingsError, match="is also in --api-key"):
        key_file.load(Settings(keys_file=path, api_keys=(setting,)))


def test_the_keys_of_the_setting_and_of_the_file_are_accepted(path):
    keys = CurrentKeys(Settings(keys_file=path, api_keys=("operator:0",)))
    assert [keys.identify(secret).name for secret in "01"] == ["operator", "one"]


async def test_a_change_adds_and_removes_keys(path):
    keys = CurrentKeys(Settings(keys_file=path))
    path.write_text(TWO)
    await keys.files.update(keys.replace)
    assert keys.identify("2").name == "two"
    with pytest.raises(Unauthenticated):
        keys.identify("1")


@pytest.mark.parametrize("change", [lambda path: path.write_text("[[keys]"), lambda path: path.unlink()])
async def test_a_file_that_is_broken_after_a_change_keeps_the_old_keys_and_logs_an_error(path, change):
    keys = CurrentKeys(Settings(keys_file=path))
    change(path)
    with capture_logs() as lines:
        await keys.files.update(keys.replace)
    assert keys.identify("1").name == "one"
    assert [line["log_level"] for line in lines] == ["error"]


async def test_a_process_that_finds_a_broken_file_accepts_none_of_its_keys_until_it_is_correct(path):
    path.write_text("[[keys]")
    keys = CurrentKeys(Settings(keys_file=path, api_keys=("operator:0",)))
    assert keys.identify("0").name == "operator"
    with pytest.raises(Unauthenticated):
        keys.identify("1")
    path.write_text(ONE)
    await keys.files.update(keys.replace)
    assert keys.identify("1").name == "one"


async def test_a_process_that_could_not_read_the_file_for_a_moment_accepts_its_keys_afterwards(path, monkeypatch):
    def no_descriptor(*_: object) -> str:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.read_text", no_descriptor)
        keys = CurrentKeys(Settings(keys_file=path))
    await keys.files.update(keys.replace)
    assert keys.identify("1").name == "one"


def test_a_file_without_keys_lets_nobody_in(path):
    path.write_text("")
    with pytest.raises(Unauthenticated):
        CurrentKeys(Settings(keys_file=path)).identify(None)


def test_what_is_written_is_read_again_and_belongs_to_the_owner_alone(tmp_path):
    keys = [
        Key("a", digest("1"), ("control",), datetime(2027, 1, 1, 12, tzinfo=UTC)),
        Key("b", digest("2"), ("infer",)),
    ]
    path = tmp_path / "keys.toml"
    path.touch(0o644)
    key_file.write(path, keys)
    assert key_file.read(path) == keys
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["keys.toml"]


def test_a_link_to_the_file_stays_one(path, tmp_path):
    (tmp_path / "link.toml").symlink_to(path)
    key_file.write(tmp_path / "link.toml", [])
    assert (tmp_path / "link.toml").is_symlink()
    assert key_file.read(path) == []


def test_a_write_that_fails_leaves_the_old_file(path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="full"):
        key_file.write(path, [])
    assert path.read_text() == ONE
    assert [each.name for each in path.parent.iterdir()] == ["keys.toml"]
