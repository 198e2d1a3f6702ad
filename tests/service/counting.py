"""Read the metrics of this process."""


def counted(metric, **labels: str) -> float:
    """Return the value of a counter or gauge, or the count of a histogram, summed over samples with these labels."""
    return sum(
        sample.value
        for family in metric.collect()
        for sample in family.samples
        if sample.name.removeprefix(family.name) in ("_total", "_count", "") and labels.items() <= sample.labels.items()
    )
