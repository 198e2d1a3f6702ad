"""Orders about a model repository that is not served, and whose files cannot be read."""

import pytest

from service.errors import ModelControlFailed
from service.ipc.messages import ModelOrder
from service.processes.model_control import ModelControl
from service.processes.repository import ModelRepository
from service.processes.served import ServedModels
from service.processes.slots import Slots
from twins.errors import RepositoryError
from twins.zoo import repository


async def publish() -> None:
    """Send the frontends nothing."""


@pytest.fixture
def models(tmp_path):
    """Return a repository with one version that is not served."""
    (tmp_path / "pets" / "1").mkdir(parents=True)
    (tmp_path / "pets" / "1" / "checkpoint.pth").touch()
    return ModelRepository(tmp_path, (), ModelControl(ServedModels(()), None, Slots(), publish))


@pytest.mark.parametrize("error", [PermissionError("not yours"), RepositoryError("no checkpoint")])
async def test_an_order_reports_files_that_cannot_be_read(models, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(repository, "reference", fail)
    with pytest.raises(ModelControlFailed, match=str(error)):
        await models.carry_out(ModelOrder(1, "load", "pets"))


async def test_the_index_lists_what_is_not_served(models):
    (entry,) = await models.carry_out(ModelOrder(1, "index"))
    assert (entry.name, entry.version, entry.state, entry.reason) == ("pets", "1", "UNAVAILABLE", "unloaded")
