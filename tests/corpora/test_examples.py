"""The examples that a person copies can be read, and a dry run without the dumps lists the jobs and what is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from workflow_scripts.experiment import Experiment

EXAMPLES = {
    "dumps-to-python": "corpora.python.stack.path: no file matches 'dumps/the-stack/data/python/*.parquet'",
    "oscar": "corpora.german.oscar.path: no file matches 'dumps/oscar-2301/de_meta/*.jsonl.zst'",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_configuration_with_budgets(name):
    experiment = Experiment.load(f"config/experiments/{name}.yaml")
    sources = [source for corpus in experiment.corpora.values() for source in corpus.values()]
    assert all(source.characters >= 4_000_000_000 for source in sources)
    assert experiment.pretrain.tokens >= 20 * max(
        shape.parameter_counts()["body"] for shape in experiment.shapes.values()
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_dry_run_without_the_dumps_says_which_files_are_expected_where(name):
    command = [sys.executable, "-m", "snakemake", "-n", "--configfile", f"config/experiments/{name}.yaml"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert found.returncode == 0
    assert "Before it can start:" in found.stderr
    assert EXAMPLES[name] in found.stderr
    assert "Traceback" not in found.stdout + found.stderr
