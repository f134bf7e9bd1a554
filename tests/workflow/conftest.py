"""A copy of the project in a temporary folder, with a tiny experiment on made-up text."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from tests.checkout import checkout
from workflow_scripts.locks import wait_for_lock

TINY = Path(__file__).with_name("tiny.yaml")
TIMEOUT = 1800
"""Seconds; it ends what hangs, on a machine that has other work too."""
CELL = ["arm", "init", "unit", "size", "d_chars", "seed"]


NAMES = ["".join(random.Random(seed).choices("abcdefgxyz_", k=2 + seed % 6)) for seed in range(80)]
"""What both languages speak of: there is something to transfer."""


def english(source):
    while True:
        phrases = ["{} of {}({})".format(*source.choices(NAMES, k=3)) for _ in range(40)]
        yield ", ".join(phrases) + ".\n"


def python(source):
    while True:
        lines = []
        for _ in range(10):
            name, first, second = source.choices(NAMES, k=3)
            lines.append(f"def {name}({first}, {second}):\n    return {first} {source.choice('+-*/')} {second}\n")
        yield "\n".join(lines)


def write_corpus(path, documents, characters):
    """JSON lines of documents, `characters` in all."""
    with open(path, "w", encoding="utf-8") as file:
        written = 0
        while written < characters:
            text = next(documents)
            file.write(json.dumps({"text": text}) + "\n")
            written += len(text)


class Project:
    """A checkout in which workflows run."""

    def __init__(self, folder):
        self.folder = folder
        self.config = folder / "tiny.yaml"

    @classmethod
    def create(cls, folder):
        checkout(folder)
        shutil.copy2(TINY, folder / "tiny.yaml")
        write_corpus(folder / "english.jsonl", english(random.Random(1)), 400_000)
        write_corpus(folder / "python.jsonl", python(random.Random(2)), 150_000)
        return cls(folder)

    def copy(self, folder):
        """With its results: hard links stay hard links, times stay."""
        subprocess.run(["cp", "-a", str(self.folder), str(folder)], check=True)
        return Project(folder)

    def change(self, **keys):
        """Changes keys of the configuration."""
        self.config.write_text(yaml.safe_dump(yaml.safe_load(self.config.read_text()) | keys))

    def replace(self, path, old, new):
        """Edits a file of the project."""
        file = self.folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def start(self, module, *arguments):
        command = [sys.executable, "-m", module, *map(str, arguments)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.Popen(command, cwd=self.folder, env=environment, start_new_session=True, **streams)

    def run(self, module, *arguments):
        """Return code and everything printed."""
        process = self.start(module, *arguments)
        try:
            output, _ = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, output

    def launch(self, *arguments):
        return self.run("workflow_scripts.launch", "--configfile", self.config.name, *arguments)

    def snakemake(self, *arguments):
        """`snakemake ARGUMENTS`, with the target before `--configfile`, which takes all that follows it."""
        return self.run("snakemake", *arguments, "--configfile", self.config.name)

    def planned(self, *arguments):
        """Rule -> number of jobs that Snakemake would run."""
        code, output = self.snakemake(*arguments, "-n", "--quiet", "rules")
        assert code == 0, output
        counts = {}
        for line in output.splitlines():
            words = line.split()
            if len(words) == 2 and words[1].isdigit() and words[0] not in ("total", "job"):
                counts[words[0]] = int(words[1])
        return counts

    def results(self, *parts):
        return self.folder.joinpath("results", yaml.safe_load(self.config.read_text())["experiment"], *parts)

    def manifest(self, path):
        """Of a training job that is done: run folder -> key in the store, status, hash of the weights."""
        return json.loads(self.results("training", path).read_text())

    def forget_training(self):
        """Leaves corpora and tokens."""
        for made in ("results/tiny/training", "results/tiny/laws", "results/tiny/figures", "results/store/runs"):
            shutil.rmtree(self.folder / made)

    def losses(self):
        """Of every run, by cell, with what else it was at its best."""
        runs = pd.read_parquet(self.results("laws", "runs.parquet")).set_index(CELL)
        return runs[["val_loss", "test_loss", "test_bits_per_byte", "best_tokens", "best_epoch", "d_tokens", "flops"]]


def kill(process, *, with_jobs):
    """SIGKILL to what drives the work, and to its jobs too, or else these run on as orphans.  Returns the orphans."""
    driver = psutil.Process(process.pid)
    drivers = [driver, *(child for child in driver.children() if "snakemake" in child.cmdline())]
    jobs = [child for child in driver.children(recursive=True) if child not in drivers]
    for member in [*drivers, *(jobs if with_jobs else [])]:
        with suppress(psutil.NoSuchProcess):  # a job may end by itself meanwhile
            member.kill()
    process.wait()
    KILLED.append(process)
    return [] if with_jobs else jobs


KILLED = []
"""Their pipes stay open: orphans still write to them."""


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """The project before anything has run."""
    return Project.create(tmp_path_factory.mktemp("pristine") / "project")


@pytest.fixture(scope="session")
def finished(pristine, tmp_path_factory, worker_id):
    """The project after one undisturbed `make run`, for all workers; tests must copy it before they change anything."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared if worker_id == "master" else shared.parent
    project, printed = Project(shared / "finished"), shared / "finished.txt"
    with wait_for_lock(shared / "finished.lock"):
        if not printed.exists():
            assert not project.folder.exists(), "another worker could not make it"
            pristine.copy(project.folder)
            code, output = project.launch("--resources", "gpu=8")
            assert code == 0, output
            printed.write_text(output)
    project.output = printed.read_text()
    return project


@pytest.fixture
def untrained(finished, tmp_path):
    """The project with its tokens, before any training."""
    project = finished.copy(tmp_path / "project")
    project.forget_training()
    return project
