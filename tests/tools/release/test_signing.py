"""Signatures of the checksums, with keys that are thrown away."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.programs import REQUIRED
from tools.documents import DOCS, blocks
from tools.release import signing

PAGE = DOCS / "releasing.md"
MISSING = shutil.which("ssh-keygen") is None

if MISSING and os.environ.get(REQUIRED):
    pytest.fail("install Debian's openssh-client", pytrace=False)
pytestmark = pytest.mark.skipif(MISSING, reason="OpenSSH is not installed")


def new_key(folder: Path, name: str) -> Path:
    """Return a new private key without a passphrase."""
    signing.keygen("-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name))
    return folder / name


@pytest.fixture
def release(tmp_path) -> Path:
    """A folder with two files and their checksums."""
    folder = tmp_path / "dist"
    folder.mkdir()
    for name in ("one.whl", "two.tar.gz"):
        (folder / name).write_text(name)
    signing.write_sums(folder)
    return folder


@pytest.fixture
def key(tmp_path) -> Path:
    return new_key(tmp_path, "key")


@pytest.fixture
def signers(tmp_path, key) -> Path:
    """The file with the public key of the maintainer."""
    file = tmp_path / "allowed_signers"
    public = key.with_suffix(".pub").read_text()
    file.write_text(f'maintainer@example.org namespaces="{signing.NAMESPACE}" {public}')
    return file


def test_the_commands_of_the_page_verify_a_signed_release(release, key, signers):
    signing.sign(release / "SHA256SUMS", key, signers)
    shutil.copy(signers, release)
    (commands,) = [text for _, text in blocks(PAGE) if "ssh-keygen -Y verify" in text]
    script = f"set -euo pipefail\n{commands.replace('NAME@HOST', 'maintainer@example.org')}"
    ran = subprocess.run(["bash", "-c", script], cwd=release, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert 'Good "twins-release" signature for maintainer@example.org' in ran.stdout
    assert "one.whl: OK" in ran.stdout


def test_changed_checksums_are_not_verified(release, key, signers):
    sums = release / "SHA256SUMS"
    signature = signing.sign(sums, key, signers)
    (release / "one.whl").write_text("changed")
    signing.write_sums(release)
    with pytest.raises(RuntimeError, match="incorrect signature"):
        signing.verify(sums, signature, "maintainer@example.org", signers)


def test_a_key_that_nobody_knows_may_not_sign(release, signers, tmp_path):
    other = new_key(tmp_path, "other")
    with pytest.raises(RuntimeError, match=r"allowed_signers does not have the key .*other; add this line") as raised:
        signing.sign(release / "SHA256SUMS", other, signers)
    signers.write_text(str(raised.value).splitlines()[-1])
    assert signing.sign(release / "SHA256SUMS", other, signers).exists()


def test_a_signature_for_another_purpose_is_not_accepted(release, key, signers):
    sums = release / "SHA256SUMS"
    signing.keygen("-Y", "sign", "-q", "-f", str(key), "-n", "mail", str(sums))
    with pytest.raises(RuntimeError, match="namespace"):
        signing.verify(sums, release / "SHA256SUMS.sig", "maintainer@example.org", signers)
