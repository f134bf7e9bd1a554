"""Where jobs run is no matter of the rules: through another scheduler's submit command, and on GPUs that Snakemake counts."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.workflow.conftest import ROOT

pytestmark = pytest.mark.workflow

SUBMIT = """#!/bin/bash
# A scheduler of one line: takes a job script, prints the job's number.
basename "$1" >>submitted
setsid bash "$1" >/dev/null 2>&1 </dev/null &
echo $!
"""


def test_the_generic_cluster_plugin_with_a_local_submit_script(untrained, finished):
    submit = untrained.folder / "submit"
    submit.write_text(SUBMIT)
    submit.chmod(0o755)
    manifest = "finetune/english/document/1k/seed0/small.json"
    code, output = untrained.snakemake(
        f"results/tiny/training/{manifest}",
        *("--executor", "cluster-generic", "--cluster-generic-submit-cmd", "./submit"),
        *("--jobs", "4", "--seconds-between-status-checks", "1"),
    )
    assert code == 0, output
    submitted = [line.split(".")[1] for line in (untrained.folder / "submitted").read_text().splitlines()]
    assert submitted == ["pretrain", "finetune"]
    assert untrained.manifest(manifest) == finished.manifest(manifest)


def test_a_job_over_several_nodes_says_that_it_needs_slurm(untrained):
    untrained.change(nodes=2, gpu=0)
    code, output = untrained.snakemake("results/tiny/training/pretrain/english/1k/seed0.json")
    assert code != 0
    assert "nodes: is for a SLURM job, as of --workflow-profile profiles/slurm" in output


def test_gpus_are_used_that_a_scheduler_gives_by_gres(untrained):
    code, output = untrained.snakemake(
        *("results/tiny/training/pretrain/english/1k/seed0.json", "--dry-run", "--printshellcmds"),
        *("--set-resources", "pretrain:gpu=0", "pretrain:gres=gpu:1"),
    )
    assert code == 0, output
    assert "--gpus 1" in output


JOBS = """
rule all:
    input: expand("{job}.json", job=range(4))

rule job:
    output: "{job}.json"
    resources: gpu=1
    shell: "{PYTHON} hold.py {output}"
"""
HOLD = """
import json, sys, time
began = time.monotonic()
from workflow_scripts.training.devices import leased_index, visible_devices
names = visible_devices()
with leased_index(names) as index:
    leased = time.monotonic()
    json.dump({"device": names[index], "alive": [began, time.monotonic()], "leased": [leased, time.monotonic()]},
              open(sys.argv[1], "w"))
"""


def at_most(spans):
    """Largest number of spans that hold at one time."""
    events = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    running = [sum(step for _, step in events[: index + 1]) for index in range(len(events))]
    return max(running)


def test_snakemake_counts_gpus_and_the_lease_gives_each_job_its_own(tmp_path):
    (tmp_path / "Snakefile").write_text(JOBS.replace("{PYTHON}", sys.executable))
    (tmp_path / "hold.py").write_text(HOLD)
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "3,4,5", "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "snakemake", "--cores", "6", "--resources", "gpu=2"]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    jobs = [json.loads((tmp_path / f"{job}.json").read_text()) for job in range(4)]
    assert at_most([job["alive"] for job in jobs]) <= 2
    assert {job["device"] for job in jobs} <= {"3", "4", "5"}
    for device in ("3", "4", "5"):
        assert at_most([[0, 0], *(job["leased"] for job in jobs if job["device"] == device)]) <= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_jobs_lease_real_gpus(untrained, finished, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    count = torch.cuda.device_count()
    manifests = [f"pretrain/english/{size}/seed{seed}.json" for size in ("1k", "6k") for seed in (0, 1)]
    code, output = untrained.snakemake(
        *(f"results/tiny/training/{manifest}" for manifest in manifests), "--resources", f"gpu={count}"
    )
    assert code == 0, output
    leased = {lock.stem for lock in (tmp_path / "gpu-leases").glob("*.lock")}
    assert 1 <= len(leased) <= count
    assert [list(untrained.manifest(name)) for name in manifests] == [
        list(finished.manifest(name)) for name in manifests
    ]
