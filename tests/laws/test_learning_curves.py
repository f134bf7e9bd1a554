"""Laws of training in progress: each is recovered from points on it through the command's table, or said to be absent."""

import numpy as np
import pandas as pd
import pytest

from tests.simulated_curves import simulate_learning_curves
from workflow_scripts.laws.runs import RunsError, check_runs
from workflow_scripts.laws.scaling.allocation import envelopes, exponent
from workflow_scripts.laws.scaling.catalogue import (
    CHINCHILLA,
    CRITICAL_BATCH,
    DATA_CONSTRAINED,
    KAPLAN_STEPS,
    LOSS_OF_C,
    REPEATED_DATA,
    STEPS_TO_A_LOSS,
)
from workflow_scripts.laws.scaling.compute import optimal_allocation, useful_size
from workflow_scripts.laws.scaling.fit import bootstrap, fit
from workflow_scripts.laws.scaling.learning_curves import (
    LATE,
    SIX_N_D,
    SPACING,
    _steps,
    ends_of,
    laws_in_progress,
    one_pass,
    read_points,
    repeated_data,
    steps_to_losses,
)
from workflow_scripts.laws.scaling.table import Absent, Case, Choice
from workflow_scripts.laws.simulate import simulate_runs

CHOICE = Choice("n_params", "flops", "excerpt")
SURFACE = {"E": 1.8, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}
SIZES = np.geomspace(1e7, 3e9, 12)
BATCH = 2.0**19


def points(sizes=SIZES, batches=(BATCH,), seeds=(0, 1)) -> pd.DataFrame:
    """Learning curves of one pass on the surface, 60 points each, from 2 tokens a parameter to 200 (none is thinned)."""
    rows = [
        {"arm": "pretrain", "corpus": "english", "n_params": n, "seed": seed, "tokens": tokens, "batch_tokens": batch}
        for n in sizes
        for seed in seeds
        for batch in batches
        for tokens in n * np.geomspace(2, 200, 60)
    ]
    table = pd.DataFrame(rows).assign(d_tokens=1e13)
    table["loss"] = CHINCHILLA.predict(SURFACE, N=table.n_params, D=table.tokens)
    return table.assign(run=table.groupby(["n_params", "seed", "batch_tokens"]).ngroup())


def no_runs() -> pd.DataFrame:
    return check_runs(simulate_runs()).query("arm == 'pretrain'").assign(corpus="english").iloc[:0]


def cases(found, law) -> list[Case]:
    return [one for one in found if isinstance(one, Case) and one.law is law]


def refit(case: Case) -> dict[str, float]:
    return fit(case.law, case.rows[case.response].to_numpy(float), case.points()).parameters


def test_the_surface_of_one_pass_and_all_three_approaches():
    """Approach 3 is exact; 1 and 2 are off by what is told as their bias, since there is no noise here."""
    (case,) = cases(one_pass(points(), no_runs(), CHOICE), CHINCHILLA)
    surface = fit(CHINCHILLA, case.rows.loss.to_numpy(), case.points())
    assert {name: surface.parameters[name] for name in SURFACE} == pytest.approx(SURFACE, rel=1e-5)
    first, second = envelopes(case, surface)
    largest = float((6 * case.rows.n_params * case.rows.tokens).max())
    best = optimal_allocation(SURFACE, largest).n
    for one in (first, second):
        assert one["bias"]["exponent"] == pytest.approx(one["exponent"] - exponent(SURFACE), abs=1e-4)
        assert one["bias"]["n_factor"] == pytest.approx(one["n"][0]["n"] / best, rel=1e-3)
        assert one["exponent"] == pytest.approx(exponent(SURFACE), abs=0.05)
        assert one["status"] == "ok"
    assert (first["approach"], second["approach"]) == (1, 2)


