"""What the tests of the manifests share."""

import pytest

from tools.documents import ROOT


@pytest.fixture(scope="session")
def cat() -> bytes:
    return (ROOT / "examples" / "cat.jpg").read_bytes()
