"""Every law of the catalogue is recovered, to more than four digits, from points on the curve that was published."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.laws.scaling.catalogue import (
    BEST_EPOCH,
    CHINCHILLA,
    CRITICAL_BATCH,
    DATA_CONSTRAINED,
    FLOORED_LOSS_OF_C,
    FLOORED_LOSS_OF_D,
    FLOORED_LOSS_OF_N,
    KAPLAN_JOINT,
    KAPLAN_STEPS,
    LOSS_OF_C,
    LOSS_OF_D,
    LOSS_OF_N,
    OPTIMAL_SIZE,
    RECTIFIED,
    REPEATED_DATA,
    STEPS_TO_A_LOSS,
    TUNED_OF_N,
    TUNED_OF_P,
    TUNED_WITH_GAP,
    TUNED_WITH_GAP_AND_FLOOR,
    decayed,
)
from workflow_scripts.laws.scaling.compute import useful_size
from workflow_scripts.laws.scaling.fit import fit
from workflow_scripts.laws.scaling.law import Law, LawError
from workflow_scripts.laws.scaling.solver import HUBER

HOFFMANN = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
HOFFMANN_UNROUNDED = {"E": 1.6934, "A": 406.4, "B": 410.7, "alpha": 0.3392, "beta": 0.2849}
BESIROGLU = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
MUENNIGHOFF = {"E": 1.87, "A": 521.0, "B": 1488.0, "alpha": 0.353, "beta": 0.353}

RANGES = {"N": (1e5, 1e10), "D": (2e7, 1e12), "C": (1e-8, 1e2), "S_min": (1e3, 1e6), "L": (1.5, 6.0), "B": (1e4, 1e7)}
RANGES |= {"P": (1e6, 1e10), "D_F": (1e4, 1e8)}
"""Where points are drawn; C in PF-days."""

HENIGHAN = """
language               0     1.47e14  .070    0     3.47e8  .048    3.3e-13   .73
image 8x8              3.12  80       .24     3.13  1.8e-8  .19     5.3e-14   .64
image 16x16            2.64  280      .22     2.64  1.6e-8  .16     4.8e-12   .75
image 32x32            2.20  63       .13     2.21  3.6e-9  .10     1.6e-13   .65
VQ 16x16               3.99  2.7e4    .13     4.09  6.1e-7  .11     6.2e-14   .64
VQ 32x32               3.07  1.9e4    .14     3.17  2.6e-6  .12     9.4e-13   .70
text-to-image (image)  2.0   5.1e3    .16     1.93  1.5e-6  .15     9.4e-13   .70
image-to-text (image)  2.0   5.5e3    .15     1.97  1.5e-6  .16     3.3e-12   .72
video VQ               1.01  3.7e4    .24     0.95  2.2e-5  .14     1.13e-12  .71
math                   0.28  1.1e4    .16     0.14  1.4e-5  .17     2.3e-12   .69
"""
"""Table 1 of Henighan et al. 2020: floor, scale and exponent of L(N) and of L(C), scale and exponent of N_opt(C)."""


def planted(law: Law, points: int = 60, **parameters: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    x = {name: np.exp(random.uniform(*np.log(RANGES[name]), points)) for name in law.variables}
    return law.predict(parameters, **x), x


def recovered(law: Law, response: np.ndarray, variables: dict[str, np.ndarray], **expected: float) -> None:
    for huber in ({}, {"huber": HUBER}):
        found = fit(law, response, variables, **huber)
        assert found.status == "ok"
        assert {name: found.parameters[name] for name in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("surface", [HOFFMANN, HOFFMANN_UNROUNDED, BESIROGLU, MUENNIGHOFF])
def test_chinchilla(surface):
    recovered(CHINCHILLA, *planted(CHINCHILLA, **surface), **surface)


@pytest.mark.parametrize(
    ("law", "scale", "exponent"),
    [
        *((LOSS_OF_N, 8.8e13, 0.076), (LOSS_OF_D, 5.4e13, 0.095), (LOSS_OF_C, 3.1e8, 0.050), (LOSS_OF_C, 1.6e7, 0.057)),
        *((LOSS_OF_N, 5.6e8, 0.037), (LOSS_OF_N, 7.0e8, 0.039)),
    ],
)
def test_kaplans_single_laws(law, scale, exponent):
    """And Henighan et al.'s laws of text given images and images given text, which have no floor."""
    variable = law.variables[0]
    points = planted(law, A=scale**exponent, alpha=exponent)
    recovered(law, *points, **{f"{variable}_c": scale}, alpha=exponent)


