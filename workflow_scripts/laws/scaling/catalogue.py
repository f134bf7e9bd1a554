"""The laws, one after another: equation, source, code.

N is a number of parameters, D of tokens or characters (D_F of fine-tuning, P of pre-training), C of FLOPs or PF-days: the
unit of the points is the unit of the scales (N_c, D_c, C_c, A, B).  Losses are in nats per token.  `E` is what remains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from workflow_scripts.laws.scaling.law import Law, Parameters, Shape, without_more

EXPONENT = (0.005, 3.0)
SLOPE = (-2.0, 2.0)
"""Of what may rise or fall."""


def _power(amplitude: float | np.ndarray, exponent: float | np.ndarray) -> float | np.ndarray:
    with np.errstate(divide="ignore", over="ignore"):  # an amplitude of 0 in a draw: it is 0, or infinite
        return np.exp(np.log(amplitude) * exponent)


def _ratio(part: float | np.ndarray, whole: float | np.ndarray) -> float | np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):  # an amplitude of 0
        return np.divide(part, whole)


def _crossing(variable: str, sign: float) -> Callable[[Parameters], dict[str, np.ndarray]]:
    """The scale x_c of (x_c / x)^alpha, or of (x / x_c)^alpha: where the power law is 1."""

    def derived(p: Parameters) -> dict[str, np.ndarray]:
        return {f"{variable}_c": _power(p["A"], sign / p["alpha"])}

    return derived


def power_law(variable: str, source: str, *, floor: bool) -> Law:
    """L(x) = (x_c / x)^alpha, with E added where there is a `floor`.

    Kaplan et al. 2020, eqs. 1.1 to 1.3, without; Henighan et al. 2020, eq. 1.1, with.
    """
    zero = (0.0,) if floor else ()
    return Law(
        name=f"L({variable})" + (" with a floor" if floor else ""),
        equation="L = " + ("E + " if floor else "") + f"({variable}_c / {variable})^alpha",
        source=source,
        response="loss",
        variables=(variable,),
        shapes=(Shape("alpha", *EXPONENT),),
        amplitudes=("E", "A") if floor else ("A",),
        log_terms=lambda x, alpha: (*zero, -alpha * np.log(x)),
        derived=_crossing(variable, 1.0),
    )


KAPLAN = "Kaplan et al. 2020 (2001.08361)"
HENIGHAN = "Henighan et al. 2020 (2010.14701)"

LOSS_OF_N = power_law("N", f"{KAPLAN}, eq. 1.1", floor=False)
LOSS_OF_D = power_law("D", f"{KAPLAN}, eq. 1.2", floor=False)
LOSS_OF_C = power_law("C", f"{KAPLAN}, eq. 1.3", floor=False)
FLOORED_LOSS_OF_N = power_law("N", f"{HENIGHAN}, eq. 1.1", floor=True)
FLOORED_LOSS_OF_D = power_law("D", f"{HENIGHAN}, eq. 1.1", floor=True)
FLOORED_LOSS_OF_C = power_law("C", f"{HENIGHAN}, eq. 1.1", floor=True)

OPTIMAL_SIZE = Law(
    name="N_opt(C)",
    equation="N = (C / C_c)^alpha",
    source=f"{KAPLAN}, section 6; {HENIGHAN}, table 1",
    response="compute-optimal parameters",
    variables=("C",),
    shapes=(Shape("alpha", *EXPONENT),),
    amplitudes=("A",),
    log_terms=lambda c, alpha: (alpha * np.log(c),),
    derived=_crossing("C", -1.0),
)

CHINCHILLA = Law(
    name="Chinchilla's L(N, D)",
    equation="L = E + A / N^alpha + B / D^beta",
    source="Hoffmann et al. 2022 (2203.15556), approach 3",
    response="loss",
    variables=("N", "D"),
    shapes=(Shape("alpha", *EXPONENT), Shape("beta", *EXPONENT)),
    amplitudes=("E", "A", "B"),
    log_terms=lambda n, d, alpha, beta: (0.0, -alpha * np.log(n), -beta * np.log(d)),
)

KAPLAN_JOINT = Law(
    name="Kaplan's L(N, D)",
    equation="L = [ (N_c / N)^(alpha_N / alpha_D) + D_c / D ]^alpha_D",
    source=f"{KAPLAN}, eq. 1.5",
    response="loss",
    variables=("N", "D"),
    shapes=(Shape("alpha_N", 0.005, 1.0), Shape("alpha_D", 0.02, 2.0)),
    amplitudes=("A", "D_c"),
    log_terms=lambda n, d, alpha_n, alpha_d: (-alpha_n / alpha_d * np.log(n), -np.log(d)),
    power=lambda alpha_n, alpha_d: alpha_d,
    derived=lambda p: {"N_c": _power(p["A"], p["alpha_D"] / p["alpha_N"])},
)

KAPLAN_STEPS = Law(
    name="Kaplan's L(N, S_min)",
    equation="L = (N_c / N)^alpha_N + (S_c / S_min)^alpha_S",
    source=f"{KAPLAN}, eq. 1.6",
    response="loss",
    variables=("N", "S_min"),
    shapes=(Shape("alpha_N", *EXPONENT), Shape("alpha_S", *EXPONENT)),
    amplitudes=("A", "B"),
    log_terms=lambda n, s, alpha_n, alpha_s: (-alpha_n * np.log(n), -alpha_s * np.log(s)),
    derived=lambda p: {
        "N_c": _power(p["A"], 1 / p["alpha_N"]),
        "S_c": _power(p["B"], 1 / p["alpha_S"]),
    },
)


def decayed(unique: np.ndarray, presented: np.ndarray, half_life: np.ndarray) -> np.ndarray:
    """U + U R* (1 - exp(-R / R*)) with R = presented / unique - 1 repetitions: what repeats are worth as fresh ones."""
    repetitions = np.maximum(presented / unique - 1, 0.0)
    return unique * (1 + half_life * (1 - np.exp(-repetitions / half_life)))


REPEATED_DATA = Law(
    name="L(N, D) with repeated data",
    equation="L = E + A / N^alpha + B / D'^beta,  D' = U_D + U_D R_D (1 - exp(-(D / U_D - 1) / R_D))",
    source="Muennighoff et al. 2023 (2305.16264), without excess parameters",
    response="loss",
    variables=("N", "D", "U_D"),
    shapes=(*CHINCHILLA.shapes, Shape("R_D", 0.3, 300.0)),
    amplitudes=("E", "A", "B"),
    log_terms=lambda n, d, unique, alpha, beta, r_d: (
        0.0,
        -alpha * np.log(n),
        -beta * np.log(decayed(unique, d, r_d)),
    ),
)

DATA_CONSTRAINED = replace(
    REPEATED_DATA,
    name="data-constrained L(N, D)",
    equation=REPEATED_DATA.equation.replace("N^", "N'^") + ",  N' likewise of U_N = min(N, N_opt(U_D)) and R_N",
    source="Muennighoff et al. 2023 (2305.16264)",
    variables=("N", "U_N", "D", "U_D"),
    shapes=(*CHINCHILLA.shapes, Shape("R_N", 0.3, 300.0), Shape("R_D", 0.3, 300.0)),
    log_terms=lambda n, base, d, unique, alpha, beta, r_n, r_d: (
        0.0,
        -alpha * np.log(decayed(base, n, r_n)),
        -beta * np.log(decayed(unique, d, r_d)),
    ),
)
"""U_N, the parameters that the unique data can use, is `compute.useful_size` of a surface fitted to single epochs."""

RECTIFIED = Law(
    name="rectified L(D)",
    equation="L = E + B / (D_l + D^beta)",
    source="Lin et al. 2024 (2402.02314)",
    response="loss",
    variables=("D",),
    shapes=(Shape("beta", 0.02, 3.0), Shape("D_l", 1e-3, 1e12)),
    amplitudes=("E", "B"),
    log_terms=lambda d, beta, learned: (0.0, -np.log(learned + np.where(d > 0, np.maximum(d, 1e-300) ** beta, 0.0))),
    may_be_zero=("D",),
)
"""D_l is what pre-training is worth before any fine-tuning, in D^beta; a cousin of D_T.  D = 0 is the zero-shot loss."""

STEPS_TO_A_LOSS = Law(
    name="S(B) at one loss",
    equation="S = S_min + E_min / B",
    source="McCandlish et al. 2018 (1812.06162): (S / S_min - 1) (E / E_min - 1) = 1 with E = S B examples",
    response="steps to the loss",
    variables=("B",),
    shapes=(),
    amplitudes=("S_min", "E_min"),
    log_terms=lambda b: (0.0, -np.log(b)),
    derived=lambda p: {"B_crit": _ratio(p["E_min"], p["S_min"])},
)

CRITICAL_BATCH = Law(
    name="B_crit(L)",
    equation="B_crit = B_star / L^(1 / alpha_B)",
    source=f"{KAPLAN}, eq. 1.4",
    response="critical batch size",
    variables=("L",),
    shapes=(Shape("alpha_B", 0.03, 3.0),),
    amplitudes=("B_star",),
    log_terms=lambda loss, alpha_b: (-np.log(loss) / alpha_b,),
)

BEST_EPOCH = Law(
    name="best epoch",
    equation="epoch = A N^n D^d",
    source="Hernandez et al. 2021 (2102.01293), appendix G, whose figure has no formula: a power law is assumed",
    response="best epoch",
    variables=("N", "D"),
    shapes=(Shape("n", *SLOPE, log=False), Shape("d", *SLOPE, log=False)),
    amplitudes=("A",),
    log_terms=lambda n, d, by_n, by_d: (by_n * np.log(n) + by_d * np.log(d),),
)

ZHANG, MIKAMI, BARNETT = (
    "Zhang et al. 2024 (2402.17193)",
    "Mikami et al. 2021 (2108.11018)",
    "Barnett 2024 (2408.16947)",
)
SLOPES = (Shape("alpha", *SLOPE, log=False), Shape("beta", *SLOPE, log=False))
FLATTEST = 0.01
"""Below this exponent of P, its term and the one beside it are one."""


def multiplicative(variable: str) -> Law:
    """Zhang et al. 2024, eq. 1: of what is scaled beside the fine-tuning data, N or the pre-training tokens P."""
    return Law(
        name=f"Zhang's L({variable}, D_F)",
        equation=f"L = A {variable}^-alpha D_F^-beta + E",
        source=ZHANG,
        response="loss",
        variables=(variable, "D_F"),
        shapes=SLOPES,
        amplitudes=("E", "A"),
        log_terms=lambda x, d_f, alpha, beta: (0.0, -alpha * np.log(x) - beta * np.log(d_f)),
    )


TUNED_OF_N = multiplicative("N")
TUNED_OF_P = multiplicative("P")

TUNED_WITH_GAP = Law(
    name="Mikami's L(P, D_F)",
    equation="L = delta (gamma + P^-alpha) D_F^-beta",
    source=MIKAMI,
    response="loss",
    variables=("P", "D_F"),
    shapes=(Shape("alpha", FLATTEST, EXPONENT[1]), SLOPES[1]),
    amplitudes=("G", "delta"),
    log_terms=lambda p, d_f, alpha, beta: (-beta * np.log(d_f), -alpha * np.log(p) - beta * np.log(d_f)),
    derived=lambda p: {"gamma": _ratio(p["G"], p["delta"])},
)

TUNED_WITH_GAP_AND_FLOOR = replace(
    TUNED_WITH_GAP,
    name="Barnett's L(P, D_F)",
    equation="L = (A P^-alpha + G) D_F^-beta + E",
    source=BARNETT,
    amplitudes=("E", "G", "A"),
    log_terms=lambda p, d_f, alpha, beta: (0.0, *TUNED_WITH_GAP.log_terms(p, d_f, alpha, beta)),
    derived=without_more,
)


def unified(name: str, given: float) -> Law:
    """Kaplan's L(N, D) of both arms at once: at D_T = k D_F^alpha N^beta where D_F > 0, and else at D.

    `given` is the weight of D_F itself beside D_T: 0 as the paper has it for little data, 1 for D_E = D_F + D_T.
    """

    def log_data(n: float, d: float, d_f: float, k: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
        transferred = np.log(k) + alpha * np.log(np.where(d_f > 0, d_f, 1.0)) + beta * np.log(n)
        return np.log(d + np.where(d_f > 0, given * d_f + np.exp(transferred), 0.0))

    return replace(
        KAPLAN_JOINT,
        name=f"the unified law at {name}",
        equation=KAPLAN_JOINT.equation.replace("/ D ]", f"/ {name} ]")
        + (", D_E = D_F + k D_F^alpha N^beta" if given else ", D_T = k D_F^alpha N^beta"),
        source="Hernandez et al. 2021 (2102.01293), section 6.1",
        variables=("N", "D", "D_F"),
        shapes=(*KAPLAN_JOINT.shapes, Shape("k", 1e-12, 1e12), *SLOPES),
        log_terms=lambda n, d, d_f, alpha_n, alpha_d, *transfer: KAPLAN_JOINT.log_terms(
            n, np.exp(log_data(n, d, d_f, *transfer)), alpha_n, alpha_d
        ),
        power=lambda alpha_n, alpha_d, *transfer: KAPLAN_JOINT.power(alpha_n, alpha_d),
        may_be_zero=("D", "D_F"),
    )


UNIFIED_D_T = unified("D_T", 0.0)
UNIFIED_D_E = unified("D_E", 1.0)
"""Of from-scratch runs D_F is 0, of fine-tuned runs D is 0."""


MUENNIGHOFF = (("alpha", 0.353), ("beta", 0.353), ("R_N", 5.31), ("R_D", 15.39))
PUBLISHED: dict[str, tuple[tuple[str, float, str], ...]] = {
    LOSS_OF_N.name: (("alpha", 0.076, "Kaplan"), ("alpha", 0.070, "Henighan")),
    LOSS_OF_D.name: (("alpha", 0.095, "Kaplan"),),
    LOSS_OF_C.name: (("alpha", 0.050, "Kaplan, C_min"), ("alpha", 0.057, "Kaplan"), ("alpha", 0.048, "Henighan")),
    OPTIMAL_SIZE.name: (("alpha", 0.73, "Kaplan"), ("alpha", 0.73, "Henighan"), ("alpha", 0.513, "Besiroglu")),
    KAPLAN_JOINT.name: (("alpha_N", 0.076, "Kaplan"), ("alpha_D", 0.103, "Kaplan")),
    CHINCHILLA.name: (
        *(("alpha", 0.3392, "Hoffmann"), ("beta", 0.2849, "Hoffmann")),
        *(("alpha", 0.3478, "Besiroglu"), ("beta", 0.3658, "Besiroglu")),
    ),
    CRITICAL_BATCH.name: (("alpha_B", 0.21, "Kaplan"),),
    KAPLAN_STEPS.name: (("alpha_N", 0.077, "Kaplan"), ("alpha_S", 0.76, "Kaplan")),
    REPEATED_DATA.name: tuple((name, value, "Muennighoff") for name, value in MUENNIGHOFF if name != "R_N"),
    DATA_CONSTRAINED.name: tuple((name, value, "Muennighoff") for name, value in MUENNIGHOFF),
}
"""Exponents of text as published, (parameter, value, whose): Kaplan et al. 2020, Henighan et al. 2020 (table 1,
language), Hoffmann et al. 2022, Besiroglu et al. 2024 (2404.10102), Muennighoff et al. 2023.  Scales are in their units and do not compare."""


def published(law: str) -> list[dict[str, str | float]]:
    """The entries of `PUBLISHED` for the law of this name, as results hold them; none for others."""
    return [{"parameter": name, "value": value, "by": by} for name, value, by in PUBLISHED.get(law, ())]


def published_in_words(found: list[dict[str, str | float]]) -> str:
    """`; published: alpha 0.076 (Kaplan), ...`, or nothing."""
    told = ", ".join(f"{one['parameter']} {one['value']:g} ({one['by']})" for one in found)
    return f"; published: {told}" if told else ""
