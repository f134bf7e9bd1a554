"""Files of configuration: what stands in them twice, what a file takes from its base, and what is said of mistakes."""

import subprocess
import sys
from pathlib import Path

import pytest

from workflow_scripts.experiment import ConfigurationError, Experiment

MINE = """base: config/config.yaml
experiment: mine
title: Mine?
"""
RECIPES = """target: recipes
corpora:
  recipes:
    mine: {kind: files, path: "recipes/*.jsonl"}
"""


@pytest.fixture
def load(tmp_path):
    """An experiment on top of the quickstart, from the text of its file."""

    def loaded(more: str) -> Experiment:
        path = tmp_path / "mine.yaml"
        path.write_text(MINE + more, encoding="utf-8")
        return Experiment.load(path)

    return loaded


@pytest.fixture
def message(load):
    """What is said of a file that cannot be used."""

    def refused(more: str) -> str:
        with pytest.raises(ConfigurationError) as error:
            load(more)
        return str(error.value)

    return refused


@pytest.mark.parametrize(
    ("again", "line", "said"),
    [
        ('    mine: {kind: files, path: "more/*.jsonl"}\n', 8, "`mine` stands twice under corpora.recipes"),
        ("target: english\n", 8, "`target` stands twice"),
        ("fit: {draws: 100, draws: 200}\n", 8, "`draws` stands twice under fit"),
        ("sweeps:\n  - {sizes: [3k], sizes: [10k]}\n", 9, "`sizes` stands twice under sweeps.0"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_place(message, tmp_path, again, line, said):
    """YAML took the last one, and the documents of the first were gone without a word."""
    assert message(RECIPES + again) == f"{tmp_path}/mine.yaml, line {line}: {said}; remove one, or rename it"


def test_a_key_that_stands_twice_in_a_base_is_refused_too(tmp_path):
    base, mine = tmp_path / "base.yaml", tmp_path / "mine.yaml"
    base.write_text(Path("config/config.yaml").read_text(encoding="utf-8") + "seeds: [3]\n", encoding="utf-8")
    mine.write_text(MINE.replace("config/config.yaml", str(base)), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"base\.yaml, line \d+: `seeds` stands twice"):
        Experiment.load(mine)


def test_snakemake_alone_refuses_it_too(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f'{MINE}{RECIPES}    mine: {{kind: files, path: "more/*.jsonl"}}\n', encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "-n", "--configfile", str(path)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert found.returncode != 0
    assert f"{path}, line 8: `mine` stands twice under corpora.recipes" in found.stdout + found.stderr
    assert "Traceback" not in found.stdout + found.stderr


def test_anchors_may_be_used_twice(load):
    """A key that `<<` brings may be replaced, and a part may hold itself."""
    rows = 'a: &rows {kind: files, path: "a/*", text: body}\n    b: {<<: *rows, path: "b/*"}\n'
    sources = load(f"target: recipes\ncorpora:\n  recipes:\n    {rows}").corpora["recipes"]
    assert [(source.path, source.text) for source in sources.values()] == [("a/*", "body"), ("b/*", "body")]


OTHER_SIZES = "model: {sizes: [{n_layer: 2, d_model: 16, n_head: 1}, {n_layer: 2, d_model: 40, n_head: 1}]}\n"


def test_sizes_that_the_base_asks_for_are_named_all_at_once(message):
    """Sweeps and grids that nobody wrote were refused, one after another."""
    said = message(OTHER_SIZES)
    assert "grids.1.sizes: '25k'; sweeps.0.sizes: '3k', '25k', '124k'; sweeps.1.sizes" in said
    assert "not one of the sizes ['6k', '38k']" in said
    assert "restate `grids`, and `sweeps` (`sweeps: []` for none)" in said


def test_other_sizes_need_grids_and_sweeps_of_their_own(load):
    """The example of CONTRIBUTING.md."""
    text = Path("CONTRIBUTING.md").read_text(encoding="utf-8")
    example = text.split("    base: config/config.yaml\n", 1)[1].split("\n\n")[0]
    experiment = load(
        "\n".join(line[4:] for line in example.splitlines() if "experiment:" not in line and "title:" not in line)
    )
    assert list(experiment.shapes) == ["10k", "55k", "86k"]
    assert not experiment.sweeps
    assert {run.size for run in experiment.runs} == set(experiment.shapes)


@pytest.mark.parametrize(
    ("tokenizer", "entries"),
    [("{}", 257), ("{files: gpt2, vocab_size: 50257}", 50_257), ("{corpus: recipes, vocab_size: 512}", 512)],
)
def test_a_tokenizer_takes_nothing_from_the_bases(load, tokenizer, entries):
    """`{}` is bytes, in a file with a base too: it was the base's."""
    found = load(f"{RECIPES}tokenizer: {tokenizer}\n").tokenizer
    assert found.vocab_size == entries
    assert found.corpus == ("recipes" if "recipes" in tokenizer else None)


def test_a_source_of_another_kind_takes_nothing_from_the_bases(load, message):
    """It had `package` and `reader` of the base, which its kind does not know."""
    news = "corpora:\n  english:\n    news: "
    replaced = load(news + '{kind: files, path: "news/*"}\n').corpora["english"]
    assert (replaced["news"].kind, replaced["news"].text) == ("files", "text")
    assert replaced["wikipedia"].kind == "packages"
    assert load(news + "{kind: packages, filters: {too_short: false}}\n").corpora["english"]["news"].reader == "news"
    assert "unknown key 'pathh'" in message(news + "{kind: files, pathh: x}\n")


def test_null_removes_a_source_or_a_corpus_of_the_base(load, message):
    experiment = load(RECIPES + "  english: {news: null, gcide: null}\n  python: null\n")
    assert list(experiment.corpora) == ["english", "recipes"]
    assert list(experiment.corpora["english"]) == ["house_of_commons", "wikipedia", "wikibooks"]
    assert "corpora.pyhton" in message(RECIPES + "  pyhton: null\n"), "no name of the base"
    assert "target: 'python' is not one of the corpora" in message("corpora: {python: null}\n")


def test_a_wrong_item_is_one_line_in_words(message):
    """A second one said that the list had no item; a tuple is no word of YAML."""
    said = message("model: {sizes: [{n_layer: 2, d_model: 12, n_head: 5}]}\n")
    assert "model.sizes.0: d_model 12 is not divisible by n_head 5" in said
    assert len(said.splitlines()) == 2
    assert "seeds: Input should be a list (found 3)" in message("seeds: 3\n")
    assert "seeds: List should have at least 1 item" in message("seeds: []\n")


@pytest.mark.parametrize(
    ("more", "place", "name"),
    [
        ("corpora: {my-recipes: {mine: {kind: files, path: x}}}\n", "corpora.my-recipes", "my-recipes"),
        ("corpora: {recipes: {Mine: {kind: files, path: x}}}\n", "corpora.recipes.Mine", "Mine"),
        ("target: Python\n", "target", "Python"),
        ("mixtures: {a b: {english: 1, python: 1}}\n", "mixtures.a b", "a b"),
    ],
)
def test_a_name_is_told_which_characters_it_may_have(message, more, place, name):
    """A regular expression was shown."""
    words = "a name has small letters, digits and _, and begins with a letter or digit"
    assert f"\n  {place}: {words} (found {name!r})" in message(more)


@pytest.mark.parametrize("count", ["5e6", "5.0e6", "5_000_000"])
def test_counts_are_numbers_however_they_are_written(load, count):
    """`5e6` is a text in YAML 1.1; budgets of sources took it, and nothing else did."""
    evaluation = f"evaluation: {{stop_tokens: {count}, validation_tokens: {count}, test_tokens: {count}}}"
    grids = f"grids: [{{unit: excerpt, finetune: [{count}], scratch: [1e3, {count}, 1e7]}}]"
    fit = f"fit: {{d_f: [1e3, {count}]}}"
    experiment = load(f"pretrain: {{tokens: {count}}}\n{evaluation}\n{grids}\nsweeps: []\n{fit}\n")
    assert (
        experiment.pretrain.tokens
        == experiment.evaluation.test_tokens
        == experiment.evaluation.stop_tokens
        == 5_000_000
    )
    assert experiment.grids[0].scratch == (1_000, 5_000_000, 10_000_000)
    assert experiment.fit.d_f == (1_000, 5_000_000)


def test_a_count_that_is_not_whole_is_refused(message):
    assert "pretrain.tokens: Input should be a valid integer" in message("pretrain: {tokens: 5.5}\n")
