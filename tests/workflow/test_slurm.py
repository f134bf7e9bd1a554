"""The workflow through a real SLURM: jobs by sbatch, GPUs counted, what befalls its jobs made good, the same losses.

What needs SLURM's accounts is in test_slurm_accounting.py (`make slurm`).
"""

import json
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from tests.slurm.lab import held_at_its_checkpoint, started, until

pytestmark = pytest.mark.workflow

SMALL, LARGE = "1k", "6k"
SITE = {"executor": "slurm", "default-resources": {"slurm_partition": "gpu"}, "jobs": 1}
"""A site's own profile; the workflow's goes before it, key by key."""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with started(tmp_path_factory.mktemp("slurm")) as lab:
        yield lab


def cancelled(lab, project, finished, over):
    """Returns the job's number, as the other troubles do; `over()` when Snakemake has ended."""
    with held_at_its_checkpoint(project, finished, f"pretrain/english/{SMALL}/seed0.json", over) as process:
        number, _ = lab.job_of(process)
        lab.ask("scancel", number)
    return number


def out_of_time(lab, project, finished, over):
    with held_at_its_checkpoint(project, finished, f"pretrain/english/{LARGE}/seed0.json", over) as process:
        number, _ = lab.job_of(process)
        until(lambda: lab.job(number)["state"] == "TO", over)
    return number


def preempted_then_without_its_node(lab, project, finished, over):
    manifest = f"finetune/english/excerpt/{LARGE}/seed0/small.json"
    with held_at_its_checkpoint(project, finished, manifest, over) as process:
        number, node = lab.job_of(process)
        lab.preempt(node)
        until(lambda: lab.job(number)["state"] == "PD", over)
    until(lambda: lab.job(number)["state"] == "R", over)
    lab.set_node_down(lab.job(number)["nodes"])
    return number


TROUBLES = (cancelled, out_of_time, preempted_then_without_its_node)


@pytest.fixture(scope="module")
def through_slurm(slurm, pristine, finished, tmp_path_factory):
    """The small experiment's first seed up to its report, with a site's own profile, in trouble on the way."""
    project = pristine.copy(tmp_path_factory.mktemp("through_slurm") / "project")
    project.change(seeds=[0], share_process_below=20_000)
    (project.folder / "site").mkdir()
    (project.folder / "site" / "config.yaml").write_text(json.dumps(SITE))
    estimate = {"needs": {f"pretrain/english/{LARGE}/seed0": {"mem_mb": 1000, "runtime": 1}}}
    project.results().mkdir(parents=True)
    project.results("estimate.json").write_text(json.dumps(estimate))
    with ThreadPoolExecutor() as beside:
        work = beside.submit(
            project.snakemake,
            *("--profile", "site", "--workflow-profile", "profiles/slurm"),
            *("--slurm-init-seconds-before-status-checks", "8"),
            # As `gpu: 5` in the configuration would ask: without `nodes`, five may be three of one node and two of the other.
            *("--set-resources", "scratch:gpu=5", "scratch:nodes=1", "collect:slurm_partition=main"),
            *("scratch:runtime=60", "finetune:runtime=60"),
        )
        numbers = {trouble: beside.submit(trouble, slurm, project, finished, work.done) for trouble in TROUBLES}
    code, output = work.result()
    assert code == 0, output
    project.output, project.jobs = output, slurm.jobs()
    project.troubled = {trouble: slurm.job(number.result()) for trouble, number in numbers.items()}
    return project


def test_every_step_went_through_sbatch(through_slurm):
    rules = {"clean", "split", "tokenizer", "encode", "pretrain", "scratch", "finetune", "collect", "fit", "scaling"}
    assert rules | {"figure", "report"} <= set(through_slurm.jobs["rule"])
    assert through_slurm.results("report.html").exists()


def test_a_sites_profile_gives_the_partition_and_a_rule_may_have_its_own(through_slurm):
    assert set(through_slurm.jobs.query("rule != 'collect'")["partition"]) == {"gpu"}
    assert set(through_slurm.jobs.query("rule == 'collect'")["partition"]) == {"main"}


def test_losses_are_those_of_one_box(through_slurm, finished):
    """Also of the runs that were stopped on the way."""
    here, there = through_slurm.losses(), finished.losses()
    assert len(here) == len(there) / 2
    pd.testing.assert_frame_equal(here, there.loc[here.index], check_exact=True)


def test_a_cancelled_job_is_noticed_and_goes_on_from_its_checkpoint(through_slurm):
    assert through_slurm.troubled[cancelled]["state"] == "CA"
    assert "its checkpoint is saved; start it again to go on" in through_slurm.output
    log = through_slurm.results("logs/training/pretrain/english", SMALL, "seed0.log").read_text()
    assert "going on from its checkpoint" in log


def test_a_job_out_of_time_goes_on_from_its_checkpoint_with_more_time(through_slurm):
    assert through_slurm.troubled[out_of_time]["state"] == "TO"
    tries = through_slurm.jobs.query("rule == 'pretrain' and wildcards.str.contains(@LARGE)")
    assert {"1:00", "2:00"} <= set(tries["limit"])
    log = through_slurm.results("logs/training/pretrain/english", LARGE, "seed0.log").read_text()
    assert "going on from its checkpoint" in log


def test_a_preempted_job_and_one_whose_node_is_down_are_run_again_by_slurm(through_slurm):
    job = through_slurm.troubled[preempted_then_without_its_node]
    assert (job["state"], job["restarts"]) == ("CD", "2")
    log = through_slurm.results("logs/training/finetune/english/excerpt", LARGE, "seed0/small.log").read_text()
    assert "going on from its checkpoint" in log


def test_jobs_wait_for_gpus(through_slurm):
    """Two jobs of 5 of a node's 8 GPUs each never run side by side on it."""
    of_scratch = through_slurm.jobs.query("rule == 'scratch'")
    assert of_scratch["gpus"].str.contains("gpu:5").all()
    assert of_scratch.groupby("nodes").size().max() > 1
    for _, jobs in of_scratch.sort_values("start").groupby("nodes"):
        ends, starts = pd.to_datetime(jobs["end"]), pd.to_datetime(jobs["start"])
        assert (ends.iloc[:-1].to_numpy() <= starts.iloc[1:].to_numpy()).all()