def test_kaplans_joint_law():
    known = {"alpha_N": 0.076, "alpha_D": 0.103, "D_c": 1.8e13}
    points = planted(KAPLAN_JOINT, A=6.4e13 ** (0.076 / 0.103), **known)
    recovered(KAPLAN_JOINT, *points, N_c=6.4e13, **known)


def test_kaplans_law_of_steps():
    points = planted(KAPLAN_STEPS, A=6.5e13**0.077, B=2.1e3**0.76, alpha_N=0.077, alpha_S=0.76)
    recovered(KAPLAN_STEPS, *points, N_c=6.5e13, S_c=2.1e3, alpha_N=0.077, alpha_S=0.76)


@pytest.mark.parametrize("row", HENIGHAN.strip().splitlines(), ids=lambda row: row.split("  ")[0])
def test_henighans_table(row):
    numbers = [float(word) for word in row.split()[-8:]]
    for floor, scale, exponent, law in ((*numbers[:3], FLOORED_LOSS_OF_N), (*numbers[3:6], FLOORED_LOSS_OF_C)):
        points = planted(law, E=floor, A=scale**exponent, alpha=exponent)
        known = {f"{law.variables[0]}_c": scale, "alpha": exponent}
        law = law if floor else {"N": LOSS_OF_N, "C": LOSS_OF_C}[law.variables[0]]
        recovered(law, *points, **known, **({"E": floor} if floor else {}))
    scale, exponent = numbers[6:]
    points = planted(OPTIMAL_SIZE, A=scale**-exponent, alpha=exponent)
    recovered(OPTIMAL_SIZE, *points, C_c=scale, alpha=exponent)


def test_a_floor_that_is_not_there_is_found_at_zero_and_said():
    response, points = planted(LOSS_OF_D, A=5.4e13**0.095, alpha=0.095)
    found = fit(FLOORED_LOSS_OF_D, response * np.exp(np.resize([0.01, -0.01], 60)), points)
    exact = fit(FLOORED_LOSS_OF_D, response, points)
    assert exact.parameters["E"] == pytest.approx(0.0, abs=1e-5)
    assert (found.status, found.on_bound) in [("ok", ()), ("on a bound", ("E",))]


def test_muennighoffs_law_in_both_steps():
    """The surface from single epochs gives U_N; then repeats and excess parameters have their worth."""
    random = np.random.default_rng(0)
    n, unique = 10 ** random.uniform(7, 10, 150), 10 ** random.uniform(7.5, 10, 150)
    d = unique * 2 ** random.uniform(0, 7, 150)
    known = MUENNIGHOFF | {"R_N": 5.31, "R_D": 15.39}
    x = {"N": n, "U_N": np.minimum(n, useful_size(MUENNIGHOFF, unique)), "D": d, "U_D": unique}
    recovered(DATA_CONSTRAINED, DATA_CONSTRAINED.predict(known, **x), x, **known)
    known = MUENNIGHOFF | {"R_D": 15.39}
    x = {"N": n, "D": d, "U_D": unique}
    recovered(REPEATED_DATA, REPEATED_DATA.predict(known, **x), x, **known)


def test_what_excess_parameters_are_worth_is_not_told_where_no_model_has_any():
    """Also where the floor lies on its bound: R_N would be what the search began with, with an interval of no width."""
    random = np.random.default_rng(1)
    n, unique = 10 ** random.uniform(3.5, 5, 80), 10 ** random.uniform(3.5, 5, 80)
    x = {"N": n, "U_N": n, "D": unique * 2 ** random.uniform(0, 5, 80), "U_D": unique}
    surface = {"E": 0.0, "A": 2.9, "B": 15.4, "alpha": 0.11, "beta": 0.1, "R_N": 5.0, "R_D": 12.0}
    loss = DATA_CONSTRAINED.predict(surface, **x) - 1.0  # as if there were a floor below 0
    with pytest.raises(LawError, match="do not decide its 7 parameters"):
        fit(DATA_CONSTRAINED, loss, x)
    fewer = {name: value for name, value in x.items() if name != "U_N"}
    assert fit(REPEATED_DATA, loss, fewer).on_bound == ("E",)


