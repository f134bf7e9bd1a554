"""The workflow through a real SLURM: jobs by sbatch, GPUs counted, a cancelled job made good, the same losses."""

import os
import subprocess
import threading
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.workflow

SCRIPTS = Path(__file__).parents[1] / "slurm"
IMPOSSIBLE = 3
CELL = ["arm", "init", "unit", "size", "d_chars", "seed"]
LOSSES = ["val_loss", "test_loss", "best_tokens"]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A SLURM with 8 pretended GPUs, for as long as this module's tests take."""
    environment = os.environ | {"SLURM_LAB_DIR": str(tmp_path_factory.mktemp("slurm"))}
    output = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    started = subprocess.run([SCRIPTS / "start.sh"], **output)
    if started.returncode == IMPOSSIBLE:
        pytest.skip(f"no SLURM here: {started.stderr.strip()}")
    try:
        assert started.returncode == 0, started.stderr
        yield
    finally:
        subprocess.run([SCRIPTS / "stop.sh"], env=environment, check=True)


def cancel_one(rule, over):
    """Cancels the first job of a rule that SLURM runs; returns its number, or None if `over` comes first."""
    while not over.wait(0.2):
        listed = subprocess.run(["squeue", "-h", "-t", "R", "-o", "%A %k"], capture_output=True, text=True).stdout
        for line in listed.splitlines():
            number, _, comment = line.partition(" ")
            if comment.startswith(f"rule_{rule}_"):
                subprocess.run(["scancel", number], check=True)
                return number
    return None


@pytest.fixture(scope="module")
def through_slurm(slurm, pristine, tmp_path_factory):
    """The small experiment's first seed up to its table of runs; one pre-training job is cancelled from outside."""
    project = pristine.copy(tmp_path_factory.mktemp("through_slurm") / "project")
    project.change(seeds=[0], share_process_below=20_000)
    over, cancelled = threading.Event(), []
    canceller = threading.Thread(target=lambda: cancelled.append(cancel_one("pretrain", over)))
    canceller.start()
    code, project.output = project.snakemake(
        "results/tiny/laws/runs.parquet",
        *("--workflow-profile", "profiles/slurm"),
        *("--slurm-init-seconds-before-status-checks", "8"),
        *("--set-resources", "scratch:gpu=5"),
    )
    over.set()
    canceller.join()
    assert code == 0, project.output
    (project.cancelled,) = cancelled
    columns = ["number", "state", "start", "end", "gpus", "comment"]
    listed = subprocess.run(
        [
            "squeue",
            "-h",
            "--states=all",
            "-O",
            "JobID:12,StateCompact:6,StartTime:24,EndTime:24,tres-per-job:24,Comment:200",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    project.jobs = pd.DataFrame([line.split(maxsplit=5) for line in listed.splitlines()], columns=columns)
    return project


def test_every_step_went_through_sbatch(through_slurm):
    rules = through_slurm.jobs["comment"].str.extract(r"rule_([a-z]+)")[0]
    assert {"clean", "split", "tokenizer", "encode", "pretrain", "scratch", "finetune", "collect"} <= set(rules)


def test_losses_are_those_of_one_box(through_slurm, finished):
    """Also of the run whose pre-training was cancelled on the way."""
    here = pd.read_parquet(through_slurm.results("laws", "runs.parquet")).set_index(CELL)[LOSSES]
    there = pd.read_parquet(finished.results("laws", "runs.parquet")).set_index(CELL)[LOSSES]
    assert len(here) == len(there) / 2
    pd.testing.assert_frame_equal(here, there.loc[here.index])


def test_a_cancelled_job_is_noticed_and_tried_again(through_slurm):
    jobs = through_slurm.jobs
    assert through_slurm.cancelled in set(jobs["number"][jobs["state"] == "CA"])
    pretraining = jobs[jobs["comment"].str.startswith("rule_pretrain_")]
    assert (pretraining["state"] == "CD").sum() == 2


def test_jobs_wait_for_gpus(through_slurm):
    """Two jobs of 5 of the 8 GPUs each never run side by side."""
    jobs = through_slurm.jobs
    of_scratch = jobs[jobs["comment"].str.startswith("rule_scratch_")].sort_values("start")
    assert len(of_scratch) > 1
    assert of_scratch["gpus"].str.contains("gpu:5").all()
    ends, starts = pd.to_datetime(of_scratch["end"]), pd.to_datetime(of_scratch["start"])
    assert (ends.iloc[:-1].to_numpy() <= starts.iloc[1:].to_numpy()).all()
