"""The metrics of a process survive the deletion of its files."""

from tests.service.counting import printed_by

SCRIPT = """
import shutil, sys
from pathlib import Path
from service import metric_page, metrics
folder = Path(sys.argv[1])
metrics.request("nano", "http", "ok", 0.02)
metrics.workers_expected(3)
metrics.restore_files()
{delete}
metrics.restore_files()
metrics.request("nano", "http", "ok", 0.02)
sys.stdout.buffer.write(metric_page.render())
"""
ALL = "shutil.rmtree(folder)"
ONE = "next(folder.glob('counter_*.db')).unlink()"


def shown_after(delete: str, folder) -> str:
    """Return the metrics after the files were deleted that way and one more request was counted."""
    return printed_by(SCRIPT.format(delete=delete), folder)


def test_counters_and_gauges_survive_the_deletion_of_the_folder(tmp_path):
    (tmp_path / "metrics").mkdir()
    shown = shown_after(ALL, tmp_path / "metrics")
    assert 'twins_requests_total{code="ok",model="nano",protocol="http"} 2.0' in shown
    assert "twins_workers_expected 3.0" in shown


def test_counters_continue_after_one_file_was_deleted(tmp_path):
    assert 'twins_requests_total{code="ok",model="nano",protocol="http"} 2.0' in shown_after(ONE, tmp_path)
