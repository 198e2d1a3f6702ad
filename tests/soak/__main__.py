"""Cause every fault and load, and write docs/reliability.md: `python -m tests.soak`, or `make soak`.

Each scenario is written into docs/reliability/soak.json when it ends. `--resume` continues a run that was cut off, and
`--only` repeats some scenarios, if the same machine measured the file in the same form; otherwise it begins anew. The
exit code is 1 if a promise was broken.
"""

import sys
import time
from collections.abc import Iterator, Sequence

import click

from tests.soak import fuzzing, page, result
from tests.soak.scenario import Scenario
from tests.soak.scenarios import SCENARIOS


def measure(scenario: Scenario, *, short: bool) -> result.Document:
    """Measure a scenario, and return its entry."""
    try:
        with fuzzing.beside(scenario.name, short=short) as codes:
            report = scenario.measure(short=short)
    except Exception as error:  # the other scenarios go on
        return result.failure(scenario, error, short=short)
    entry = result.entry(scenario, report, short=short)
    return {**entry, "broken": [*entry["broken"], *(f"tests.fuzz ended with {code}" for code in codes if code)]}


def measure_all(names: Sequence[str], *, short: bool) -> Iterator[tuple[str, result.Document]]:
    """Yield the entries of the scenarios that this machine can run."""
    for name in names:
        scenario, began = SCENARIOS[name], time.monotonic()
        if reason := scenario.missing():
            click.echo(f"{name}: skipped; it needs {reason}")
            continue
        entry = measure(scenario, short=short)
        shown = {key: value for key, value in entry.items() if key != "samples"}
        click.echo(f"{name}: {time.monotonic() - began:.0f} s, {shown}")
        yield name, entry


@click.command()
@click.option("--short", is_flag=True, help="Measure each scenario shortly, as the tests do.")
@click.option("--resume", is_flag=True, help="Measure what the file lacks.")
@click.option("--only", multiple=True, type=click.Choice(list(SCENARIOS)), help="Run this one; may be repeated.")
def main(*, short: bool, resume: bool, only: tuple[str, ...]) -> None:
    """Measure the scenarios one after the other, and write their figures and the page."""
    command = "python -m tests.soak" + " --short" * short  # which repeats all scenarios
    empty = result.document({}, short=short, command=command)
    if not (resume or only):
        result.save(empty)
    names = only or (result.missing(SCENARIOS, empty) if resume else tuple(SCENARIOS))
    if not short:
        click.echo(f"{len(names)} scenarios, about {sum(SCENARIOS[name].long_s for name in names) / 60:.0f} minutes")
    broken = False
    for name, entry in measure_all(names, short=short):
        result.save(result.merged({**empty, "scenarios": {name: entry}}))
        broken |= bool(entry["broken"])
    page.write()
    sys.exit(broken)


if __name__ == "__main__":
    main()
