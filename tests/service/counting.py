"""Read the metrics of this process, or run another one that writes metrics."""

import os
import subprocess
import sys
from pathlib import Path


def counted(metric, **labels: str) -> float:
    """Return the value of a counter or gauge, or the count of a histogram, summed over samples with these labels."""
    return sum(
        sample.value
        for family in metric.collect()
        for sample in family.samples
        if sample.name.removeprefix(family.name) in ("_total", "_count", "") and labels.items() <= sample.labels.items()
    )


def printed_by(script: str, folder: Path) -> str:
    """Return what a script prints in a process whose metric files are in a folder, which it gets as its argument."""
    ran = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ran.stdout