def test_the_bias_of_approach_2_is_seen_where_it_is_known_to_be():
    """Unequal exponents: the vertex of a parabola is not the optimum (2603.22339), and the entry says by how much."""
    unequal = {"E": 1.8, "A": 1500.0, "B": 30.0, "alpha": 0.465, "beta": 0.155}
    table = points(np.geomspace(1e6, 1e9, 10))
    table["loss"] = CHINCHILLA.predict(unequal, N=table.n_params, D=table.tokens)
    (case,) = cases(one_pass(table, no_runs(), CHOICE), CHINCHILLA)
    surface = fit(CHINCHILLA, case.rows.loss.to_numpy(), case.points())
    second = envelopes(case, surface)[1]
    assert abs(second["bias"]["exponent"]) > 0.01 or abs(np.log(second["bias"]["n_factor"])) > 0.1


def test_approaches_without_a_minimum_are_absent_and_say_why():
    (case,) = cases(one_pass(points(SIZES[:2]), no_runs(), CHOICE), CHINCHILLA)
    found = envelopes(case, fit(CHINCHILLA, *_known_surface()))
    assert [one.law for one in found] == [f"approach {i} to the compute-optimal N" for i in (1, 2)]
    assert "it needs more sizes" in found[0].why
    assert "a parabola needs three" in found[1].why


def _known_surface() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    table = points()
    return table.loss.to_numpy(), {"N": table.n_params.to_numpy(), "D": table.tokens.to_numpy()}


def test_the_frontier_is_the_lowest_loss_for_its_compute():
    (case,) = cases(one_pass(points(), no_runs(), CHOICE), LOSS_OF_C)
    rows = case.rows.rename(columns={SIX_N_D: "flops"}).sort_values("flops")
    assert (np.diff(rows.loss) < 0).all()
    table = points()
    flops = 6 * table.n_params * table.tokens
    for c, loss in zip(rows.flops, rows.loss, strict=True):
        assert loss <= table.loss[flops <= c * (1 + 1e-12)].min()


def test_steps_and_critical_batches_come_from_three_batch_sizes():
    """S(B) = S_min + E_min / B at each loss gives B_crit there, and B_crit against the loss Kaplan's law."""
    truth = {"B_star": 5e7, "alpha_B": 0.25}
    levels = np.linspace(5.0, 3.0, 30)
    critical = CRITICAL_BATCH.predict(truth, L=levels)
    least = 1e3 * (6.0 / levels) ** 6
    rows = []
    for batch in (2.0**16, 2.0**18, 2.0**20, 2.0**22):
        steps = STEPS_TO_A_LOSS.predict({"S_min": least, "E_min": least * critical}, B=batch)
        rows.append(pd.DataFrame({"tokens": steps * batch, "loss": levels, "batch_tokens": batch, "run": batch}))
    table = pd.concat(rows, ignore_index=True).assign(arm="pretrain", corpus="english", n_params=1e8, seed=0)
    found = list(one_pass(table, no_runs(), CHOICE))
    at_levels = cases(found, STEPS_TO_A_LOSS)
    assert len(at_levels) == 5
    for case in at_levels:
        level = case.rows.level.iloc[0]
        assert refit(case)["B_crit"] == pytest.approx(CRITICAL_BATCH.predict(truth, L=level), rel=1e-2)
    (case,) = cases(found, CRITICAL_BATCH)
    assert refit(case)["alpha_B"] == pytest.approx(0.25, rel=1e-2)


def test_losses_that_no_two_batches_share_compare_nothing():
    table = points(SIZES[:1], batches=(1.0, 2.0, 4.0), seeds=(0,))
    table["loss"] += table.batch_tokens * 100
    assert steps_to_losses(table).empty


