"""What `make run` does: the workflow on this machine, going on by itself after whatever stopped it last time.

    python -m workflow_scripts.launch [--configfile FILE] [arguments for snakemake]

A killed Snakemake leaves its lock behind, and jobs that run on.  The lock is removed only when no Snakemake works in
this folder: this command holds a lock of its own, which dies with it, and so does every working Snakemake
(`start_work` in rules/common.smk).  Jobs that still run keep what they are writing: new ones wait for them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import IO

from workflow_scripts.experiment import ConfigurationError, Experiment
from workflow_scripts.files import read_json
from workflow_scripts.laws.fit import sentences
from workflow_scripts.locks import owner, try_lock, wait_for_lock

RESULTS = Path("results")


def held(path: Path) -> IO[str]:
    """The lock, after waiting for whoever has it: a workflow whose launcher or `make` was killed works on."""
    file = try_lock(path)
    if file is None:
        print(f"Process {owner(path)} is at work in this folder; waiting for it to end.", file=sys.stderr, flush=True)
        file = wait_for_lock(path)
    return file


def snakemake(*arguments: str) -> int:
    """Runs Snakemake to its end.  Ctrl-C reaches it too, and it stops in its own order."""
    process = subprocess.Popen([sys.executable, "-m", "snakemake", *arguments])
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            print("Stopping; `make run` goes on from here.", file=sys.stderr, flush=True)


def outcome(config: str) -> str:
    """The law as a person would read it, and where the report is; of what there is, if only a part was asked for."""
    results = RESULTS / Experiment.load(config).folder
    law, report = results / "laws" / "transfer_law.json", results / "report.html"
    told = [sentences(read_json(law))] if law.exists() else []
    return "\n\n".join([*told, *([f"Report: {report}"] if report.exists() else [])])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", default="config/config.yaml")
    arguments, others = parser.parse_known_args(argv)
    try:
        Experiment.load(arguments.configfile)
    except ConfigurationError as error:
        sys.exit(str(error))
    config = ("--configfile", arguments.configfile)
    launching, working = held(RESULTS / ".launching"), held(RESULTS / ".working")
    if any(Path(".snakemake/locks").glob("*")):
        print("An earlier run was stopped; going on from where it was.", file=sys.stderr, flush=True)
        if code := snakemake("--unlock", "--quiet", "all", *config):
            sys.exit(code)
    working.close()
    if code := snakemake("--quiet", "host", "reason", "rules", "--cores", "all", *others, *config):
        sys.exit(code)
    print(f"\n{outcome(arguments.configfile)}")
    launching.close()


if __name__ == "__main__":
    main()
