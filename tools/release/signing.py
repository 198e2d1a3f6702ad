"""The checksums of a release and their signature, which OpenSSH writes and verifies without a network.

The public keys of those who may sign are in the file `allowed_signers`, in the form of ssh-keygen.
"""

import hashlib
import subprocess
from pathlib import Path

from tools.documents import ROOT

SUMS = "SHA256SUMS"
NAMESPACE = "twins-release"
"""What the signatures are for: one with the same key for another purpose is not accepted."""

SIGNERS = ROOT / "allowed_signers"


def write_sums(folder: Path) -> Path:
    """Write the SHA-256 of every file of a release, in the form of `sha256sum --check`."""
    files = sorted(path for path in folder.iterdir() if not path.name.startswith(SUMS))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    target = folder / SUMS
    target.write_text("".join(lines), "utf-8")
    return target


def signer(key: Path, signers: Path) -> str:
    """Return the name under which a key may sign. Raise RuntimeError if it may not."""
    (public, *_) = keygen("-y", "-f", str(key)).splitlines()
    kind, encoded, *_ = public.split()
    lines = signers.read_text("utf-8").splitlines() if signers.exists() else []
    for line in lines:
        name, *rest = line.split()
        if encoded in rest:
            return name
    allowed = f'NAME@HOST namespaces="{NAMESPACE}" {kind} {encoded}'
    raise RuntimeError(
        f"{signers.name} does not have the key {key}; add this line to it in a reviewed commit:\n{allowed}"
    )


def sign(sums: Path, key: Path, signers: Path) -> Path:
    """Sign the checksums with a private SSH key, and verify the signature. Return its file.

    Raise RuntimeError if the key is not in `signers`.
    """
    name = signer(key, signers)
    target = sums.with_name(f"{SUMS}.sig")
    target.unlink(missing_ok=True)
    keygen("-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE, str(sums))
    verify(sums, target, name, signers)
    return target


def verify(sums: Path, signature: Path, name: str, signers: Path) -> None:
    """Raise RuntimeError unless a signer in the file of signers has signed the checksums."""
    arguments = ("-Y", "verify", "-f", str(signers), "-I", name, "-n", NAMESPACE, "-s", str(signature))
    keygen(*arguments, given=sums.read_bytes())


def keygen(*arguments: str, given: bytes | None = None) -> str:
    """Return the output of ssh-keygen. Raise RuntimeError with its message if it fails."""
    command = ("ssh-keygen", *arguments)
    ran = subprocess.run(command, input=given, check=False, capture_output=True)  # noqa: S603, files of the caller
    if ran.returncode:
        raise RuntimeError(f"ssh-keygen {arguments[0]} failed: {(ran.stderr or ran.stdout).decode().strip()}")
    return ran.stdout.decode()