def test_kaplans_law_of_steps_takes_out_the_batch():
    """Losses on L(N, S_min), trained with a finite batch: the columns of the case are S_min again."""
    truth = {"alpha_N": 0.08, "alpha_S": 0.7, "A": 6e13**0.08, "B": 2e3**0.7}
    critical = fit(CRITICAL_BATCH, 5e7 / np.linspace(2, 5, 9) ** 4, {"L": np.linspace(2, 5, 9)})
    n, s_min = (axis.ravel() for axis in np.meshgrid(SIZES, np.geomspace(3e3, 3e5, 8)))
    loss = KAPLAN_STEPS.predict(truth, N=n, S_min=s_min)
    steps = s_min * (1 + critical.predict(L=loss) / BATCH)
    table = pd.DataFrame(
        {"n_params": n, "tokens": steps * BATCH, "loss": loss, "batch_tokens": BATCH, "run": n, "seed": 0}
    )
    case = next(_steps("here", table.assign(**{SIX_N_D: 6 * n * steps * BATCH}), CHOICE, critical))
    assert {name: refit(case)[name] for name in truth} == pytest.approx(truth, rel=1e-4)
    (absent,) = _steps("here", table, CHOICE, None)
    assert "it takes the batch size of the points" in absent.why


def test_noise_scales_stand_for_critical_batches_and_say_so():
    runs = check_runs(simulate_runs()).query("arm == 'pretrain'").assign(corpus="english")
    runs["noise_scale_tokens"] = CRITICAL_BATCH.predict({"B_star": 2e5, "alpha_B": 0.25}, L=runs.test_loss)
    (case,) = cases(one_pass(points(), runs, CHOICE), CRITICAL_BATCH)
    assert refit(case)["alpha_B"] == pytest.approx(0.25, rel=1e-5)
    assert "noise scale" in case.note
    assert len(cases(one_pass(points(), runs, CHOICE), KAPLAN_STEPS)) == 1


def test_repeated_data_is_recovered_from_curves_of_sets_seen_again():
    """Muennighoff et al.'s two laws, from one table: the first epoch gives the surface that says what U_N is."""
    known = {"E": 1.87, "A": 521.0, "B": 1488.0, "alpha": 0.353, "beta": 0.353}
    n, unique, epochs = (
        axis.ravel()
        for axis in np.meshgrid(np.geomspace(1e7, 1e10, 5), np.geomspace(1e8, 1e10, 4), np.geomspace(0.2, 60, 9))
    )
    table = pd.DataFrame(
        {"arm": "scratch", "unit": "excerpt", "n_params": n, "d_tokens": unique, "tokens": unique * epochs}
    )
    table["seed"] = 0
    u_n = np.minimum(n, useful_size(known, unique))
    x = {"N": n, "U_N": u_n, "D": table.tokens, "U_D": unique}
    table["loss"] = DATA_CONSTRAINED.predict(known | {"R_N": 1e9, "R_D": 15.39}, **x)
    found = list(repeated_data(table, CHOICE))
    assert refit(cases(found, REPEATED_DATA)[0])["R_D"] == pytest.approx(15.39, rel=1e-3)
    table["loss"] = DATA_CONSTRAINED.predict(known | {"R_N": 5.31, "R_D": 15.39}, **x)
    table["loss"] = table.loss.where(epochs > 1, CHINCHILLA.predict(known, N=n, D=table.tokens))
    (case,) = cases(repeated_data(table, CHOICE), DATA_CONSTRAINED)
    np.testing.assert_allclose(case.rows.u_n, u_n, rtol=1e-3)


def test_runs_alone_give_what_their_ends_hold():
    """Pre-training at several lengths is a surface; sets seen again need points on the way."""
    runs = check_runs(simulate_runs()).assign(corpus="english")
    pretrain = runs[runs.arm == "pretrain"]
    longer = [pretrain.assign(d_tokens=pretrain.d_tokens * f, d_chars=pretrain.d_chars * f) for f in (1, 4, 16)]
    found = list(laws_in_progress(None, pd.concat(longer), CHOICE))
    assert len(cases(found, CHINCHILLA)) == 1
    one_length = list(laws_in_progress(None, runs, CHOICE))
    assert not cases(one_length, CHINCHILLA)
    said = " ".join(one.why for one in one_length if isinstance(one, Absent))
    assert "it takes learning curves (--curves) or pre-training at several d_tokens" in said
    assert "it takes learning curves (--curves) of the arm scratch" in said
    assert ends_of(runs.drop(columns="d_tokens")).empty


