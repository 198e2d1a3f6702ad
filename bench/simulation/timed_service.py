"""The service with timed workers: `python -m bench.simulation.timed_service serve`."""

from service.cli.main import main
from service.processes.programs import PROGRAMS

if __name__ == "__main__":
    PROGRAMS["worker"] = "bench.simulation.timed_worker"
    main()
