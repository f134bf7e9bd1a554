"""Grids, schedules and sweeps of the experiments: both arms alike, dense enough, and none cut short by its own warm-up."""

import itertools
from math import log10
from pathlib import Path

import pytest

from workflow_scripts.experiment import Experiment
from workflow_scripts.laws.cautions import WIDE_GAP
from workflow_scripts.store import canonical_json

EXPERIMENTS = {path.stem: Experiment.load(path) for path in sorted(Path("config/experiments").glob("*.yaml"))}
EXPERIMENTS["quickstart"] = Experiment.load("config/config.yaml")
ON_THE_QUICKSTART = [name for name, one in EXPERIMENTS.items() if one.recipe == EXPERIMENTS["quickstart"].recipe]
"""Those that are trained with its recipe; docs/paper-scale.md says in what the others do without."""
CHARACTERS_A_TOKEN = {"chinese": 0.5}
"""Rather too many, so that sets have rather too few tokens; 3 for other targets."""


def every(names=EXPERIMENTS):
    return pytest.mark.parametrize("experiment", [EXPERIMENTS[name] for name in names], ids=names)


def fewest_steps(experiment: Experiment, characters: int) -> float:
    """Of any run on so many characters, before its patience may end it."""
    tokens = characters / CHARACTERS_A_TOKEN.get(experiment.target, 3)
    windows = tokens // experiment.model.n_ctx
    sequences = experiment.recipe.sequences_of(int(tokens), experiment.model.n_ctx)
    return experiment.recipe.least_steps(windows / sequences)


def test_most_experiments_stand_on_the_quickstarts_recipe():
    assert len(ON_THE_QUICKSTART) >= 8


@every(ON_THE_QUICKSTART)
def test_warm_up_is_a_small_part_of_every_run(experiment):
    """Paper A's and Kim's small sets ended inside it: then D changes the learning rate too, and so does D_T."""
    warm_up, seen = experiment.recipe.warmup_steps, 0
    for run in experiment.runs:
        if run.arm in ("finetune", "scratch"):
            assert warm_up <= fewest_steps(experiment, run.characters) / 2
            seen += 1
    assert seen > 50
    steps = experiment.pretrain.tokens / experiment.model.n_ctx / experiment.recipe.batch_sequences
    assert warm_up <= steps / 100


@every()
def test_from_scratch_sets_reach_past_the_fine_tuning_sets(experiment):
    """From-scratch D begin where fine-tuning does and reach beyond it, or every D_E of one end is censored."""
    for grid in experiment.grids:
        assert min(grid.scratch) <= min(grid.finetune)
        assert max(grid.scratch) > max(grid.finetune)


@every(ON_THE_QUICKSTART)
def test_from_scratch_sets_are_three_a_decade_or_more(experiment):
    """Kim read every low-D D_E between two from-scratch points a decade apart."""
    for grid in experiment.grids:
        sizes = sorted(grid.scratch)
        assert all(larger / smaller <= WIDE_GAP for smaller, larger in itertools.pairwise(sizes))
        assert len(sizes) >= 1 + 3 * log10(sizes[-1] / sizes[0])


@every([name for name, one in EXPERIMENTS.items() if one.sweeps])
def test_both_arms_are_swept_alike_and_in_nothing_but_the_constant(experiment):
    """A learning rate tuned in one arm alone measures the tuning: D_T of a weak baseline is too large."""
    swept: dict[str, set[str]] = {}
    for run in experiment.sweep_runs:
        specification = experiment.specification(run)
        recipe = specification["recipe"]
        assert recipe[run.sweep] == run.value
        untouched = recipe | {run.sweep: getattr(experiment.recipe, run.sweep)}
        assert untouched == experiment.recipe.model_dump()
        assert (specification["initial"] is None) == (run.arm == "scratch")
        if run.arm == "finetune":
            assert specification["initial"]["recipe"] == experiment.recipe.model_dump(), "one pre-training for all"
        choices = {key: specification[key] for key in ("model", "data", "seed", "recipe", "evaluation")}
        swept.setdefault(run.arm, set()).add(canonical_json(choices))
    assert swept["scratch"] == swept["finetune"]
    rates = {run.value for run in experiment.sweep_runs if run.sweep == "learning_rate"}
    assert min(rates) < experiment.recipe.learning_rate < max(rates)
    assert experiment.recipe.learning_rate in rates


def test_one_pass_over_kims_english_is_what_it_holds():
    """Her 26e9 tokens "with no repeats" of 65.86 GB: at 4.3 characters a token that is 15e9."""
    tokens = EXPERIMENTS["languages"].pretrain.tokens
    assert tokens * 4.3 < 65.86e9 < 26e9 * 4.3
