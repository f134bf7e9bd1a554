"""What `make run` does: the workflow on this machine, going on by itself after whatever stopped it last time.

    python -m workflow_scripts.launch [--configfile FILE] [arguments for snakemake]

A killed Snakemake leaves its lock behind, and jobs that run on.  The lock is removed only when no Snakemake works in
this folder: this command holds a lock of its own, which dies with it, and so does every working Snakemake
(`start_work` in rules/common.smk).  Jobs that still run keep what they are writing: new ones wait for them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from workflow_scripts.files import read_json
from workflow_scripts.laws.fit import sentences
from workflow_scripts.locks import try_lock

RESULTS = Path("results")
CONFIG = "config/config.yaml"
QUIET = ("--quiet", "host", "reason", "rules")


def snakemake(*arguments: str) -> int:
    return subprocess.call([sys.executable, "-m", "snakemake", *arguments])


def outcome(config: str) -> str:
    """The law as a person would read it, and where the report is."""
    name = yaml.safe_load(Path(config).read_text(encoding="utf-8"))["experiment"]
    law = read_json(RESULTS / name / "laws" / "transfer_law.json")
    return f"\n{sentences(law)}\n\nReport: {RESULTS / name / 'report.html'}"


def main(argv: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if argv is None else argv
    launching = try_lock(RESULTS / ".launching")
    working = try_lock(RESULTS / ".working")
    if launching is None or working is None:
        sys.exit("Another `make run` or `snakemake` is at work in this folder: wait for it, or stop it first.")
    if any(Path(".snakemake/locks").glob("*")):
        print("An earlier run was stopped; going on from where it was.", file=sys.stderr, flush=True)
        if code := snakemake("--unlock", "--quiet", "all"):
            sys.exit(code)
    working.close()
    if code := snakemake("--cores", "all", *QUIET, *arguments):
        sys.exit(code)
    if "-n" not in arguments:
        config = arguments[arguments.index("--configfile") + 1] if "--configfile" in arguments else CONFIG
        print(outcome(config))


if __name__ == "__main__":
    main()
