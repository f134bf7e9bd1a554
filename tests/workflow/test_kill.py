"""`kill -9` at any moment: the next run goes on by itself and ends with the same losses, to the last bit."""

import subprocess

import pandas as pd
import psutil
import pytest

from tests.workflow.conftest import TIMEOUT, kill

pytestmark = pytest.mark.workflow

LOSSES = ["val_loss", "test_loss", "test_bits_per_byte", "best_tokens", "best_epoch", "d_tokens", "flops"]


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


def losses(project):
    runs = pd.read_parquet(project.results("laws", "runs.parquet"))
    return runs.sort_values(["arm", "unit", "n_params", "d_chars", "seed"])[LOSSES].reset_index(drop=True)


@pytest.mark.parametrize("with_jobs", [True, False], ids=["workflow-and-jobs", "workflow-only"])
def test_killed_runs_end_with_the_same_losses(pristine, finished, tmp_path, with_jobs):
    """Killed once in pre-training and once in a cell; with its jobs, or leaving them to run on as orphans."""
    project = pristine.copy(tmp_path / "project")
    store = project.folder / "results/store/runs"
    orphans = []

    process = project.start("workflow_scripts.launch", "--configfile", "tiny.yaml")
    wait_until(process, lambda: any(store.glob("*.state/checkpoint.pt")))
    orphans += kill(process, with_jobs=with_jobs)

    training = project.results("training")
    process = project.start("workflow_scripts.launch", "--configfile", "tiny.yaml")
    wait_until(process, lambda: any(training.glob("scratch/*/*/*/d*/run.json")) and any(store.glob("*.state")))
    orphans += kill(process, with_jobs=with_jobs)

    code, output = project.launch()
    psutil.wait_procs(orphans, timeout=TIMEOUT)
    assert code == 0, output
    assert "going on from where it was" in output
    pd.testing.assert_frame_equal(losses(project), losses(finished), check_exact=True)


def test_a_second_run_beside_a_working_one_is_refused(pristine, tmp_path):
    project = pristine.copy(tmp_path / "project")
    process = project.start("workflow_scripts.launch", "--configfile", "tiny.yaml")
    wait_until(process, (project.folder / "results/.working").exists)
    wait_until(process, lambda: any((project.folder / ".snakemake/locks").glob("*")))
    code, output = project.launch()
    kill(process, with_jobs=True)
    assert code == 1
    assert "at work in this folder" in output


def test_a_bare_snakemake_after_a_kill_says_what_to_do(pristine, tmp_path):
    project = pristine.copy(tmp_path / "project")
    process = project.start("workflow_scripts.launch", "--configfile", "tiny.yaml")
    wait_until(process, lambda: any(project.results("logs").rglob("*.log")))
    kill(process, with_jobs=True)
    code, output = project.snakemake()
    assert code != 0
    assert "--unlock" in output
