"""The configuration: what it yields, and what it refuses, by name."""

import copy
import itertools

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.experiment import ConfigurationError, Experiment
from workflow_scripts.store import canonical_json, key_of


@pytest.fixture
def config():
    with open("config/config.yaml") as file:
        return yaml.safe_load(file)


def refused(config, *words):
    with pytest.raises(ConfigurationError) as error:
        Experiment.parse(config, "mine.yaml")
    for word in ("mine.yaml", *words):
        assert word in str(error.value)


def test_the_quickstart_keeps_the_rules_of_the_experiment(config):
    """DESIGN: enough sizes, cells and tokens, decided before the runs."""
    experiment = Experiment.parse(config, "config")
    bodies = [shape.parameter_counts()["body"] for shape in experiment.shapes.values()]
    assert len(bodies) >= 5
    assert max(bodies) / min(bodies) >= 10**1.5
    assert experiment.pretrain.tokens >= 20 * max(bodies)
    low, high = experiment.fit.d_f
    fitted = [d for d in experiment.grids[0].finetune if low <= d <= high]
    assert (low, high) == (6_000, 60_000)
    assert len(fitted) >= 5
    assert len(fitted) * len(bodies) >= 20
    scratch = sorted(experiment.grids[0].scratch)
    assert scratch[0] == low
    assert all(b / a <= 10**0.25 for a, b in itertools.pairwise(scratch))
    assert len(experiment.seeds) >= 2
    assert min(experiment.evaluation.validation_tokens, experiment.evaluation.test_tokens) >= 100_000
    epoch_steps = high / 1.5 / experiment.model.n_ctx / experiment.recipe.batch_sequences
    assert experiment.recipe.least_steps(epoch_steps) == experiment.recipe.minimum_epochs * epoch_steps, "in the fit"


def test_a_run_is_one_folder_and_one_identity(config):
    experiment = Experiment.parse(config, "config")
    folders = {run.folder for run in experiment.runs}
    keys = {key_of(experiment.specification(run)) for run in experiment.runs}
    assert len(folders) == len(experiment.runs) == len(keys)


def test_identities_ignore_labels_placement_and_the_order_of_keys(config):
    changed = dict(reversed(copy.deepcopy(config).items()))
    changed |= {
        "title": "Another",
        "experiment": "other",
        "gpu": 0,
        "nodes": 2,
        "checkpoint_seconds": 5,
        "share_process_below": 0,
    }
    changed["fit"] = {"d_f": [6_000, 40_000]}
    before, after = Experiment.parse(config, "a"), Experiment.parse(changed, "b")
    for first, second in zip(before.runs, after.runs, strict=True):
        assert canonical_json(before.specification(first)) == canonical_json(after.specification(second))


def test_a_fine_tuning_runs_identity_holds_its_pre_trainings(config):
    experiment = Experiment.parse(config, "config")
    run = next(run for run in experiment.runs if run.arm == "finetune")
    before = experiment.specification(run)
    assert before["initial"] == experiment.specification(experiment.pretraining_of(run))
    config["pretrain"]["tokens"] += 1
    assert Experiment.parse(config, "config").specification(run) != before


@given(st.permutations(range(5)))
def test_sizes_are_ordered_by_n_whatever_the_order_in_the_file(order):
    with open("config/config.yaml") as file:
        config = yaml.safe_load(file)
    config["model"]["sizes"] = [config["model"]["sizes"][index] for index in order]
    assert list(Experiment.parse(config, "config").shapes) == ["3k", "10k", "25k", "55k", "124k"]


def test_small_cells_share_a_job_and_large_ones_have_their_own(config):
    experiment = Experiment.parse(config, "config")
    for run in experiment.runs:
        job = experiment.job(run)
        if run.arm in ("finetune", "scratch") and run.characters >= experiment.share_process_below:
            assert job == run.folder
        elif run.arm != "pretrain":
            assert job.endswith("/small")


def test_every_problem_is_named_at_once(config):
    config["splits"]["train"] = 0.9
    config["pretrain"]["tokens"] = "many"
    config["model"]["sizes"][0]["n_head"] = 5
    expected = ["splits: unknown key 'train'; known are validation, test", "pretrain.tokens", "'many'"]
    refused(config, *expected, "d_model 12 is not divisible by n_head 5")


def test_an_unknown_key_is_named_with_the_known_ones(config):
    refused(config | {"sedes": [0]}, "unknown key 'sedes'", "seeds")


