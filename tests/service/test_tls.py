"""The files of TLS: what is wrong with them, and how they are read again."""

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from structlog.testing import capture_logs

from service import tls
from service.settings import Settings, SettingsError
from tests.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "ca")


@pytest.fixture
def settings(authority) -> Settings:
    """Return settings with new files."""
    pair = authority.issue("service")
    return Settings(tls_certificate=pair.certificate, tls_key=pair.key, tls_client_ca=authority.file)


async def update(certificates: tls.Certificates) -> list[tuple[str, str]]:
    """Look at the files as each second does, and return the severities and events that are logged."""
    with capture_logs() as lines:
        await certificates.files.update(certificates.replace)
    return [(line["log_level"], line["event"]) for line in lines]


def refusal(settings: Settings) -> str:
    """Return why the files cannot be used."""
    with pytest.raises(SettingsError) as caught:
        tls.check(settings)
    return str(caught.value)


def test_without_a_certificate_there_is_no_tls():
    assert tls.open_certificates(Settings()) is None


def test_a_readable_pair_is_used(settings):
    found = tls.open_certificates(settings).current
    assert (found.certificate, found.client_ca) == (
        settings.tls_certificate.read_bytes(),
        settings.tls_client_ca.read_bytes(),
    )


@pytest.mark.parametrize("name", tls.FILES)
def test_a_missing_file_is_named_with_its_flag(settings, name, tmp_path):
    message = refusal(settings.model_copy(update={name: tmp_path / "absent"}))
    assert message == f"--{name.replace('_', '-')}: cannot read {tmp_path / 'absent'}: No such file or directory"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("tls_certificate", "has no readable certificates in PEM"),
        ("tls_key", "cannot be used: it is not a private key in PEM"),
        ("tls_client_ca", "has no readable certificates in PEM"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\x00", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_broken_file_is_named_with_its_flag(settings, name, problem, content, tmp_path):
    broken = tmp_path / "broken.pem"
    broken.write_bytes(content)
    message = refusal(settings.model_copy(update={name: broken}))
    assert message.startswith(f"--{name.replace('_', '-')}: {broken} {problem}")


def test_the_key_of_another_certificate_is_refused(settings, authority):
    other = authority.issue("other")
    message = refusal(settings.model_copy(update={"tls_key": other.key}))
    assert message == f"--tls-key: {other.key} cannot be used: it is not the key of the certificate"


def test_a_key_with_a_password_is_refused_without_asking_for_it(settings, tmp_path):
    key = load_pem_private_key(settings.tls_key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    assert "has a password" in refusal(settings.model_copy(update={"tls_key": locked}))


def test_comments_in_any_language_do_not_break_a_file(settings, tmp_path):
    commented = tmp_path / "commented.pem"
    commented.write_bytes("# Prüfstelle\n".encode() + settings.tls_client_ca.read_bytes())
    tls.check(settings.model_copy(update={"tls_client_ca": commented}))


async def test_files_that_have_not_changed_are_not_read_again(settings):
    certificates = tls.Certificates(settings)
    first = certificates.current
    await update(certificates)
    assert certificates.current is first


async def test_a_new_pair_replaces_the_old_one(settings, authority):
    certificates = tls.Certificates(settings)
    authority.issue("service")
    assert await update(certificates) == [("info", "certificate replaced")]
    assert certificates.current.certificate == settings.tls_certificate.read_bytes()


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"broken"), lambda path: path.unlink()])
async def test_a_broken_pair_keeps_the_old_one_and_is_logged_once(settings, damage):
    certificates = tls.Certificates(settings)
    first = certificates.current
    damage(settings.tls_key)
    logged = [await update(certificates) for _ in range(3)]
    assert certificates.current is first
    assert logged == [[("error", "the new certificate is not used")], [], []]


async def test_a_pair_that_is_repaired_is_used(settings, authority):
    certificates = tls.Certificates(settings)
    settings.tls_key.write_bytes(b"broken")
    await update(certificates)
    authority.issue("service")
    assert await update(certificates) == [("info", "certificate replaced")]


async def test_a_file_behind_a_link_that_moves_is_read_again(settings, authority, tmp_path):
    """Kubernetes replaces the files of a secret in this way."""
    link = tmp_path / "current"
    link.symlink_to(settings.tls_certificate.parent)
    linked = {name: link / getattr(settings, name).name for name in ("tls_certificate", "tls_key")}
    certificates = tls.Certificates(settings.model_copy(update=linked))
    (tmp_path / "next").mkdir()
    other = Authority(tmp_path / "next", "ca").issue("service")
    new = tmp_path / "new"
    new.symlink_to(tmp_path / "next")
    new.replace(link)
    await update(certificates)
    assert certificates.current.certificate == other.certificate.read_bytes()
