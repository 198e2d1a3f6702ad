"""Reads this process's metrics."""


def counted(metric, **labels: str) -> float:
    """The sum of a counter's values, or of a histogram's observations, with those labels; a gauge's value."""
    return sum(
        sample.value
        for family in metric.collect()
        for sample in family.samples
        if sample.name.removeprefix(family.name) in ("_total", "_count", "") and labels.items() <= sample.labels.items()
    )