def test_a_curve_enters_at_points_a_factor_apart_its_end_among_them(tmp_path):
    curves = simulate_learning_curves(simulate_runs(document_size=None))
    curves.to_csv(tmp_path / "curves.csv", index=False)
    read = read_points(tmp_path / "curves.csv", {})
    for _, curve in read.groupby("run"):
        assert (curve.tokens.to_numpy()[1:] >= SPACING * 0.999 * curve.tokens.to_numpy()[:-1]).all()
        assert curve.tokens.min() >= LATE * curve.tokens.max()
    assert read.run.nunique() == 12 + 108
    ends = curves.groupby(["arm", "n_params", "d_tokens", "seed"]).tokens.max().sort_values()
    np.testing.assert_allclose(np.sort(read.groupby("run").tokens.max()), ends, rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="tokens"), "no column tokens; learning curves need arm, n_params"),
        (lambda table: table.assign(loss=-1.0), "row 1, column loss: found -1.0, expected a finite, positive number"),
        (lambda table: table.iloc[:0], "the table has no rows"),
        (lambda table: table.assign(tokens="many"), "row 1, column tokens: found many"),
        (lambda table: table.assign(batch_tokens="512 x"), "row 1, column batch_tokens: found 512 x"),
        (lambda table: table.assign(arm="Pretrain"), "row 1, column arm: found Pretrain, expected one of pretrain, "),
        (lambda table: table.assign(seed=None), "row 1, column seed: found nan, expected a whole number"),
        (lambda table: table.assign(run=None), r"row 1, column run: found nan, .* \(pretrain, N=6144, seed 0\)"),
        (lambda table: table.assign(run=table.seed.where(table.index != 2)), "row 3, column run: found nan"),
    ],
)
def test_bad_curves_end_with_one_message(tmp_path, change, message):
    change(simulate_learning_curves(simulate_runs())).to_csv(tmp_path / "curves.csv", index=False)
    with pytest.raises(RunsError, match=message):
        read_points(tmp_path / "curves.csv", {})


def test_names_of_runs_may_be_anything(tmp_path):
    """`NA` is a name too."""
    table = points(SIZES[:2], seeds=(0,))
    table.assign(run=table.run.map({0: "NA", 1: "1"})).to_csv(tmp_path / "curves.csv", index=False)
    assert read_points(tmp_path / "curves.csv", {}).groupby("n_params").run.unique().map(list).to_list() == [[0], [1]]


def first_approach(table: pd.DataFrame) -> list[dict]:
    (case,) = cases(one_pass(table, no_runs(), CHOICE), CHINCHILLA)
    return envelopes(case, fit(CHINCHILLA, *_known_surface()))[0]["n"]


def test_curves_of_several_lengths_at_one_size_and_seed_stay_apart():
    """Each a run of its own, the shorter ones higher: they were read as one curve that goes up and down."""
    table = points(seeds=(0,))
    shorter = table[table.tokens < 20 * table.n_params]
    shorter = shorter.assign(run=shorter.run + 100, tokens=1.05 * shorter.tokens, loss=1.1 * shorter.loss)
    both = pd.concat([table, shorter], ignore_index=True)
    assert [one["n"] for one in first_approach(both)] == pytest.approx([one["n"] for one in first_approach(table)])


def test_ends_of_runs_at_one_size_and_seed_are_a_curve():
    """Runs of several lengths, a row each: the points of a size are what its curve is made of."""
    table = points(seeds=(0,))
    assert first_approach(table.assign(run=np.arange(len(table)))) == first_approach(table)


def test_points_of_one_run_are_one_group_of_the_bootstrap():
    (case,) = cases(one_pass(points(SIZES[::3], seeds=(0, 1, 2)), no_runs(), CHOICE), CHINCHILLA)
    noisy = case.rows.loss * np.exp(0.01 * np.random.default_rng(0).standard_normal(12)[case.rows.run])
    fitted = fit(CHINCHILLA, noisy.to_numpy(), case.points())
    alone, grouped = (bootstrap(fitted, 60, groups=groups).interval(exponent) for groups in (None, case.rows.run))
    assert grouped["high"] - grouped["low"] > 1.5 * (alone["high"] - alone["low"])