def test_four_epochs_are_worth_nearly_four_and_sixteen_much_less():
    """Muennighoff et al.: 93 % and 66 % of what as many fresh tokens would be worth (to a few points, as printed)."""
    worth = [float(decayed(np.array(1.0), np.array(epochs), np.array(15.39))) / epochs for epochs in (4.0, 16.0)]
    assert worth[0] == pytest.approx(0.93, abs=0.01)
    assert worth[1] == pytest.approx(0.66, abs=0.01)


def test_rectified_law_with_a_zero_shot_point():
    known = {"E": 1.2, "B": 300.0, "beta": 0.4, "D_l": 90.0}
    d = np.concatenate([[0.0], np.geomspace(1e3, 1e8, 20)])
    recovered(RECTIFIED, RECTIFIED.predict(known, D=d), {"D": d}, **known)


def test_critical_batch_from_steps_to_a_loss():
    """Kaplan's B_crit at 3.0 nats is 1.1e6 tokens; at B_crit a run takes twice the fewest steps."""
    points = planted(CRITICAL_BATCH, B_star=2e8, alpha_B=0.21)
    recovered(CRITICAL_BATCH, *points, B_star=2e8, alpha_B=0.21)
    critical = CRITICAL_BATCH.predict({"B_star": 2e8, "alpha_B": 0.21}, L=3.0)
    assert critical == pytest.approx(1.1e6, rel=0.03)
    points = planted(STEPS_TO_A_LOSS, S_min=5e3, E_min=5e3 * critical)
    recovered(STEPS_TO_A_LOSS, *points, S_min=5e3, B_crit=critical)


def test_best_epoch_may_rise_or_fall():
    known = {"A": 40.0, "n": -0.2, "d": 0.1}
    recovered(BEST_EPOCH, *planted(BEST_EPOCH, **known), **known)


@pytest.mark.parametrize(
    ("law", "known"),
    [
        (TUNED_OF_N, {"E": 1.2, "A": 30.0, "alpha": 0.15, "beta": 0.1}),
        (TUNED_OF_P, {"E": 1.2, "A": 30.0, "alpha": 0.05, "beta": 0.1}),
        (TUNED_WITH_GAP, {"delta": 20.0, "gamma": 0.5, "alpha": 0.3, "beta": 0.15}),
        (TUNED_WITH_GAP_AND_FLOOR, {"A": 400.0, "G": 3.0, "E": 1.5, "alpha": 0.4, "beta": 0.15}),
    ],
    ids=lambda value: value.name if isinstance(value, Law) else "",
)
def test_laws_of_fine_tuning(law, known):
    amplitudes = {"G": known["gamma"] * known["delta"]} if "gamma" in known else {}
    recovered(law, *planted(law, **known, **amplitudes), **known)


@settings(max_examples=12)
@given(
    alpha=st.floats(0.1, 0.9),
    beta=st.floats(0.1, 0.9),
    floor=st.floats(0.2, 3.0),
    by_n=st.floats(0.2, 3.0),
    by_d=st.floats(0.2, 3.0),
)
def test_any_surface_is_recovered(alpha, beta, floor, by_n, by_d):
    """Whatever the exponents, if each term is of the size of the loss in the middle of the points."""
    known = {"E": floor, "A": by_n * 3e7**alpha, "B": by_d * 5e9**beta, "alpha": alpha, "beta": beta}
    recovered(CHINCHILLA, *planted(CHINCHILLA, **known), **known)


@settings(max_examples=8)
@given(unit=st.floats(1e-6, 1e6))
def test_the_unit_of_n_moves_its_scale_only(unit):
    response, points = planted(CHINCHILLA, **HOFFMANN)
    response = response * np.exp(0.01 * np.random.default_rng(1).standard_normal(60))
    one, other = (fit(CHINCHILLA, response, points | {"N": points["N"] * factor}) for factor in (1.0, unit))
    assert other.parameters["alpha"] == pytest.approx(one.parameters["alpha"], rel=1e-4)
    assert other.parameters["A"] == pytest.approx(one.parameters["A"] * unit ** one.parameters["alpha"], rel=2e-3)


def test_a_prediction_names_its_variables():
    with pytest.raises(LawError, match="found the variables N, expected N, D"):
        CHINCHILLA.predict(HOFFMANN, N=1e9)
