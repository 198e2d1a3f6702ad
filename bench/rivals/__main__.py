"""Compare the service with other servers of models: `python -m bench.rivals`.

Every server classifies the same image with the same weights. Each round starts every server by itself, checks its five
best classes against ours, warms it up, measures it in closed loops and stops it. Then as many rounds measure all at one
rate of arrival: 80 % of what the best documented rival reached with any number of clients.

A server that fails stays in the figures with its error. The targets that it belongs to count as not measured, and the
command exits with code 1.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

import click

from bench import environments
from bench.plots import bars
from bench.result import Result, Row, Target, quick_option
from bench.rivals.contestants import CONTESTANTS, OURS, Contestant, Kind
from bench.rivals.generators import fetch_wrk, wrk_version
from bench.rivals.measure import CLIENTS, SATURATING, SHARE, Found, Schedule, measure
from tools.documents import ROOT

FACTORS = {"twins_svt_nano": 1.8, "twins_svt_small": 1.4}
"""The throughput that is asked for, as a multiple of the best documented rival's."""
RUNTIME_FACTOR = 1.15
"""The same for rivals that are given our runtime."""
FULL = Schedule(rounds=2, warm_up_s=2, closed_s=3, open_s=10)
QUICK = Schedule(rounds=1, warm_up_s=1, closed_s=2, open_s=4)


def rows(model: str, found: Found, contestants: Sequence[Contestant]) -> Iterator[Row]:
    """Yield a row for each server."""
    for each in contestants:
        at_rate = found.at_rate(each.name)
        figures = {f"{clients} clients, req/s": found.throughput(each.name, clients) or None for clients in CLIENTS}
        yield {
            "table": "servers",
            "model": model,
            "server": each.name,
            **figures,
            "saturated, req/s": found.saturated(each.name) or None,
            f"p99 with {SATURATING} clients, ms": found.p99_ms(each.name) or None,
            "rate of the open loop, req/s": found.rate,
            "p50 at that rate, ms": at_rate.p50_ms if at_rate else None,
            "p99 at that rate, ms": at_rate.p99_ms if at_rate else None,
            "unanswered at that rate": at_rate.errors if at_rate else None,
            "errors": sum(load.errors for clients in CLIENTS for load in found.closed[each.name, clients].values()),
            "settings": each.settings,
            "failed": (found.failures.get(each.name) or "")[-300:] or None,
        }


RIVALS: Mapping[Kind, str] = {
    "documented": "the best rival as its documentation teaches",
    "runtime": "the best rival over our runtime",
}


def targets(model: str, found: Found, contestants: Sequence[Contestant]) -> Iterator[Target]:
    """Yield the targets of one model."""
    for kind, factor in (("documented", FACTORS[model]), ("runtime", RUNTIME_FACTOR)):
        text = f"Saturated throughput of {model} beside {RIVALS[kind]}"
        names = [each.name for each in contestants if each.kind == kind]
        yield Target(text, f"at least {factor:g} ×", *throughput(found, names, factor))
    text = f"p99 of {model} in an open loop at {SHARE:.0%} of the best documented rival's throughput"
    yield Target(text, "below every rival's", *latency(found, [each.name for each in contestants]))


Outcome = tuple[str, bool | None]
"""What was measured, and whether it meets the target; None if it was not measured."""


def not_measured(found: Found, names: Sequence[str]) -> Outcome | None:
    """Return the outcome of a target of which a server failed: without that server it would be easier to meet."""
    failed = [name for name in (OURS.name, *names) if name in found.failures]
    return (f"not measured: {', '.join(dict.fromkeys(failed))} failed", None) if failed else None


def throughput(found: Found, names: Sequence[str], factor: float) -> Outcome:
    """Return the outcome of the throughput beside some rivals."""
    ratio = found.ratio(names)
    if failed := not_measured(found, names):
        return failed
    if not ratio:
        return "not measured", None
    return f"{ratio:.2f} × ({max(names, key=found.saturated)})", ratio >= factor


def latency(found: Found, names: Sequence[str]) -> Outcome:
    """Return the outcome of the latency at one rate of arrival."""
    if failed := not_measured(found, names):
        return failed
    loads = {name: load for name in names if (load := found.at_rate(name))}
    ours = loads.pop(OURS.name, None)
    if ours is None or not loads:
        return "not measured", None
    best = min(loads, key=lambda name: loads[name].p99_ms)
    measured = f"{ours.p99_ms:.0f} ms, best rival {loads[best].p99_ms:.0f} ms ({best})"
    return measured, ours.p99_ms < loads[best].p99_ms and not ours.errors


def plot(measured: Mapping[str, Found], contestants: Sequence[Contestant], *, quick: bool) -> None:
    """Draw the saturated throughput of all servers, relative to the best documented rival."""
    documented = [each.name for each in contestants if each.kind == "documented"]
    best = {model: max(map(found.saturated, documented)) or 1 for model, found in measured.items()}
    series = {
        each.name: [found.saturated(each.name) / best[model] for model, found in measured.items()]
        for each in contestants
    }
    bars("rivals", list(measured), series, "requests/s, relative to the best documented rival", quick=quick)


@click.command()
@quick_option
@click.option("--only", multiple=True, help="Measure this server or model only, beside ours; may be repeated.")
@click.option("--rounds", type=int, help="Start and measure every server this many times.")
def main(*, quick: bool, only: tuple[str, ...], rounds: int | None) -> None:
    """Measure all servers, print the figures and write docs/benchmarks/rivals.json."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that the servers end
    schedule = QUICK if quick else FULL
    schedule = Schedule(rounds or schedule.rounds, schedule.warm_up_s, schedule.closed_s, schedule.open_s)
    models = [model for model in FACTORS if model in only] or list(FACTORS)
    names = [name for name in only if name not in FACTORS]
    contestants = [each for each in CONTESTANTS if not names or each.kind == "ours" or each.name in names]
    failures = prepare(contestants)
    measured = {model: measure(model, contestants, schedule, failures) for model in models}
    result = Result(
        name="rivals",
        rows=[row for model, found in measured.items() for row in rows(model, found, contestants)],
        targets=[target for model, found in measured.items() for target in targets(model, found, contestants)],
        versions=versions(contestants),
    )
    result.show()
    if not only:
        plot(measured, contestants, quick=quick)
        result.save(quick=quick)
    if any(found.failures for found in measured.values()):
        sys.exit(1)


def versions(contestants: Sequence[Contestant]) -> dict[str, str]:
    """Return the versions of the servers, of what they all use, and of the generators of load."""
    found = environments.versions(environments.OURS, "timm", "pillow")
    for name in dict.fromkeys(each.environment for each in contestants if each.kind != "ours"):
        found |= environments.versions(name, environments.ENVIRONMENTS[name].package)
    return found | environments.versions("generators", "k6") | {"wrk": wrk_version()}


def prepare(contestants: Sequence[Contestant]) -> dict[str, str]:
    """Create the environments and the models. Return the errors of the rivals whose environment fails."""
    fetch_wrk()
    for name in (environments.RUNTIMES, environments.OURS, "generators"):
        environments.create(name)
    failures = {}
    for each in contestants:
        try:
            environments.create(each.environment)
        except (subprocess.CalledProcessError, OSError) as error:
            failures[each.name] = f"the environment {each.environment} cannot be created: {error}"
            print(failures[each.name], flush=True)
    command = [str(environments.python(environments.OURS)), "-m", "bench.rivals.prepare"]
    subprocess.run(command, cwd=ROOT, check=True)
    return failures


if __name__ == "__main__":
    main()
