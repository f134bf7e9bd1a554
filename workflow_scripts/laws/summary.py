"""The fitted law as `transfer_law.json`: estimates, 95 % intervals, judgement by prediction, warnings in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.laws.bootstrap import FEWEST_CELLS, Fitted, SourceFit
from workflow_scripts.laws.transfer_law import (
    Design,
    Law,
    Observed,
    fit_from_many_starts,
    fit_of_fits,
    missed_factor,
    plane,
)

DEFAULT = "censored weighted nonlinear least squares of ln D_E"
OTHERS: dict[str, tuple[str, Callable[[Design, Observed], tuple[Law, np.ndarray]]]] = {
    "plane": ("ordinary least squares of ln D_T", plane),
    "fit_of_fits": ("one N* for each D_F with a shared slope, then a line across D_F (the paper's)", fit_of_fits),
}
COEFFICIENTS = ("ln_k", "alpha", "beta")
ENOUGH_CELLS = 20
ENOUGH_DECADES = {"D_F": 1.0, "N": 1.5}
LARGE_MISS = 2.0
LARGE_MISFIT = 2.0


def summarise(fitted: Fitted) -> dict[str, Any]:
    """The content of `transfer_law.json`: a law for each source, and the noise that the intervals come from."""
    cells = fitted.cells[fitted.unit]
    sources = {law.source: _source(fitted, law) for law in fitted.laws}
    sources |= {source: _too_few(fitted, source, words) for source, words in fitted.too_few.items()}
    return {
        "sources": dict(sorted(sources.items())),
        "noise": {
            "nats_per_token": cells.noise.deviations() | {"zero_shot": cells.noise.zero_shot[0]},
            "from_seeds": cells.noise.from_seeds,
            "pretrain_seeds": cells.pretrain_seeds,
            "seeds": "pooled: losses are means over the seeds of a cell",
        },
    }


def draws_table(fitted: Fitted) -> pd.DataFrame:
    """Columns source, draw, ln_k, alpha, beta: the joint draws behind the intervals."""
    columns = {"source": str, "draw": int} | dict.fromkeys(COEFFICIENTS, float)
    tables = [
        pd.DataFrame({name: getattr(law.draws, name) for name in COEFFICIENTS})
        .rename_axis("draw")
        .reset_index()
        .assign(source=law.source)[list(columns)]
        for law in fitted.laws
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(columns)).astype(columns)


def _too_few(fitted: Fitted, source: str, words: str) -> dict[str, Any]:
    """The entry of a source without a law."""
    cells = fitted.in_fit(source)
    unknown = {"estimate": None, "low": None, "high": None}
    censored = int(((cells.censored != "none") | cells.lower_bound).sum())
    return dict.fromkeys(("k", *COEFFICIENTS), unknown) | {
        "n_cells": len(cells),
        "n_censored": censored,
        "n_uncensored": len(cells) - censored,
        "unit": fitted.unit,
        "r_squared": None,
        "r_squared_of_proportionality": None,
        "largest_size_error_factor": None,
        "estimator": DEFAULT,
        "estimators": {},
        "status": "too few cells",
        "warnings": [words, *_limits(fitted, source, cells)],
    }


def _source(fitted: Fitted, fit: SourceFit) -> dict[str, Any]:
    cells = fitted.in_fit(fit.source)
    predictions = {
        "largest_size": _prediction(fit, fit.design.n_params),
        "largest_d_f": _prediction(fit, fit.design.d_f),
    }
    draws = np.stack([getattr(fit.draws, name) for name in COEFFICIENTS])
    censored = int((fit.observed.side != 0).sum())
    summary = _coefficients(fit.best.law, fit.draws) | {
        "covariance": {"of": list(COEFFICIENTS), "matrix": np.cov(draws).tolist()},
        "n_cells": len(cells),
        "n_censored": censored,
        "n_uncensored": len(cells) - censored,
        "n_not_positive": int((cells.d_t <= 0).sum()),
        "unit": fitted.unit,
        "r_squared": _r_squared(fit, fit.best.law.log_d_e(fit.design)[0]),
        "r_squared_of_proportionality": _r_squared(fit, _proportional(fit)),
        "largest_size_error_factor": predictions["largest_size"]["error_factor"],
        "predictions": predictions,
        "lack_of_fit": {
            "weighted_squares": fit.squares,
            "expected_from_seed_noise": fit.expected_squares,
            "extra_deviation_of_ln_d_e": fit.extra_deviation,
        },
        "estimator": DEFAULT,
        "estimators": {name: _other(fit, *other) for name, other in OTHERS.items()},
        "status": fit.best.status,
        "starts": {"tried": fit.best.starts, "agreed": fit.best.agreed},
        "draws": {
            "number": len(fit.draws.ln_k),
            "not_converged": int((~fit.draws.converged).sum()),
            "on_a_bound": int(fit.draws.on_bound.any(axis=1).sum()),
        },
    }
    return summary | {"warnings": list(_warnings(fitted, fit, cells, summary))}


def _coefficients(law: Law, draws: Law) -> dict[str, Any]:
    """Estimates and intervals.  ln k falls with alpha and beta at a given level, so their bounds limit it crosswise."""
    level, alpha, beta = draws.on_bound.T
    below = {"alpha": alpha < 0, "beta": beta < 0, "ln_k": (level < 0) | (alpha > 0) | (beta > 0)}
    above = {"alpha": alpha > 0, "beta": beta > 0, "ln_k": (level > 0) | (alpha < 0) | (beta < 0)}
    values = {
        name: _interval(getattr(law, name)[0], getattr(draws, name), below[name], above[name]) for name in COEFFICIENTS
    }
    with np.errstate(over="ignore"):
        k = _interval(np.exp(law.ln_k[0]), np.exp(draws.ln_k), below["ln_k"], above["ln_k"])
    return {"k": k} | values


def _interval(estimate: float, draws: np.ndarray, below: np.ndarray, above: np.ndarray) -> dict[str, float | None]:
    """95 % percentile interval of draws, of which some lie `below` or `above` by an unknown amount: on a bound of the
    search.  Undefined draws (NaN) may lie on either side.  An end is null where such draws decide it."""
    undefined = np.isnan(draws)
    with np.errstate(invalid="ignore"):
        low = np.quantile(np.where(below | undefined, -np.inf, draws), 0.025)
        high = np.quantile(np.where(above | undefined, np.inf, draws), 0.975)
    return {"estimate": finite(estimate), "low": finite(low), "high": finite(high)}


def finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _other(fit: SourceFit, words: str, estimator: Callable[..., tuple[Law, np.ndarray]]) -> dict[str, Any]:
    law, used = estimator(fit.design, fit.observed)
    draws = estimator(fit.design, fit.drawn)[0]
    outside = int((fit.observed.side != 0).sum())
    return (
        {"description": words}
        | _coefficients(law, draws)
        | {
            "n_cells": int(used.sum()),
            "dropped": {"censored": outside, "d_t_not_positive": int((~used).sum()) - outside},
            "draws": {"number": len(draws.ln_k), "undefined": int((~draws.converged).sum())},
        }
    )


def _proportional(fit: SourceFit) -> np.ndarray:
    """ln D_E by D_E = c D_F alone.  D_E contains D_F, so that explains most of its variance whatever the law."""
    inside, log_d_f = fit.observed.side[0] == 0, np.log(fit.design.d_f)
    return log_d_f + (fit.observed.log_d_e[0] - log_d_f)[inside].sum() / max(inside.sum(), 1)


def _r_squared(fit: SourceFit, log_d_e: np.ndarray) -> float | None:
    """Of ln D_E predicted as `log_d_e` (cells,), over the cells of the fit that are not censored."""
    inside = fit.observed.side[0] == 0
    values = fit.observed.log_d_e[0][inside]
    if inside.sum() < 2 or np.ptp(values) == 0:
        return None
    return float(1 - ((values - log_d_e[inside]) ** 2).sum() / ((values - values.mean()) ** 2).sum())


def _prediction(fit: SourceFit, axis: np.ndarray) -> dict[str, Any]:
    """Fits without the cells at the largest value of `axis` and predicts them.

    `d_t_factor` is measured over predicted D_T, one factor for the left-out cells (`missed_factor`), `error_factor` the
    same without its direction; `d_e_error_factor` is exp of the root mean square of ln D_E measured over predicted.
    """
    held_out = axis == axis.max()
    kept = ~held_out
    result = {"left_out": float(axis.max()), "n_cells": int(held_out.sum())}
    missing = {"d_t_factor": None, "error_factor": None, "d_e_error_factor": None}
    design = fit.design.take(kept)
    if kept.sum() < FEWEST_CELLS or min(len(np.unique(design.d_f)), len(np.unique(design.n_params))) < 2:
        return result | missing
    law = fit_from_many_starts(design, fit.observed.take(kept)).law
    there, seen = fit.design.take(held_out), fit.observed.take(held_out)
    factor = missed_factor(law, there, seen)
    error = (seen.log_d_e - law.log_d_e(there))[seen.side == 0]
    return result | {
        "d_t_factor": factor,
        "error_factor": None if factor is None else max(factor, 1 / factor),
        "d_e_error_factor": float(np.exp(np.sqrt((error**2).mean()))) if len(error) else None,
    }


def _warnings(fitted: Fitted, fit: SourceFit, cells: pd.DataFrame, summary: dict[str, Any]) -> Iterator[str]:
    """Sentences on what the data does not support."""
    if _holds_zero(summary["beta"]):
        yield "The interval of beta holds 0: these cells do not show that transfer grows with model size."
    if _holds_zero(summary["alpha"]):
        yield "The interval of alpha holds 0: these cells do not show how transfer changes with D_F."
    if len(cells) < ENOUGH_CELLS:
        yield f"The fit rests on {len(cells)} cells, fewer than {ENOUGH_CELLS}."
    for name, values in {"D_F": cells.d_f, "N": cells.n_params}.items():
        decades = float(np.log10(values.max() / values.min()))
        if decades < ENOUGH_DECADES[name] - 1e-9:
            yield f"The fit spans {decades:.2f} decades of {name}, fewer than {ENOUGH_DECADES[name]:g}."
    yield from _limits(fitted, fit.source, cells)
    if fit.best.status != "ok":
        yield f"The optimum is {fit.best.status}: the coefficients are not to be trusted; more cells or sizes are needed."
    if fit.squares > LARGE_MISFIT * fit.expected_squares and fit.extra_deviation > 0:
        yield (
            f"Cells scatter about the law by {np.expm1(fit.extra_deviation):.0%} of D_E beyond what seeds explain:"
            " the law is not the whole story here."
        )
    number, unfinished, on_a_bound = summary["draws"].values()
    if unfinished > number // 100:
        yield f"{unfinished} of {number} draws did not converge."
    if on_a_bound > number // 40:
        yield f"{on_a_bound} of {number} draws end on a bound of the search: ends of intervals there are unknown."
    for name, other in summary["estimators"].items():
        if undefined := other["draws"]["undefined"]:
            yield f"The estimator {name} is undefined in {undefined} of {number} draws."
    miss = summary["largest_size_error_factor"]
    if miss is None:
        yield "The largest size could not be predicted from the smaller ones."
    elif miss > LARGE_MISS:
        yield f"Fitted to the smaller sizes, the law misses D_T of the largest by a factor {miss:.2f}."


def _holds_zero(interval: dict[str, float | None]) -> bool:
    """Whether 0 cannot be excluded; an unknown end excludes nothing."""
    low, high = interval["low"], interval["high"]
    return not (low is not None and low > 0) and not (high is not None and high < 0)


def _limits(fitted: Fitted, source: str, cells: pd.DataFrame) -> Iterator[str]:
    """Sentences on what the cells of the fit are, whether or not they are enough for a law."""
    regimes = {name: int((cells.regime == name).sum()) for name in ("low", "medium", "high", "unknown")}
    if elsewhere := len(cells) - regimes["low"]:
        counts = ", ".join(f"{name} {n}" for name, n in regimes.items() if n)
        yield (
            f"{elsewhere} of {len(cells)} cells of the fit are not known to be in the low-data regime, where the paper"
            f" fits its law ({counts})."
        )
    if outside := int((cells.censored != "none").sum()):
        yield f"{outside} of {len(cells)} cells of the fit are outside the from-scratch curves and count as limits."
    if at_budget := int(cells.lower_bound.sum()):
        yield f"{at_budget} of {len(cells)} cells of the fit stopped at their budget: their D_E count as lower limits."
    ours = (fitted.table.source == source) & (fitted.table.unit == fitted.unit)
    if bounds := int((ours & fitted.table.upper_bound).sum()):
        yield f"Read from a from-scratch run at its budget, thus upper limits and kept out of the fit: {bounds} cells."
    if fitted.cells[fitted.unit].pretrain_seeds < 2:
        yield "One pre-training seed: every interval is conditional on the pre-trained weights."
    if not fitted.cells[fitted.unit].noise.from_seeds:
        yield "One seed a cell: the noise is taken from the scatter of from-scratch losses about smooth curves."
