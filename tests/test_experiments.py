"""The files of config/experiments: complete, short, sharing what can be shared, and without the defects of earlier work."""

from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from workflow_scripts.corpora.fetch import pins
from workflow_scripts.corpora.packages import READERS
from workflow_scripts.corpora.sources import PackageSource
from workflow_scripts.experiment import Experiment
from workflow_scripts.store import canonical_json

FILES = sorted(Path("config/experiments").glob("*.yaml"))
SCREEN, HALF_A_SCREEN = 75, 25
LANGUAGES = ("german", "spanish", "french", "chinese")


def load(name: str) -> Experiment:
    return Experiment.load(f"config/experiments/{name}.yaml")


def pretraining(experiment: Experiment, source: str) -> set[str]:
    """The declared choices of the pre-trained models of a source."""
    runs = [run for run in experiment.runs if run.arm == "pretrain" and run.source == source]
    return {canonical_json(experiment.specification(run)) for run in runs}


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


def test_a_file_is_at_most_a_screen_and_one_on_a_base_half(path):
    """Whole experiments, for dumps, say everything and are longer."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= (HALF_A_SCREEN if any(line.startswith("base:") for line in lines) else SCREEN)


@pytest.mark.parametrize("name", ["text-to-python", "languages"])
def test_the_smallest_sets_of_the_papers_do_not_end_in_their_warm_up(name):
    """With 300 steps and 100 epochs, 300,000 characters did."""
    experiment = load(name)
    recipe = experiment.recipe
    smallest = min(run.characters for run in experiment.runs if run.arm == "scratch")
    sequences = recipe.sequences_of(smallest // 3, experiment.model.n_ctx)
    steps = smallest / 3 / (sequences * experiment.model.n_ctx) * recipe.budget_epochs
    assert steps > 5 * recipe.warmup_steps


def test_the_corpora_of_the_paper_have_the_papers_sizes():
    corpora = load("text-to-python").corpora
    sizes = {name: sum(source.characters for source in sources.values()) for name, sources in corpora.items()}
    assert sizes == {"text": 24e9, "code": 240e9, "python": 22e9}


def test_every_package_is_pinned_and_has_its_reader(path):
    experiment, pinned = Experiment.load(path), pins("config/packages.txt")
    sources = [source for corpus in experiment.used_corpora for source in experiment.enabled_sources(corpus).values()]
    for source in sources:
        if isinstance(source, PackageSource):
            assert source.package in pinned
            assert source.reader in READERS


def test_names_of_experiments_differ():
    names = [yaml.safe_load(path.read_text(encoding="utf-8"))["experiment"] for path in FILES]
    assert len({*names, "quickstart"}) == len(names) + 1


def test_a_new_pair_is_eight_lines_on_another():
    lines = Path("config/experiments/english-to-french.yaml").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if not line.startswith("#")]) <= 8


def test_text_and_code_shares_all_but_the_mixture_with_the_quickstart():
    quickstart, both = Experiment.load("config/config.yaml"), load("text-and-code")
    assert [both.specification(run) for run in quickstart.runs] == [
        quickstart.specification(run) for run in quickstart.runs
    ]
    assert {run.source for run in set(both.runs) - set(quickstart.runs)} == {"text_and_code"}


def test_english_is_pre_trained_once_for_all_languages():
    first, *others = (pretraining(load(f"english-to-{language}"), "english") for language in LANGUAGES)
    assert all(other == first for other in others)
    assert len(first) == 10


def test_the_reversed_pair_differs_in_its_direction_alone():
    there, back = load("english-to-german"), load("german-to-english")
    assert (there.target, back.target) == ("german", "english")
    assert back.tokenizer == there.tokenizer
    assert [run.characters for run in there.runs] == [run.characters for run in back.runs]


def test_kims_sizes_are_called_by_their_non_embedding_parameters():
    """Her 3.3M, 16M, 39M, 51M and 124M counted embeddings: (2 layers, width 64) has 98,304 parameters without them."""
    true = {(2, 64): 98_304, (4, 256): 3_145_728, (4, 512): 12_582_912, (8, 512): 25_165_824, (12, 768): 84_934_656}
    for (n_layer, d_model), n_params in true.items():
        config = yaml.safe_load(Path("config/config.yaml").read_text(encoding="utf-8"))
        config["model"]["sizes"] = [{"n_layer": n_layer, "d_model": d_model, "n_head": 2}]
        config["grids"], config["sweeps"] = config["grids"][:1], []
        (shape,) = Experiment.parse(config, "kim").shapes.values()
        assert shape.parameter_counts()["body"] == n_params == 12 * n_layer * d_model**2


def test_every_size_is_called_by_the_closed_form(path):
    for name, shape in Experiment.load(path).shapes.items():
        n_params = 12 * shape.n_layer * shape.d_model**2
        assert shape.parameter_counts()["body"] == n_params
        assert name == (f"{n_params / 1e6:.0f}M" if n_params >= 1e6 else f"{n_params / 1e3:.0f}k")


def test_all_sizes_and_both_arms_of_a_seed_are_asked_for_the_same_data(path):
    """Kim's tiny sets silently got another batch, so that D differed between sizes."""
    experiment = Experiment.load(path)
    seen = defaultdict(set)
    for run in experiment.runs:
        if run.arm in ("finetune", "scratch"):
            specification = experiment.specification(run)
            choices = {key: specification[key] for key in ("data", "seed", "recipe", "evaluation")}
            seen[run.unit, run.characters, run.seed].add(canonical_json(choices))
    assert all(len(choices) == 1 for choices in seen.values())


def test_runs_stop_and_are_judged_on_more_than_a_handful_of_text(path):
    """Kim stopped on 4,096 tokens and tested the last weights; that the best are tested is a test of the trainer."""
    evaluation = Experiment.load(path).evaluation
    assert evaluation.stop_tokens >= 2 * 4_096
    assert min(evaluation.validation_tokens, evaluation.test_tokens) >= 100_000
