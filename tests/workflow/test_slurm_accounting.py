"""What of a cluster needs SLURM's accounts (memory limits, a controller that is away) or is no matter for every test run:
`make slurm`."""

import json
import platform
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from tests.slurm.lab import held_at_its_checkpoint, started, until
from tests.workflow.conftest import kill
from workflow_scripts.files import read_json

pytestmark = [pytest.mark.workflow, pytest.mark.cluster]

SLURM = ("--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "8")
SMALL, LARGE = (f"pretrain/english/{size}/seed0.json" for size in ("1k", "6k"))


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with started(tmp_path_factory.mktemp("slurm"), SLURM_LAB_ACCOUNTING="1") as lab:
        yield lab


def targets(*manifests):
    return [f"results/tiny/training/{manifest}" for manifest in manifests]


def test_out_of_memory_and_without_a_controller(slurm, untrained, finished):
    """The one job is killed for its memory and gets twice as much; while the other trains nobody answers `squeue`."""
    untrained.results("estimate.json").write_text(
        json.dumps({"needs": {LARGE.removesuffix(".json"): {"mem_mb": 450, "runtime": 60}}})
    )

    def of_large():
        return slurm.jobs().query("wildcards.str.contains('6k')")

    def fell_back():
        logs = (untrained.folder / ".snakemake/log").glob("*.log")
        return any("Falling back to 'sacct'" in log.read_text() for log in logs)

    with ThreadPoolExecutor() as beside:
        work = beside.submit(untrained.snakemake, *targets(SMALL, LARGE), *SLURM)
        with held_at_its_checkpoint(untrained, finished, SMALL, work.done):
            until(lambda: "CD" in set(of_large()["state"]), work.done)
            with slurm.without_controller():
                until(fell_back, work.done)
    code, output = work.result()
    assert code == 0, output
    assert [untrained.manifest(name) for name in (SMALL, LARGE)] == [finished.manifest(name) for name in (SMALL, LARGE)]
    tries = of_large().sort_values("number")
    assert tries["memory"].tolist() == ["450M", "900M"]
    assert tries["state"].iloc[0] in ("F", "OOM")


def test_a_job_over_two_nodes_learns_what_one_process_learns(slurm, untrained, finished):
    """torchrun under srun: two processes a node share each batch, and every node has half of the GPUs."""
    untrained.change(nodes=2, gpu=4)
    code, output = untrained.snakemake(*targets(SMALL), *SLURM)
    assert code == 0, output
    (job,) = slurm.jobs().query("nodes == 'lab[1-2]'").to_dict("records")
    steps = slurm.ask("sacct", "-n", "-P", "-j", job["number"], "-o", "NTasks,JobName,AllocTRES").splitlines()
    assert any(step.startswith("2|torchrun|") for step in steps), steps
    shown = slurm.ask("scontrol", "show", "job", job["number"])
    assert "TresPerNode=gres:gpu:2" in shown
    ours, theirs = (
        read_json(project.results("training/pretrain/english/1k/seed0/run.json")) for project in (untrained, finished)
    )
    assert ours["identity"] == theirs["identity"]
    curves = [
        pd.read_parquet(project.results("training/pretrain/english/1k/seed0/curve.parquet"))
        for project in (untrained, finished)
    ]
    np.testing.assert_allclose(curves[0]["validation_loss"], curves[1]["validation_loss"], rtol=1e-3)


def test_small_jobs_share_an_allocation_and_one_gpu(slurm, untrained, finished):
    """By the lines of the profile that stand there as a comment; two pre-trainings are two of the ten, not with what
    follows them."""
    profile = untrained.folder / "profiles/slurm/config.yaml"
    keys = r"^# (groups|group-components|resources|set-resource-scopes): "
    lines, number = re.subn(keys, r"\1: ", profile.read_text(), flags=re.MULTILINE)
    assert number == 4
    profile.write_text(lines)
    manifests = [f"finetune/english/document/1k/seed{seed}/small.json" for seed in (0, 1)]
    code, output = untrained.snakemake(*targets(*manifests), *SLURM)
    assert code == 0, output
    jobs = slurm.jobs().query("rule.str.startswith('ten_')")
    assert sorted(jobs["rule"]) == ["ten_finetune_finetune", "ten_pretrain_pretrain"]
    assert jobs["gpus"].str.endswith("gpu:1").all()
    assert [untrained.manifest(name) for name in manifests] == [finished.manifest(name) for name in manifests]


def test_what_a_killed_snakemake_left_at_work_is_waited_for(slurm, untrained, finished):
    """The new start submits the job again; the lock of what it makes leaves the work to the one that runs."""
    first = untrained.start("snakemake", *targets(SMALL), *SLURM, "--configfile", untrained.config.name)
    log = untrained.results("logs", "training", SMALL).with_suffix(".log")
    with ThreadPoolExecutor() as beside:
        with held_at_its_checkpoint(untrained, finished, SMALL, lambda: first.poll() is not None) as process:
            number, _ = slurm.job_of(process)
            kill(first, with_jobs=False)
            code, output = untrained.snakemake("--unlock")
            assert code == 0, output
            work = beside.submit(untrained.snakemake, *targets(SMALL), *SLURM)
            until(
                lambda: (
                    log.exists()
                    and f"process {process} on {platform.node()} in SLURM job {number} is making it; waiting"
                    in log.read_text()
                ),
                work.done,
            )
            assert slurm.job(number)["state"] == "R"
        code, output = work.result()
    assert code == 0, output
    assert slurm.job(number)["state"] == "CD"
    assert "going on from its checkpoint" not in log.read_text()
    assert untrained.manifest(SMALL) == finished.manifest(SMALL)


def test_a_job_that_no_node_can_hold_is_refused_with_the_way_on(slurm, untrained):
    """Of one node: without `nodes`, SLURM gives the nine of two nodes, which no job's step can have."""
    asked = ("pretrain:gpu=9", "pretrain:nodes=1")  # as `gpu: 9` in the configuration would ask
    code, output = untrained.snakemake(*targets(SMALL), *SLURM, "--set-resources", *asked)
    assert code != 0
    assert "Requested node configuration is not available" in output
    assert "The same command goes on" in output
