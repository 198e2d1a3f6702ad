"""The metrics of a process on a disk that is full: nothing kills the process, and nothing is lost but for a time."""

import threading

import pytest

from service import metric_storage
from service.metric_files import write_whole
from service.metric_storage import SIZE, Storage
from tests.disk import small_disk
from tests.service.counting import printed_by

SCRIPT = """
import sys
from pathlib import Path
from tests.disk import fill
folder = Path(sys.argv[1])
{before}
filler = fill(folder.parent)
from service import metric_page, metric_storage, metrics

def values():
    found = [each for each in metric_page.read() if each.name == "twins_requests_total"]
    return len(found), sum(each.value for each in found)

for number in range(500):  # which fit in no file of the first size
    metrics.request(f"model-{{number}}", "http", "ok", 0.02)
metrics.restore_files()
full = values()
in_memory = len(metric_storage.Storage.in_memory)
filler.unlink()
metrics.restore_files()
metrics.request("model-0", "http", "ok", 0.02)
assert not metric_storage.Storage.in_memory
assert in_memory
print(*full, *values())
"""


def run(folder, *, before: str) -> list[str]:
    """Return the number and the sum of the request counters on the full disk and after that."""
    return printed_by(SCRIPT.format(before=before), folder).splitlines()[-1].split()


@pytest.fixture
def folder(tmp_path):
    with small_disk(tmp_path, size="16m") as disk:
        (disk / "metrics").mkdir()
        yield disk / "metrics"


def test_a_process_that_starts_on_a_full_disk_writes_its_metrics_when_there_is_space(folder):
    assert run(folder, before="") == ["0", "0", "500", "501.0"]


def test_files_that_cannot_grow_keep_what_they_have_until_there_is_space(folder):
    shown, total, *after = run(folder, before="from service import metrics; metrics.request('first', 'http', 'ok', 1)")
    assert 1 < int(shown) < 500
    assert int(shown) == float(total)
    assert after == ["501", "502.0"]


def test_a_value_that_a_thread_adds_while_the_values_return_to_their_file_is_not_lost(tmp_path, monkeypatch):
    storage = Storage(str(tmp_path / "counter_1.db"))
    storage.move_to_memory(SIZE)
    storage.write_value("first", 1.0, 0.0)
    adding = threading.Thread(target=storage.write_value, args=("second", 2.0, 0.0))

    def write_while_another_thread_adds(path, data) -> None:
        adding.start()
        adding.join(0.2)  # as far as it comes
        write_whole(path, data)

    monkeypatch.setattr(metric_storage, "write_whole", write_while_another_thread_adds)
    storage.return_to_file()
    adding.join()
    storage.write_value("third", 3.0, 0.0)
    values = Storage.read_all_values_from_file(storage._fname)
    storage.close()
    assert {key.strip(): value for key, value, _, _ in values} == {"first": 1.0, "second": 2.0, "third": 3.0}
