"""The moment from which the answers of all gRPC services wait, so that the server can stop without losing one."""

import asyncio
import time


class Answering:
    """Notes the calls of all services of a server, and holds back their answers when it stops."""

    def __init__(self) -> None:
        self.last_call = time.monotonic()  # when the last call arrived
        self.free = asyncio.Event()  # answers are sent while it is set
        self.free.set()

    def note_call(self) -> None:
        """Note that a call has arrived."""
        self.last_call = time.monotonic()

    async def allowed(self) -> None:
        """Return when an answer may be sent."""
        await self.free.wait()