def test_a_configuration_without_its_name_is_refused(config):
    del config["experiment"]
    refused(config, "experiment: Field required")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("target", "cobol", ["target: 'cobol' is not one of the corpora ['english', 'python']"]),
        ("seeds", [0, 0], ["seeds: a seed stands twice"]),
        ("gpu", 3, ["gpu: 3 devices cannot share 4 recipe.batch_sequences"]),
        ("nodes", 2, ["gpu: 1 is no multiple of nodes: 2"]),
        (
            "pretrain",
            {"sources": ["english"], "tokens": 5_120},
            ["pretrain.tokens: 5,120 end inside the warm-up of 10 steps"],
        ),
        ("nodes", 0, ["nodes", "greater than or equal to 1"]),
        ("trainable", "last_blocks:3", ["trainable: 'last_blocks:3' is more than the 2 blocks"]),
        ("seeds", [-1], ["seeds.0", "-1"]),
        ("experiment", "../up", ["experiment", "../up"]),
        ("pretrain", {"sources": ["python"], "tokens": 10}, ["target 'python' cannot be its own source"]),
        ("fit", {"d_f": [9, 3]}, ["d_f [9, 3]"]),
        ("fit", {"d_f": [3, 9]}, ["fit.d_f: no finetune size"]),
        ("evaluation", {"stop_tokens": 9, "validation_tokens": 900, "test_tokens": 900}, ["evaluation.stop_tokens: 9"]),
        ("experiment", "store", ["'store' is the name of the shared store"]),
        ("mixtures", {"both": {"english": 1, "code": 1}}, ["mixtures.both: 'code' is not one of the corpora"]),
        ("mixtures", {"both": {"english": 1, "python": 0}}, ["mixtures.both.python", "greater than 0"]),
        ("mixtures", {"both": {"english": 1}}, ["mixtures.both", "at least 2"]),
        ("mixtures", {"english": {"english": 1, "python": 1}}, ["mixtures.english: a corpus has this name"]),
        ("base", "config/no.yaml", ["base: config/no.yaml: no YAML file that can be read"]),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(config, key, value, words):
    refused(config | {key: value}, *words)


def test_a_grid_names_sizes_that_exist(config):
    config["grids"][1]["sizes"] = ["26k"]
    refused(config, "grids.1.sizes: '26k'", "'25k'")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"scratch": [6_000, 16_000]}, "grids.1.scratch"), ({"sizes": []}, "grids.1.sizes")],
)
def test_a_grid_that_no_effective_data_can_be_read_from_is_refused(config, change, words):
    """Everything was trained, then the law of the whole experiment refused its curve of two points."""
    config["grids"][1] |= change
    with pytest.raises(ConfigurationError, match=words):
        Experiment.parse(config, "here")


@pytest.mark.parametrize("text", [None, "experiment: [", "caf\xe9"])
def test_a_file_that_is_missing_or_no_yaml_is_named(tmp_path, text):
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"mine.yaml: no YAML file that can be read"):
        Experiment.load(path)


def test_a_corpus_without_an_enabled_source_is_refused(config):
    for source in config["corpora"]["english"].values():
        source["enabled"] = False
    refused(config, "corpora.english: no source is enabled")


def test_two_sizes_of_one_name_are_refused(config):
    config["model"]["sizes"].append(config["model"]["sizes"][0])
    refused(config, "two sizes share a name")


@pytest.fixture
def with_code(config):
    """The quickstart with a second source, half of which is code."""
    config["corpora"]["code"] = {"one": {"kind": "files", "path": "*.c"}}
    config["mixtures"] = {"both": {"english": 3, "code": 1}}
    config["pretrain"]["sources"] = ["english", "both"]
    return config


def test_a_mixture_is_a_source_of_its_parts(with_code):
    experiment = Experiment.parse(with_code, "config")
    assert experiment.used_corpora == ["python", "english", "code"]
    assert experiment.shares("both") == {"english": 0.75, "code": 0.25}
    needs = experiment.data_needs()
    assert needs["english"]["train"] == {"tokens": 2_500_000}
    assert needs["code"]["train"] == {"tokens": 625_000}
    (data,) = {
        canonical_json(experiment.specification(run)["data"])
        for run in experiment.runs
        if run.arm == "pretrain" and run.source == "both" and run.seed == 1
    }
    assert data == ('{"corpus":"both.seed1","shares":{"code":0.25,"english":0.75},"tokens":2500000,"unit_tokens":null}')


