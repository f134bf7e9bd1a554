"""Commands of the laws on anybody's table of runs: `python -m workflow_scripts.laws fit RUNS --out DIR`."""

import signal
import sys

from workflow_scripts.laws import fit, pairs, plan
from workflow_scripts.laws.scaling import command

COMMANDS = {"fit": fit.main, "pairs": pairs.main, "plan": plan.main, "scaling": command.main}


def main(argv: list[str]) -> None:
    if not argv or argv[0] not in COMMANDS:
        raise SystemExit(f"usage: python -m workflow_scripts.laws {{{','.join(COMMANDS)}}} ...")
    COMMANDS[argv[0]](argv[1:])


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a word
    main(sys.argv[1:])
