"""The trainer as a process: see run.py."""

import gc

gc.disable()  # imports leave 280,000 objects and no garbage: looking for some, then and at exit, is a fifth of a start

from workflow_scripts.training.run import main  # noqa: E402

gc.freeze()
gc.enable()

if __name__ == "__main__":
    main()