def test_a_second_source_leaves_the_runs_of_the_first_as_they_are(config, with_code):
    """So that they are shared through the store."""
    first = Experiment.load("config/config.yaml")
    second = Experiment.parse(with_code, "config")
    for run in first.runs:
        assert first.specification(run) == second.specification(run)


def test_the_target_is_not_part_of_a_source(config):
    config["mixtures"] = {"both": {"english": 1, "python": 1}}
    config["pretrain"]["sources"] = ["both"]
    refused(config, "the target 'python' cannot be its own source, as part of 'both'")


def test_a_file_stands_on_its_base(config):
    """A pair needs the lines in which it differs; results of two experiments do not share a name."""
    mine = {"base": "config/config.yaml", "experiment": "mine", "title": "Mine?", "seeds": [0], "fit": {"draws": 100}}
    mine["corpora"] = {"english": {"news": {"enabled": False}}, "recipes": {"mine": {"kind": "files", "path": "*"}}}
    experiment = Experiment.parse(mine, "mine.yaml")
    assert experiment.seeds == (0,)
    assert experiment.fit.d_f == tuple(config["fit"]["d_f"])
    assert set(experiment.enabled_sources("english")) == set(config["corpora"]["english"]) - {"news"}
    assert list(experiment.corpora) == ["english", "python", "recipes"]
    assert Experiment.parse(mine | {"base": "config/config.yaml"}, "x").recipe == Experiment.parse(config, "x").recipe


def test_a_based_file_must_name_itself():
    refused({"base": "config/config.yaml"}, "experiment: Field required", "title: Field required")


def test_bases_that_go_in_circles_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("base: b.yaml")
    (tmp_path / "b.yaml").write_text("base: a.yaml")
    with pytest.raises(ConfigurationError, match=r"base: '.\.yaml' leads back to itself"):
        Experiment.load("a.yaml")


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        ({"corpus": "english", "files": "gpt2", "vocab_size": 300}, "not both"),
        ({"corpus": "english"}, "257 entries are bytes alone"),
        ({"vocab_size": 1024}, "257 entries are bytes alone"),
        ({"corpus": "cobol", "vocab_size": 300}, "tokenizer.corpus: 'cobol' is not one of the corpora"),
    ],
)
def test_a_tokenizer_has_one_origin(tokenizer, message):
    with open("config/config.yaml") as file:
        config = yaml.safe_load(file)
    with pytest.raises(ConfigurationError, match=message):
        Experiment.parse(config | {"tokenizer": tokenizer}, "mine.yaml")


def test_bytes_and_published_vocabularies_need_no_corpus():
    with open("config/config.yaml") as file:
        config = yaml.safe_load(file)
    for tokenizer, entries in [({}, 257), ({"files": "gpt2", "vocab_size": 50257}, 50257)]:
        experiment = Experiment.parse(config | {"tokenizer": tokenizer}, "mine.yaml")
        assert experiment.used_corpora == ["python", "english"]
        assert {shape.vocab_size for shape in experiment.shapes.values()} == {entries}


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"values": [0.002, 0.0040000001]}, "sweeps.0.values: two of .* are the same in six figures"),
        ({"values": [0.002, float("inf")]}, "sweeps.0.values.1: Input should be a finite number"),
        (
            {"constant": "weight_decay", "values": [0, 1]},
            "sweeps.0.values: 0: values of weight_decay differ by factors",
        ),
        ({"constant": "dropout", "values": [0.5, 1]}, "sweeps.0.values: 1: Input should be less than 1"),
        ({"sizes": ["5k"]}, "sweeps.0.sizes: '5k': not one of the sizes"),
    ],
)
def test_a_sweep_of_impossible_values_is_refused(sweep, message):
    with open("config/config.yaml") as file:
        config = yaml.safe_load(file)
    config["recipe"]["learning_rate"] = 0.004
    whole = {"constant": "learning_rate", "values": [0.008, 0.002], "sizes": ["25k"], "characters": [6_000]}
    found = Experiment.parse(config | {"sweeps": [whole]}, "mine.yaml").sweep_runs
    assert list(dict.fromkeys(run.value for run in found)) == [0.002, 0.004, 0.008], "with the recipe's own"
    with pytest.raises(ConfigurationError, match=message):
        Experiment.parse(config | {"sweeps": [whole | sweep]}, "mine.yaml")
