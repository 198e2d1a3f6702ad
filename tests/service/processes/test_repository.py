"""Orders about a model repository that is not served, and whose files cannot be read."""

from types import SimpleNamespace

import pytest

from service.errors import ModelControlFailed
from service.ipc.messages import ModelOrder
from service.processes.model_control import ModelControl
from service.processes.repository import ModelRepository
from service.processes.served import ServedModels
from service.processes.slot import ProcessSlot
from service.processes.supervisor import Supervisor
from twins.errors import RepositoryError
from twins.zoo import repository


async def publish() -> None:
    """Send the frontends nothing."""


@pytest.fixture
def models(tmp_path):
    """Return a repository with one version that is not served."""
    (tmp_path / "pets" / "1").mkdir(parents=True)
    (tmp_path / "pets" / "1" / "checkpoint.pth").touch()
    return ModelRepository(tmp_path, (), ModelControl(ServedModels(()), None, {}, publish))


@pytest.mark.parametrize("error", [PermissionError("not yours"), RepositoryError("no checkpoint")])
async def test_an_order_reports_files_that_cannot_be_read(models, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(repository, "reference", fail)
    with pytest.raises(ModelControlFailed, match=str(error)):
        await models.carry_out(ModelOrder(1, "load", "pets"))


async def test_an_order_that_fails_in_an_unforeseen_way_is_answered_and_ends_nothing(models, monkeypatch):
    async def fail(_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(models, "carry_out", fail)
    supervisor, sent = Supervisor.__new__(Supervisor), []
    supervisor.repository = models
    supervisor.control = SimpleNamespace(send=lambda peer, message: sent.append((peer, message)))
    await supervisor.carry_out(ProcessSlot("frontend-0", generation=0), ModelOrder(7, "load", "pets"))
    ((peer, reply),) = sent
    assert (peer, reply.id, reply.code) == (b"frontend-0.0", 7, "internal")


async def test_the_index_lists_what_is_not_served(models):
    (entry,) = await models.carry_out(ModelOrder(1, "index"))
    assert (entry.name, entry.version, entry.state, entry.reason) == ("pets", "1", "UNAVAILABLE", "unloaded")
