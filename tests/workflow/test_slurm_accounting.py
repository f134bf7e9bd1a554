"""What of a cluster needs SLURM's accounts (memory limits, a controller that is away) or is no matter for every test run:
`make slurm`."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from tests.slurm.lab import held_at_its_checkpoint, started, until
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
    untrained.results("estimate.json").write_text(json.dumps({"sizes": {"6k": {"mem_mb": 450, "runtime": 60}}}))

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
    manifests = [f"scratch/{cells}/seed0/small.json" for cells in ("excerpt/1k", "document/1k")]
    sharing = ("--groups", "scratch=small", "--group-components", "small=10")
    code, output = untrained.snakemake(
        *targets(*manifests), *SLURM, *sharing, "--resources", "nodes=1", "--set-resource-scopes", "nodes=local"
    )
    assert code == 0, output
    (job,) = slurm.jobs().query("rule == 'small_scratch'").to_dict("records")
    assert job["gpus"].endswith("gpu:1")
    assert [untrained.manifest(name) for name in manifests] == [finished.manifest(name) for name in manifests]


def test_a_job_that_no_node_can_hold_is_refused_with_the_way_on(slurm, untrained):
    code, output = untrained.snakemake(*targets(SMALL), *SLURM, "--set-resources", "pretrain:gpu=9")
    assert code != 0
    assert "Requested node configuration is not available" in output
    assert "The same command goes on" in output
