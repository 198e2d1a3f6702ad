"""The real service with workers whose device fails in chosen ways: `python -m tests.faulty serve …`.

Every flag of `twins serve` works. `tests.server.Server(program="tests.faulty", environ={…})` starts it in a test.

The models answer at once: class 1 ("light") for an image that is light on average, class 0 ("dark") for others. Every
model has the task classify, whatever its name; `--model twins_svt_nano` serves one. With `FAULTY_BACKEND=real` the
faults happen in front of the real backend and its networks instead.

The faults are variables of the environment. Those that end in `_WHILE` are the path of a file, and last as long as it
exists; it may be made and removed while the service runs.

    variable                   the fault
    -------------------------  -----------------------------------------------------------------------------------
    FAULTY_WORKERS             only these workers have faults, as in worker-0,worker-2; all if it is not set
    FAULTY_OOM_ABOVE           a batch of more samples than this exceeds the device's memory (not in the warm-up)
    FAULTY_OOM_COLOUR          an image of this colour never fits, not even alone
    FAULTY_LOST_ON_BATCH       the device is lost in this batch of each worker process, counted from 1
    FAULTY_LOST_WHILE          the device is lost: batches and the loading of models raise DeviceLost
    FAULTY_FAIL_WHILE          batches raise RuntimeError, and the process lives on
    FAULTY_HANG_WHILE          a batch does not end
    FAULTY_CRASH_COLOUR        an image of this colour ends the process
    FAULTY_CRASH_BY            how: exit (the default), SEGV, KILL or another name of a signal
    FAULTY_DIE_AT_START_WHILE  a worker process exits as soon as it opens its device
    FAULTY_SLOW_S              a batch takes this many seconds longer

A colour is R,G,B, and stands for images that are like it on average, within `tests.faulty.faults.TOLERANCE`.
`tests.faulty.image.plain` makes such an image. `FAULTY_LOST_ON_BATCH`, which counts from 1 in each process, should be
at least 2: otherwise no process answers anything.
"""
