"""Compare the service with other servers of models: `python -m bench.rivals`.

Every server classifies the same image with the same weights. Each round starts every server by itself, checks its five
best classes against ours, warms it up, measures it in closed loops and stops it. At the end all servers are measured at
one rate of arrival: 80 % of what the best documented rival reached.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

import click

from bench import environments
from bench.plots import bars
from bench.result import Result, Row, Target
from bench.rivals.contestants import CONTESTANTS, OURS, Contestant, Kind
from bench.rivals.generators import fetch_wrk
from bench.rivals.measure import CLIENTS, Found, Schedule, measure
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
        at_rate = found.open.get(each.name)
        figures = {f"{clients} clients, req/s": found.throughput(each.name, clients) or None for clients in CLIENTS}
        yield {
            "table": "servers",
            "model": model,
            "server": each.name,
            **figures,
            "saturated p99, ms": found.p99_ms(each.name) or None,
            "rate of the open loop, req/s": found.rate,
            "p50 at that rate, ms": at_rate.p50_ms if at_rate else None,
            "p99 at that rate, ms": at_rate.p99_ms if at_rate else None,
            "unanswered at that rate": at_rate.errors if at_rate else None,
            "errors": sum(load.errors for clients in CLIENTS for load in found.closed[each.name, clients].values()),
            "settings": each.settings,
            "failed": (found.failures.get(each.name) or "")[-300:] or None,
        }


def targets(model: str, found: Found, contestants: Sequence[Contestant]) -> Iterator[Target]:
    """Yield the targets of one model."""
    measured: dict[Kind, list[str]] = {"documented": [], "runtime": []}
    for each in contestants:
        if each.kind != "ours" and found.throughput(each.name):
            measured[each.kind].append(each.name)
    yield ratio_target(
        model, "the best rival as its documentation teaches", FACTORS[model], found, measured["documented"]
    )
    yield ratio_target(model, "the best rival over our runtime", RUNTIME_FACTOR, found, measured["runtime"])
    yield latency_target(model, found)


def ratio_target(model: str, rival: str, factor: float, found: Found, names: Sequence[str]) -> Target:
    """Return the target of the throughput beside some rivals."""
    text, ratio = f"Saturated throughput of {model} beside {rival}", found.ratio(names)
    best = max(names, key=found.throughput, default=None)
    measured = f"{ratio:.2f} × ({best})" if ratio else "not measured"
    return Target(text, f"at least {factor:g} ×", measured, ratio >= factor if ratio else None)


def latency_target(model: str, found: Found) -> Target:
    """Return the target of the latency at one rate of arrival."""
    ours = found.open.get(OURS.name)
    best = min(((load.p99_ms, name) for name, load in found.open.items() if name != OURS.name), default=None)
    text = f"p99 of {model} in an open loop at 80 % of the best documented rival's throughput"
    if ours is None or best is None:
        return Target(text, "below every rival's", "not measured", None)
    measured = f"{ours.p99_ms:.0f} ms, best rival {best[0]:.0f} ms ({best[1]})"
    return Target(text, "below every rival's", measured, ours.p99_ms < best[0] and not ours.errors)


def plot(measured: Mapping[str, Found], contestants: Sequence[Contestant]) -> None:
    """Draw the saturated throughput of all servers, relative to the best documented rival."""
    documented = [each.name for each in contestants if each.kind == "documented"]
    best = {model: max(map(found.throughput, documented)) or 1 for model, found in measured.items()}
    series = {
        each.name: [found.throughput(each.name) / best[model] for model, found in measured.items()]
        for each in contestants
    }
    bars("rivals", list(measured), series, "requests/s, relative to the best documented rival")


@click.command()
@click.option("--quick", is_flag=True, help="Measure one short round.")
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
    prepare(contestants)
    measured = {model: measure(model, contestants, schedule) for model in models}
    result = Result(
        name="rivals",
        command="python -m bench.rivals" + " --quick" * quick,
        rows=[row for model, found in measured.items() for row in rows(model, found, contestants)],
        targets=[target for model, found in measured.items() for target in targets(model, found, contestants)],
    )
    result.show()
    if not only:
        plot(measured, contestants)
        result.save()


def prepare(contestants: Sequence[Contestant]) -> None:
    """Create the environments and the models. A rival whose environment fails is reported when it starts."""
    fetch_wrk()
    for name in (environments.RUNTIMES, environments.OURS, "generators"):
        environments.create(name)
    for name in {each.name.partition(",")[0] for each in contestants} & environments.ENVIRONMENTS.keys():
        try:
            environments.create(name)
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"the environment {name} cannot be created: {error}", flush=True)
    command = [str(environments.python(environments.OURS)), "-m", "bench.rivals.prepare"]
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
