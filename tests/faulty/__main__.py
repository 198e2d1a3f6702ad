"""Run the command line with faulty workers. This imports no metrics, which need their folder first."""

from service.cli.main import main
from service.processes.programs import PROGRAMS

if __name__ == "__main__":
    PROGRAMS["worker"] = "tests.faulty.worker"
    main()
