"""Where jobs run is no matter of the rules: through another scheduler's submit command, and on GPUs that Snakemake counts."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.checkout import ROOT
from workflow_scripts.files import read_json

pytestmark = pytest.mark.workflow

SUBMIT = r"""#!/bin/bash
# A scheduler of a few lines: takes memory and a job script, kills the first, prints each job's number.
echo "$(basename "$2") $1" >>submitted
if [ "$(wc -l <submitted)" = 1 ]; then touch "$(grep -oE "[^ \"']+[.]jobfailed" "$2")"; else setsid bash "$2" >/dev/null 2>&1 </dev/null & fi
echo $!
"""


def test_the_generic_cluster_plugin_with_a_local_submit_script(untrained, finished):
    """A job that the scheduler killed is tried again with twice the memory."""
    submit = untrained.folder / "submit"
    submit.write_text(SUBMIT)
    submit.chmod(0o755)
    manifest = "finetune/english/document/1k/seed0/small.json"
    code, output = untrained.snakemake(
        f"results/tiny/training/{manifest}",
        *("--executor", "cluster-generic", "--cluster-generic-submit-cmd", "./submit {resources.mem_mb}"),
        *("--jobs", "4", "--retries", "1", "--seconds-between-status-checks", "1"),
    )
    assert code == 0, output
    submitted = [line.split() for line in (untrained.folder / "submitted").read_text().splitlines()]
    assert [(script.split(".")[1], memory) for script, memory in submitted] == [
        ("pretrain", "4500"),
        ("pretrain", "9000"),
        ("finetune", "4500"),
    ]
    assert untrained.manifest(manifest) == finished.manifest(manifest)


def test_a_job_over_several_nodes_says_that_it_needs_slurm(untrained):
    untrained.change(nodes=2, gpu=0)
    code, output = untrained.snakemake("results/tiny/training/pretrain/english/1k/seed0.json")
    assert code != 0
    assert "nodes: is for a SLURM job, as of --workflow-profile profiles/slurm" in output


def test_gpus_are_used_that_a_scheduler_gives_by_gres(untrained):
    code, output = untrained.snakemake(
        *("results/tiny/training/pretrain/english/1k/seed0.json", "--dry-run", "--printshellcmds"),
        *("--set-resources", "pretrain:gpu=0", "pretrain:gres=gpu:1", "--resources", "mem_mb=20000"),
    )
    assert code == 0, output
    assert "--gpus 1" in output
    assert "mem_mb=4500" in output, "CUDA alone takes 4,000"


def test_fewer_gpus_than_one_job_takes_are_refused_with_the_way_to_train_without(untrained):
    """Snakemake lowers what a job asks for to what there is, and the trainer was told another number than it got."""
    target = ("results/tiny/training/pretrain/english/1k/seed0.json", "--dry-run", "--printshellcmds")
    code, output = untrained.snakemake(*target, "--resources", "gpu=0")
    assert code != 0
    assert (
        "--resources gpu=0: a training job takes 1, by `gpu` in the configuration; --config gpu=0 trains on" in output
    )
    code, output = untrained.snakemake(*target, "--config", "gpu=0")
    assert code == 0, output
    assert "--gpus 0" in output


def test_memory_of_this_machine_is_shared_out_where_asked_for(untrained):
    target = ("results/tiny/training/pretrain/english/1k/seed0.json", "--dry-run", "--config", "gpu=0")
    for arguments, asked in (((), False), (("--resources", "mem_mb=20000"), True)):
        code, output = untrained.snakemake(*target, *arguments)
        assert code == 0, output
        assert ("mem_mb=1500" in output) == asked


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
import torch
from workflow_scripts.training.devices import device, leased_index, visible_devices
with {LEASE} as mine:
    leased, name = time.monotonic(), {NAME}
    json.dump({"device": name, "alive": [began, time.monotonic()], "leased": [leased, time.monotonic()]},
              open(sys.argv[1], "w"))
"""


def at_most(spans):
    """Largest number of spans that hold at one time."""
    events = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    running = [sum(step for _, step in events[: index + 1]) for index in range(len(events))]
    return max(running)


def holders(folder, *, lease, name, gpus, **environment):
    """What four jobs that each lease a device say of it, `gpus` of them at a time; never two hold one device at once."""
    (folder / "Snakefile").write_text(JOBS.replace("{PYTHON}", sys.executable))
    (folder / "hold.py").write_text(HOLD.replace("{LEASE}", lease).replace("{NAME}", name))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)} | environment
    command = [sys.executable, "-m", "snakemake", "--cores", "6", "--resources", f"gpu={gpus}"]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    jobs = [json.loads((folder / f"{job}.json").read_text()) for job in range(4)]
    for device in {job["device"] for job in jobs}:
        assert at_most([job["leased"] for job in jobs if job["device"] == device]) == 1
    return jobs


def test_snakemake_counts_gpus_and_the_lease_gives_each_job_its_own(tmp_path):
    lease = {"lease": "leased_index(visible_devices())", "name": "visible_devices()[mine]"}
    jobs = holders(tmp_path, **lease, gpus=2, CUDA_VISIBLE_DEVICES="3,4,5")
    assert at_most([job["alive"] for job in jobs]) <= 2
    assert {job["device"] for job in jobs} <= {"3", "4", "5"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_gpu_is_held_by_one_job_at_a_time(tmp_path):
    """Also where Snakemake starts more jobs than there are GPUs."""
    name = "str(torch.cuda.get_device_properties(torch.ones(1, device=mine).device).uuid)"
    holders(tmp_path, lease="device(1)", name=name, gpus=torch.cuda.device_count() + 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_jobs_learn_the_same_on_real_gpus(untrained, finished):
    manifests = [f"pretrain/english/{size}/seed{seed}.json" for size in ("1k", "6k") for seed in (0, 1)]
    code, output = untrained.snakemake(
        *(f"results/tiny/training/{manifest}" for manifest in manifests),
        *("--resources", f"gpu={torch.cuda.device_count()}"),
    )
    assert code == 0, output
    for manifest in manifests:
        for run in finished.manifest(manifest):
            found, expected = (read_json(it.folder / run / "run.json")["outcome"] for it in (untrained, finished))
            assert found["test_loss"] == pytest.approx(expected["test_loss"], abs=0.02)
