"""All process slots of the service, and what is said of them together."""

from pathlib import Path

from service.ipc.messages import WorkerInfo, address
from service.processes.served import ServedModels
from service.processes.slot import ProcessSlot


class Slots(dict[str, ProcessSlot]):
    """The process slots by role."""

    @property
    def workers(self) -> list[ProcessSlot]:
        """Return the slots of the workers."""
        return [slot for slot in self.values() if slot.is_worker]

    @property
    def frontends(self) -> list[ProcessSlot]:
        """Return the slots of the frontends."""
        return [slot for slot in self.values() if not slot.is_worker]

    @property
    def ready_workers(self) -> list[ProcessSlot]:
        """Return the slots of the workers that are ready."""
        return [slot for slot in self.workers if slot.ready]

    @property
    def ready_frontends(self) -> list[ProcessSlot]:
        """Return the slots of the frontends that are ready."""
        return [slot for slot in self.frontends if slot.ready]

    @property
    def start_finished(self) -> bool:
        """Return whether no process is still in its first start."""
        return all(slot.start_finished for slot in self.values())

    def of(self, process: str) -> ProcessSlot | None:
        """Return the slot of a process, or None if the process has exited since and another one may be there."""
        slot = self.get(process.partition(".")[0])
        return slot if slot is not None and slot.name == process else None

    def unable_to_start(self) -> list[ProcessSlot]:
        """Return the slots of all workers or of all frontends, if none of them can start and none has ever served."""
        for group in (self.workers, self.frontends):
            if all(slot.cannot_start and not slot.has_served for slot in group):
                return group
        return []

    def infos(self, folder: Path, models: ServedModels) -> tuple[WorkerInfo, ...]:
        """Return the workers as frontends know them."""
        return tuple(
            WorkerInfo(
                slot.name,
                address(folder, slot.name),
                slot.state,
                models.seen_by_frontends(slot.models),
                slot.problem,
            )
            for slot in self.workers
        )
