"""The service with workers that answer at once: `python -m bench.null_service serve`."""

from service.cli.main import main
from service.processes.slot import PROGRAMS

if __name__ == "__main__":
    PROGRAMS["worker"] = "bench.null_worker"
    main()
