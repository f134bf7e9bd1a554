"""The policies of the recipe, and that both arms share them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.conftest import RECIPE
from workflow_scripts.experiment import Experiment


@given(st.integers(1, 500), st.floats(1, 30))
def test_the_average_weighs_step_t_by_a_power_of_t(steps, power):
    """What the running update yields is a proper average: weights sum to one and grow with t."""
    recipe = RECIPE.model_copy(update={"averaging_power": power})
    weights: list[float] = []
    for step in range(1, steps + 1):
        newest = recipe.averaging_weight(step)
        weights = [weight * (1 - newest) for weight in weights] + [newest]
    assert sum(weights) == pytest.approx(1)
    assert weights == sorted(weights)
    assert recipe.averaging_weight(1) == 1


def test_warm_up_ends_and_the_rate_stays():
    assert RECIPE.share_of_peak(10**6, 10**7) == 1
    assert RECIPE.share_of_peak(0, 10**7) == pytest.approx(1 / RECIPE.warmup_steps)
    assert RECIPE.share_of_peak(RECIPE.warmup_steps, 10**7) == 1


def test_schedules_end_where_they_say():
    rates = {}
    for schedule in ("averaged", "cosine", "warmup_stable_decay"):
        recipe = RECIPE.model_copy(update={"schedule": schedule})
        rates[schedule] = [recipe.share_of_peak(step, 1000) for step in range(1000)]
        assert rates[schedule][20] == pytest.approx(1, abs=0.01)
        assert (recipe.averaging_weight(500) == 1) == (schedule != "averaged"), (
            "the others judge the weights themselves"
        )
    assert rates["averaged"][-1] == 1
    assert rates["cosine"][-1] == pytest.approx(0.1, abs=1e-4)
    assert rates["cosine"][500] == pytest.approx(0.55, abs=0.01)
    assert rates["warmup_stable_decay"][800] == pytest.approx(1)
    assert rates["warmup_stable_decay"][-1] == pytest.approx(0.005)
    assert all(later <= sooner for values in rates.values() for sooner, later in itertools.pairwise(values[10:]))


@given(st.integers(1, 10**6), st.integers(1, 64), st.integers(1, 20), st.integers(1, 2048))
def test_small_sets_have_smaller_batches(tokens, most, steps, n_ctx):
    """With one batch for all, that of the smallest sets held each of their windows twice and more."""
    recipe = RECIPE.model_copy(update={"batch_sequences": most, "steps_an_epoch": steps})
    sequences, windows = recipe.sequences_of(tokens, n_ctx), tokens // n_ctx
    assert 1 <= sequences <= most
    assert windows // sequences >= min(windows, steps)
    assert sequences == most or windows < (sequences + 1) * steps, "no smaller than it must be"
    assert sequences <= recipe.sequences_of(tokens + n_ctx, n_ctx)


def test_no_run_ends_inside_its_warm_up():
    experiment = Experiment.load("config/config.yaml")
    characters_a_token = 3
    smallest = min(d for grid in experiment.grids for d in (*grid.finetune, *grid.scratch)) // characters_a_token
    sequences = experiment.recipe.sequences_of(smallest, experiment.model.n_ctx)
    epoch_steps = smallest // experiment.model.n_ctx / sequences
    assert experiment.recipe.minimum_epochs * epoch_steps > 2 * experiment.recipe.warmup_steps


def test_patience_counts_from_the_last_improvement_but_not_before_the_minimal_epochs():
    """A fine-tuned run improves least after its first steps: it must not be stopped sooner than one from scratch."""
    assert not RECIPE.out_of_patience(step=99, last_improvement=10, epoch_steps=100 / RECIPE.minimum_epochs)
    assert RECIPE.out_of_patience(step=140, last_improvement=10, epoch_steps=100 / RECIPE.minimum_epochs)
    assert not RECIPE.out_of_patience(step=140, last_improvement=120, epoch_steps=100 / RECIPE.minimum_epochs)
    assert RECIPE.out_of_patience(step=168, last_improvement=120, epoch_steps=100 / RECIPE.minimum_epochs)


def test_large_sets_need_no_more_than_the_least_steps():
    """Of 20 epochs of 500 steps; a set of 5 steps an epoch still takes its 20 epochs."""
    recipe = RECIPE.model_copy(update={"patience": 1.2, "minimum_epochs": 20, "minimum_steps": 1_000})
    assert not recipe.out_of_patience(step=1_199, last_improvement=100, epoch_steps=500)
    assert recipe.out_of_patience(step=1_200, last_improvement=100, epoch_steps=500)
    assert not recipe.out_of_patience(step=1_200, last_improvement=1_001, epoch_steps=500)
    assert not recipe.out_of_patience(step=119, last_improvement=10, epoch_steps=5)
    assert recipe.out_of_patience(step=120, last_improvement=10, epoch_steps=5)


@given(st.integers(0, 10**6))
def test_evaluations_always_move_on(step):
    assert RECIPE.next_evaluation(step) > step


def test_the_arms_differ_in_their_initial_weights_only():
    """Peers gave the two arms different schedules; D_T then measures the schedule."""
    experiment = Experiment.load("config/config.yaml")
    scratch = {(r.unit, r.size, r.characters, r.seed): r for r in experiment.runs if r.arm == "scratch"}
    compared = 0
    for run in experiment.runs:
        twin = scratch.get((run.unit, run.size, run.characters, run.seed))
        if run.arm == "finetune" and twin:
            ours, theirs = experiment.specification(run), experiment.specification(twin)
            initial = ours.pop("initial")
            assert theirs.pop("initial") is None
            assert ours == theirs
            assert initial["seed"] == run.seed
            assert initial["recipe"] == ours["recipe"]
            compared += 1
    assert compared > 50


def test_rate_and_weight_decay_are_powers_of_size_and_data_alike_in_both_arms():
    """Functions of N and the tokens of the data set alone, so a run from scratch and a fine-tuned one share them."""
    decay = {"weight_decay": 0.8, "weight_decay_n_exponent": 0.5, "weight_decay_d_exponent": -0.5}
    rate = {"learning_rate": 0.01, "learning_rate_n_exponent": -0.5, "learning_rate_d_exponent": 0.25}
    recipe = RECIPE.model_copy(update={"reference_tokens": 10_000, **decay, **rate})
    n_params = recipe.reference_n_params
    assert recipe.peak_learning_rate(n_params, 10_000) == 0.01
    assert recipe.peak_learning_rate(4 * n_params, 160_000) == pytest.approx(0.01)
    assert recipe.peak_learning_rate(4 * n_params, 10_000) == pytest.approx(0.005)
    assert recipe.weight_decay_of(n_params, 10_000) == 0.8
    assert recipe.weight_decay_of(4 * n_params, 10_000) == pytest.approx(1.6)
    assert recipe.weight_decay_of(n_params, 40_000) == pytest.approx(0.4)
    assert RECIPE.weight_decay_of(1, 1) == RECIPE.weight_decay, "without exponents it is one for all"
    assert RECIPE.peak_learning_rate(n_params, 1) == RECIPE.peak_learning_rate(n_params, 10**9)


@pytest.mark.parametrize("exponent", ["learning_rate_d_exponent", "weight_decay_d_exponent"])
def test_a_power_of_the_data_without_a_reference_is_refused(exponent):
    """Of the bare number of tokens, 30,000 to the -0.75, it would be a two-thousandth."""
    with pytest.raises(ValueError, match="reference_tokens is missing"):
        type(RECIPE)(**RECIPE.model_dump() | {exponent: -0.75})


@given(st.integers(1, 3_000), st.floats(0.01, 100), st.floats(1, 40), st.none() | st.integers(1, 3_000))
def test_no_run_loses_its_patience_inside_its_warm_up(warmup_steps, epoch_steps, minimum_epochs, minimum_steps):
    changed = {"warmup_steps": warmup_steps, "minimum_epochs": minimum_epochs, "minimum_steps": minimum_steps}
    assert not RECIPE.model_copy(update=changed).out_of_patience(warmup_steps, 0, epoch_steps)
