"""`kill -9` at any moment: the next run goes on by itself and ends with the same losses, to the last bit."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest

from tests.checkout import ROOT
from tests.training.conftest import write_tokens
from tests.training.test_run import SPECIFICATION
from tests.workflow.conftest import TIMEOUT, kill
from workflow_scripts.training.estimate import TORCHRUN

pytestmark = pytest.mark.workflow


def wait_until(process, condition):
    """Returns when `condition()` holds; fails if the workflow ends before."""
    for _ in range(TIMEOUT * 20):
        if condition():
            return
        try:
            code = process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"the workflow ended (code {code}) too early:\n{process.stdout.read()}")
    pytest.fail("waited too long")


@pytest.mark.parametrize("with_jobs", [True, False], ids=["workflow-and-jobs", "workflow-only"])
def test_killed_runs_end_with_the_same_losses(pristine, finished, tmp_path, with_jobs):
    """Killed once in pre-training and once in a cell; with its jobs, or leaving them to run on as orphans."""
    project = pristine.copy(tmp_path / "project")
    store, training = project.folder / "results/store/runs", project.results("training")

    def checkpoints():
        return set(store.glob("*.state/checkpoint.pt"))

    first = project.start("workflow_scripts.launch", "--configfile", "tiny.yaml")
    wait_until(first, checkpoints)
    orphans = kill(first, with_jobs=with_jobs)
    assert with_jobs or any(orphan.is_running() for orphan in orphans)

    second = project.start("workflow_scripts.launch", "--configfile", "tiny.yaml")
    wait_until(second, lambda: len(list(training.glob("pretrain/*/*/*/run.json"))) == 4)
    before = checkpoints()
    wait_until(second, lambda: checkpoints() - before)
    orphans += kill(second, with_jobs=with_jobs)

    code, output = project.launch()
    psutil.wait_procs(orphans, timeout=TIMEOUT)
    assert code == 0, output
    assert "going on from where it was" in output
    if with_jobs:
        assert "going on from its checkpoint" in output
    pd.testing.assert_frame_equal(project.losses(), finished.losses(), check_exact=True)


def test_a_signal_to_torchrun_has_its_processes_save(tmp_path):
    """It handed on SIGTERM alone."""
    write_tokens(tmp_path / "tokens/corpus")
    endless = SPECIFICATION["recipe"] | {"patience": 1e9, "budget_epochs": 1e9}
    runs = json.dumps({"cell": SPECIFICATION | {"recipe": endless}})
    command = [*TORCHRUN.split(), "--standalone", "--nproc-per-node", "2", "-m", "workflow_scripts.training"]
    command += ["--runs", runs, "--tokens", "tokens", "--out", "cell.json", "--checkpoint-seconds", "1e9"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    job = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    torchrun = psutil.Process(job.pid)
    wait_until(job, lambda: sum(map(hears_usr1, torchrun.children())) == 2)
    processes = torchrun.children()
    job.send_signal(signal.SIGUSR1)
    job.wait(timeout=TIMEOUT)
    _, left = psutil.wait_procs(processes, timeout=1)
    for process in left:
        process.kill()
    assert not left
    assert "asked to stop at step" in job.stdout.read()
    assert list(tmp_path.glob("results/store/runs/*.state/checkpoint.pt"))


def hears_usr1(process):
    """Whether it has a handler of its own for SIGUSR1, which would end it else."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return bool(int(re.search(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)[1], 16) >> signal.SIGUSR1 - 1 & 1)


def test_a_second_run_waits_for_the_one_that_works(pristine, tmp_path):
    """Also where `make` or the launcher was killed, and Snakemake works on."""
    project = pristine.copy(tmp_path / "project")
    first = project.start("workflow_scripts.launch", "--configfile", "tiny.yaml")
    wait_until(first, lambda: any((project.folder / ".snakemake/locks").glob("*")))
    second = project.start("workflow_scripts.launch", "--configfile", "tiny.yaml")
    assert f"Process {first.pid} on {platform.node()} is at work in this folder" in second.stdout.readline()
    kill(second, with_jobs=True)
    kill(first, with_jobs=True)


def test_a_job_that_ends_while_all_are_killed_is_no_error(monkeypatch):
    """It did once, between the list of jobs and the signal, and a test failed."""
    process = subprocess.Popen(["bash", "-c", "sleep 60 & wait"], stdout=subprocess.PIPE)
    wait_until(process, lambda: psutil.Process(process.pid).children())
    killed = psutil.Process.kill

    def ends_first(job):
        killed(job)
        if job.pid != process.pid:
            raise psutil.NoSuchProcess(job.pid)

    monkeypatch.setattr(psutil.Process, "kill", ends_first)
    assert kill(process, with_jobs=True) == []
    assert process.returncode == -signal.SIGKILL


def test_a_bare_snakemake_after_a_kill_says_what_to_do(pristine, tmp_path):
    project = pristine.copy(tmp_path / "project")
    process = project.start("workflow_scripts.launch", "--configfile", "tiny.yaml")
    wait_until(process, lambda: any(project.results("logs").rglob("*.log")))
    kill(process, with_jobs=True)
    code, output = project.snakemake()
    assert code != 0
    assert "--unlock" in output
