"""Records what became of each request, in 17 bytes for each."""

from array import array

from service.load.target import SUCCEEDED


class Recorder:
    """The requests of a run in the order of their answers. Times are seconds after the start."""

    def __init__(self) -> None:
        self.codes = [SUCCEEDED]  # the index of a code in this list stands for it
        self.due = array("d")
        self.late = array("f")  # how long after its time a request was sent, because the generator was busy
        self.latency = array("f")  # from the time at which a request was due to the end of its answer
        self.outcome = array("B")

    def add(self, *, due_s: float, sent_s: float, ended_s: float, code: str) -> None:
        """Record one answer."""
        if code not in self.codes:
            self.codes.append(code)
        self.due.append(due_s)
        self.late.append(max(0.0, sent_s - due_s))
        self.latency.append(ended_s - due_s)
        self.outcome.append(self.codes.index(code))

    def __len__(self) -> int:
        return len(self.due)
