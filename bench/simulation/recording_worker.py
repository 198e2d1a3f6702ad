"""A worker that logs each of its batches, with the times at which its samples arrived."""

import time

from service import logs
from service.core.local import Key, Queued, SampleResult
from service.ipc.transport import ClientSocket
from service.processes.child import ChildConfig
from service.processes.worker import Worker, start
from service.settings import Settings

EVENT = "batch recorded"

log = logs.get()


class RecordingWorker(Worker):
    """A worker whose log has a line for each batch. Times are those of the machine's monotonic clock."""

    def __init__(self, config: ChildConfig, settings: Settings, control: ClientSocket) -> None:
        super().__init__(config, settings, control)
        self.pool.lanes[0].batcher.run = self.run_batch  # classifiers are on that lane

    async def run_batch(self, key: Key, batch: list[Queued]) -> list[SampleResult]:
        """Run a batch, and log it unless it is the canary's."""
        results = await self.pool.run_batch(key, batch)
        if not key.canary:
            log.info(
                EVENT,
                worker=self.config.role,
                arrived=[queued.arrived for queued in batch],
                began=batch[0].arrived + results[0].queue_s,
                infer_s=results[0].infer_s,
                ended=time.monotonic(),
            )
        return results


if __name__ == "__main__":
    start(RecordingWorker)
