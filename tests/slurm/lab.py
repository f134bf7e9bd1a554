"""A real SLURM for as long as a test module takes, and what can happen to its jobs."""

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from workflow_scripts.locks import owner, wait_for_lock

SCRIPTS = Path(__file__).parent
IMPOSSIBLE = 3
ONE_AT_A_TIME = Path("/run/lock/tests-slurm.lock")
"""/etc/slurm is the machine's: a second test run waits for the first, and finds what a killed one has left."""
COLUMNS = {
    "number": "JobID:12",
    "state": "StateCompact:6",
    "start": "StartTime:24",
    "end": "EndTime:24",
    "gpus": "tres-per-job:24",
    "restarts": "RestartCnt:6",
    "limit": "TimeLimit:14",
    "memory": "MinMemory:12",
    "nodes": "NodeList:16",
    "partition": "Partition:16",
    "comment": "Comment:400",
}


@contextmanager
def started(folder, **settings):
    """A `Lab` with its files in `folder`; skips the test where there can be none."""
    if os.geteuid():
        pytest.skip("a SLURM of its own needs root")
    with wait_for_lock(ONE_AT_A_TIME):
        environment = os.environ | {"SLURM_LAB_DIR": str(folder)} | settings
        output = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        begun = subprocess.run([SCRIPTS / "start.sh"], **output)
        if begun.returncode == IMPOSSIBLE:
            pytest.skip(f"no SLURM here: {begun.stderr.strip()}")
        try:
            assert begun.returncode == 0, begun.stderr
            yield Lab(folder)
        finally:
            subprocess.run([SCRIPTS / "stop.sh"], env=environment, check=True)


class Lab:
    def __init__(self, folder):
        self.folder = folder

    def ask(self, *command):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def jobs(self):
        """A row for every job of Snakemake's that SLURM has seen, with its rule's (or group's) name and its wildcards."""
        listed = self.ask("squeue", "-h", "--states=all", "-O", ",".join(COLUMNS.values()))
        widths = [int(column.split(":")[1]) for column in COLUMNS.values()]
        starts = [sum(widths[:index]) for index in range(len(widths))]
        rows = [[line[a : a + w].strip() for a, w in zip(starts, widths, strict=True)] for line in listed.splitlines()]
        jobs = pd.DataFrame(rows, columns=list(COLUMNS))
        jobs[["rule", "wildcards"]] = jobs["comment"].str.extract(r"^rule_(.*?)(?:_wildcards_(.*))?$")
        return jobs.dropna(subset="rule").fillna({"wildcards": ""})

    def job(self, number):
        """Its row of `jobs`, as a mapping."""
        (row,) = self.jobs().query("number == @number").to_dict("records")
        return row

    def job_of(self, process):
        """Number and node of the job that a process belongs to."""
        words = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
        environment = dict(word.split("=", 1) for word in words if "=" in word)
        return environment["SLURM_JOB_ID"], environment["SLURMD_NODENAME"]

    def set_node_down(self, node):
        """As an operator does, or SLURM itself when a node is silent; it comes back since its daemon still answers."""
        self.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def preempt(self, node):
        """Gives all GPUs of the node to a job of a partition that goes first, for a moment."""
        options = ["--partition=urgent", f"--nodelist={node}", "--gpus=8", "--time=1", "--output=/dev/null"]
        self.ask("sbatch", *options, "--wrap", "true")

    @contextmanager
    def without_controller(self):
        """Within the block nobody answers `squeue`, `sbatch` and `scontrol`; jobs run on."""
        process = int((self.folder / "pid" / "slurmctld.pid").read_text())
        os.kill(process, signal.SIGTERM)
        until(lambda: not Path(f"/proc/{process}").exists())
        try:
            yield
        finally:
            subprocess.run(["slurmctld"], check=True)


def until(true, over=lambda: False):
    """Waits for `true()`; fails when `over()`, the work that it is to come of, has ended without it."""
    while not true():
        assert not over(), "the work ended before what the test waits for"
        time.sleep(0.05)


@contextmanager
def held_at_its_checkpoint(project, finished, manifest, over):
    """Within the block the process of a training job stands still, with a checkpoint saved of the run it is at.

    `manifest` is the job's output below training/; its runs' keys are known from a project that has `finished`.
    `over()` tells when Snakemake has ended.  Yields the process's number.
    """
    runs, lock = project.folder / "results/store/runs", project.results("training", manifest).with_suffix(".lock")
    checkpoints = [runs / f"{run['key']}.state" / "checkpoint.pt" for run in finished.manifest(manifest).values()]
    until(lambda: any(map(Path.exists, checkpoints)), over)
    process = int(owner(lock).split()[0])
    os.kill(process, signal.SIGSTOP)
    try:
        yield process
    finally:
        if Path(f"/proc/{process}").exists():
            os.kill(process, signal.SIGCONT)
