"""Carries out the orders of operators, and follows the changes of the model repository."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from service import logs
from service.core.orders import IndexEntry
from service.errors import ModelControlFailed, UnknownModel
from service.ipc.messages import ModelOrder
from service.processes.model_control import ModelControl
from twins.card import model_key
from twins.errors import RepositoryError
from twins.zoo import repository
from twins.zoo.models import ModelReference
from twins.zoo.repository import Fingerprint, Versions

Arguments = TypeVarTuple("Arguments")
Returned = TypeVar("Returned")

log = logs.get()


class ModelRepository:
    """The models that an operator can load: those in the folder of the repository, and those of the start."""

    def __init__(self, folder: Path | None, references: Iterable[ModelReference], control: ModelControl) -> None:
        self.folder, self.control = folder, control
        self.from_start = {each.key: each for each in references if not self.is_in_folder(each)}
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by name: one change after another
        self.ordered: set[str] = set()  # keys of versions that an operator has loaded, which no newer one replaces
        self.unloaded: set[str] = set()  # names and keys that an operator has unloaded, which polling leaves alone
        self.seen: dict[str, Fingerprint] = {}  # the files of versions that are not served, at the last look
        self.failed: dict[str, Fingerprint] = {}  # the files with which a version could not be loaded

    # ------------------------------------------------------------------ orders

    async def carry_out(self, order: ModelOrder) -> tuple[IndexEntry, ...]:
        """Do what an order says, and return the entries of its model, or all for an index. Raise ServiceError."""
        found = await self.find()
        if order.action == "index":
            return self.index(found)
        if order.name not in found:
            raise UnknownModel(f"no model {order.name[:80]!r} is in the repository")
        if order.version and order.version not in found[order.name]:
            raise UnknownModel(f"the model {order.name} has no version {order.version[:40]!r}")
        log.debug("model order starts", action=order.action, model=order.name, version=order.version)
        async with self.locks[order.name]:
            if order.action == "load":
                await self.load(order.name, order.version, found)
            elif order.action == "unload":
                await self.unload(order.name, order.version)
            else:
                await self.control.choose_default(order.name, order.version)
        return tuple(entry for entry in self.index(found) if entry.name == order.name)

    async def load(self, name: str, version: str, found: Versions) -> None:
        """Serve a version, or the newest ones instead of the others. Raise ModelControlFailed."""
        self.unloaded -= {name, model_key(name, version)}
        if version:
            await self.serve(name, version)
            self.ordered.add(model_key(name, version))
            return
        wanted = await self.newest(name, found)
        self.unloaded -= {model_key(name, each) for each in wanted}
        for each in wanted:
            await self.serve(name, each)
        await self.replace_others(name, wanted)

    async def unload(self, name: str, version: str) -> None:
        """Withdraw a version, or all. Raise ModelControlFailed."""
        served = {each.key for each in self.control.models.versions(name)} - self.control.models.draining
        keys = served & {model_key(name, version)} if version else served
        if not keys:
            raise ModelControlFailed(f"{name} {version} is not served".replace("  ", " "))
        self.unloaded |= keys if version else {name}
        self.ordered -= keys
        for key in sorted(keys):
            await self.control.withdraw_served(key)

    # ------------------------------------------------------------------ polling

    async def poll(self, every_s: float) -> None:
        """Apply the changes of the folder for ever."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.follow_changes()
            except ModelControlFailed as error:
                log.error("the model repository cannot be read", detail=str(error))

    async def follow_changes(self) -> None:
        """Serve the newest versions, and withdraw those whose folders are gone. Raise ModelControlFailed."""
        assert self.folder
        found = await in_thread(repository.find, self.folder)
        for name in found.keys() - self.unloaded:
            async with self.locks[name]:
                await self.follow_model(name, found)
        for reference in tuple(self.control.models.wanted.values()):
            gone = reference.version not in found.get(reference.name, ()) and self.is_in_folder(reference)
            if gone and reference.key not in self.control.models.draining:
                await self.control.unload(reference.key)

    async def follow_model(self, name: str, found: Versions) -> None:
        """Serve the newest versions of a model. A version that cannot be loaded is tried again when it changes."""
        assert self.folder
        try:
            wanted = await self.newest(name, found)
        except ModelControlFailed as error:
            log.error("model not loaded", model=name, detail=error.detail)
            return
        for version in wanted:
            key = model_key(name, version)
            if key in self.control.models.wanted or key in self.unloaded:
                continue
            files = await in_thread(repository.fingerprint, self.folder, name, version)
            complete, self.seen[key] = self.seen.get(key) == files, files
            if not complete or self.failed.get(key) == files:
                continue  # it may still be copied, or nothing has changed since it failed
            try:
                await self.serve(name, version)
            except ModelControlFailed as error:
                self.failed[key] = files
                log.error("model not loaded", model=key, detail=error.detail)
        await self.replace_others(name, wanted)

    # ------------------------------------------------------------------ steps

    async def find(self) -> Versions:
        """Return the versions of all models that can be served. Raise ModelControlFailed."""
        found = dict(await in_thread(repository.find, self.folder)) if self.folder else {}
        for reference in (*self.from_start.values(), *self.control.models.wanted.values()):
            known = found.get(reference.name, ())
            if reference.version not in known:
                found[reference.name] = tuple(sorted((*known, reference.version), key=int))
        return found

    async def newest(self, name: str, found: Versions) -> tuple[str, ...]:
        """Return the versions of a model that are served unless an operator orders others. Raise ModelControlFailed."""
        if self.folder is None:
            return found[name][-1:]
        return await in_thread(repository.newest, self.folder, name, found)

    async def serve(self, name: str, version: str) -> None:
        """Return when a version answers calls. Raise ModelControlFailed."""
        key = model_key(name, version)
        await self.control.until_unloaded(key)
        if key not in self.control.models.wanted:
            await self.control.add(await self.reference(name, version))
        await self.control.until_announced(key)

    async def reference(self, name: str, version: str) -> ModelReference:
        """Return a version of a model. Raise ModelControlFailed."""
        if known := self.from_start.get(model_key(name, version)):
            return known
        assert self.folder, "find() lists nothing else"
        return await in_thread(repository.reference, self.folder, name, version)

    def is_in_folder(self, reference: ModelReference) -> bool:
        """Return whether the checkpoint of a model is in the folder of the repository."""
        return bool(self.folder and reference.checkpoint and reference.checkpoint.is_relative_to(self.folder))

    async def replace_others(self, name: str, wanted: tuple[str, ...]) -> None:
        """Withdraw the other versions of a model once all workers have the newest one."""
        keys = {model_key(name, version) for version in wanted}
        others = [each.key for each in self.control.models.versions(name)]
        replaced = {key for key in others if key not in keys | self.ordered | self.control.models.draining}
        newest = model_key(name, wanted[-1])
        if not replaced or newest not in self.control.models.wanted:
            return
        await self.control.until_everywhere(newest)
        if newest in self.control.models.wanted:
            for key in sorted(replaced):
                await self.control.unload(key)

    def index(self, found: Versions) -> tuple[IndexEntry, ...]:
        """Return the state of each version."""
        return tuple(self.entry(name, version) for name, versions in found.items() for version in versions)

    def entry(self, name: str, version: str) -> IndexEntry:
        """Return the state of a version."""
        control, key = self.control, model_key(name, version)
        if key in control.models.draining or (key not in control.models.wanted and control.in_use(key)):
            return IndexEntry(name, version, "UNLOADING")
        if key in control.models.wanted:
            default = next((card for card in control.models.announced if card.name == name), None)
            ready = key in control.models.cards
            return IndexEntry(
                name, version, "READY" if ready else "LOADING", default=default is not None and default.key == key
            )
        return IndexEntry(name, version, "UNAVAILABLE", control.failures.get(key, "unloaded"))


async def in_thread(function: Callable[[*Arguments], Returned], *arguments: *Arguments) -> Returned:
    """Return what a function of the repository returns. Raise ModelControlFailed for its errors and the disk's."""
    try:
        return await asyncio.to_thread(function, *arguments)
    except (RepositoryError, OSError) as error:
        raise ModelControlFailed(str(error)) from error
