"""The service with workers that answer at once: `python -m bench.service.null_service serve`."""

from service.cli.main import main
from service.processes.programs import PROGRAMS

if __name__ == "__main__":
    PROGRAMS["worker"] = "bench.service.null_worker"
    main()
