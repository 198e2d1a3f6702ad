"""The service with recording workers: `python -m bench.simulation.recording_service serve`."""

from service.cli.main import main
from service.processes.programs import PROGRAMS

if __name__ == "__main__":
    PROGRAMS["worker"] = "bench.simulation.recording_worker"
    main()
