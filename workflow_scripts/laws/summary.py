"""The fitted law as `transfer_law.json`: estimates, 95 % intervals, judgement by prediction, warnings in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.laws.alternatives import compare
from workflow_scripts.laws.bootstrap import Fitted, NoLaw, SourceFit, enough_cells
from workflow_scripts.laws.cautions import cautions, limits
from workflow_scripts.laws.effective_data import Cells
from workflow_scripts.laws.estimators import Estimate, estimates
from workflow_scripts.laws.percentiles import FEW_UNKNOWN, ends, finite, interval, told
from workflow_scripts.laws.scaling.compute import data_multiplier
from workflow_scripts.laws.sources import across_sources
from workflow_scripts.laws.transfer_law import Law, fit_from_many_starts, missed_factor

DEFAULT = "censored weighted nonlinear least squares of ln D_E"
COEFFICIENTS = ("ln_k", "alpha", "beta")
CONVENTIONS = {"N": "the column n_params, without embeddings", "D": "characters", "losses": "nats per token"}
COUNTED = {"N": "n_params", "D": "d_chars", "losses": "test_loss"}
"""The columns that these are read from."""
REACH = 10.0
"""The factor beyond the cells at which the spread of D_T's prediction is told."""


def summarise(fitted: Fitted, renamed: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The content of `transfer_law.json`: a law for each source, and the noise that the intervals come from.

    `renamed` (name here -> name in the table): what a user's own column counts, only they know.
    """
    cells = fitted.cells[fitted.unit]
    sources = {law.source: _source(fitted, law) for law in fitted.laws}
    sources |= {source: _without_law(fitted, source, why) for source, why in fitted.without_law.items()}
    return {
        "sources": dict(sorted(sources.items())),
        "across_sources": across_sources(fitted),
        "set_aside": fitted.set_aside,
        "curves": [curve for unit, one in fitted.cells.items() for curve in _curves(unit, one)],
        "conventions": CONVENTIONS
        | {what: f"the column {renamed[name]}" for what, name in COUNTED.items() if name in (renamed or {})},
        "noise": {
            "nats_per_token": cells.noise.stated(),
            "at_characters": finite(cells.noise.reference_d) if cells.noise.from_seeds else None,
            "d_exponent": finite(cells.noise.d_exponent) if cells.noise.from_seeds else None,
            "from_seeds": cells.noise.from_seeds,
            "pretrain_seeds": cells.pretrain_seeds,
            "seeds": "pooled: losses are means over the seeds of a cell",
        },
    }


def _curves(unit: str, cells: Cells) -> list[dict[str, Any]]:
    """The power law L = E + B D^-b through each from-scratch curve: D(N), the parametric D_E and weights rest on it."""
    described = []
    for n_params, law in cells.power_laws():
        found = {"unit": unit, "n_params": n_params}
        if law is not None:
            scale = law.scale * law.reference**law.exponent
            found |= {name: finite(value) for name, value in (("E", law.floor), ("B", scale), ("b", law.exponent))}
        status = "too few points" if law is None else "on a bound" if law.on_bound else "ok"
        described.append(found | {"status": status})
    return described


def draws_table(fitted: Fitted) -> pd.DataFrame:
    """Columns source, draw, ln_k, alpha, beta: the joint draws behind the intervals, null where they are not known, because
    the fit did not converge or ended on a bound of its search; and gamma, the exponent of P in the law of all P, null too
    where one P was measured."""
    columns = {"source": str, "draw": int} | dict.fromkeys((*COEFFICIENTS, "gamma"), float)
    tables = []
    for law in fitted.laws:
        of_p = fitted.with_p.get(law.source)
        gamma = np.nan if of_p is None else np.where(of_p.draws.known, of_p.draws.gamma, np.nan)
        drawn = {name: np.where(law.draws.known, getattr(law.draws, name), np.nan) for name in COEFFICIENTS}
        table = pd.DataFrame(drawn | {"gamma": gamma})
        tables.append(table.rename_axis("draw").reset_index().assign(source=law.source)[list(columns)])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(columns)).astype(columns)


def _without_law(fitted: Fitted, source: str, why: NoLaw) -> dict[str, Any]:
    """The entry of a source without a law."""
    cells = fitted.in_fit(source)
    unknown = {"estimate": None, "low": None, "high": None}
    censored = int(((cells.censored != "none") | cells.lower_bound | cells.upper_bound).sum())
    return dict.fromkeys(("k", *COEFFICIENTS), unknown) | {
        "n_cells": len(cells),
        "n_censored": censored,
        "n_uncensored": len(cells) - censored,
        "unit": fitted.unit,
        "r_squared": None,
        "r_squared_of_proportionality": None,
        "largest_size_error_factor": None,
        "largest_d_f_error_factor": None,
        "effective_data": _effective_data(fitted, source),
        "estimator": DEFAULT,
        "estimators": {},
        "alternatives": None,
        "status": why.status,
        "warnings": [why.words, *limits(fitted, source, cells)],
    }


def _source(fitted: Fitted, fit: SourceFit) -> dict[str, Any]:
    cells = fitted.in_fit(fit.source)
    predictions = {
        "largest_size": _prediction(fit, fit.design.n_params),
        "largest_d_f": _prediction(fit, fit.design.d_f),
    }
    censored = int((fit.observed.side != 0).sum())
    summary = coefficients(fit.best.law, fit.draws) | {
        "covariance": _covariance(fit.draws),
        "n_cells": len(cells),
        "n_censored": censored,
        "n_uncensored": len(cells) - censored,
        "n_not_positive": int((cells.d_t <= 0).sum()),
        "unit": fitted.unit,
        "r_squared": _r_squared(fit, fit.best.law.log_d_e(fit.design)[0]),
        "r_squared_of_proportionality": _r_squared(fit, _proportional(fit)),
        "largest_size_error_factor": predictions["largest_size"]["error_factor"],
        "largest_d_f_error_factor": predictions["largest_d_f"]["error_factor"],
        "predictions": predictions,
        "reach": {"n_params": _reach(fit, fit.design.n_params, 1), "d_f": _reach(fit, fit.design.d_f, 0)},
        "data_multiplier": [_multiplier(fit, n) for n in (fit.design.n_params.min(), fit.design.n_params.max())],
        "lack_of_fit": {
            "weighted_squares": fit.squares,
            "expected_from_seed_noise": fit.expected_squares if fitted.cells[fitted.unit].noise.known else None,
            "extra_deviation_of_ln_d_e": fit.extra_deviation,
        },
        "effective_data": _effective_data(fitted, fit.source),
        "estimator": DEFAULT,
        "estimators": {name: _other(fit, other) for name, other in estimates(fit).items()},
        "alternatives": compare(fitted, fit),
        "axis_of_p": _axis_of_p(fitted, fit.source),
        "status": fit.best.status,
        "starts": {"tried": fit.best.starts, "agreed": fit.best.agreed},
        "draws": _count(fit.draws),
    }
    return summary | {"warnings": list(cautions(fitted, fit, cells, summary))}


def _count(draws: Law) -> dict[str, int]:
    return {
        "number": len(draws.ln_k),
        "not_converged": int((~draws.converged & np.isfinite(draws.ln_k)).sum()),
        "undefined": int(np.isnan(draws.ln_k).sum()),
        "on_a_bound": int(draws.on_bound.any(axis=1).sum()),
    }


def _covariance(draws: Law) -> dict[str, Any]:
    """Of the draws that are known; no matrix where so many are not that they decide it."""
    known = draws.known
    values = np.stack([getattr(draws, name)[known] for name in COEFFICIENTS])
    matrix = np.cov(values).tolist() if known.mean() > 1 - FEW_UNKNOWN else None
    return {"of": list(COEFFICIENTS), "matrix": matrix, "n_draws": int(known.sum())}


def coefficients(law: Law, draws: Law) -> dict[str, Any]:
    """Estimates and intervals, null where the law did not converge; draws that did not may lie anywhere.

    An exponent on a bound lies beyond it; everything else of that draw is unknown (ln k has no bound of its own).
    """
    names = COEFFICIENTS + (() if law.gamma is None else ("gamma",))
    beyond = dict(zip(names, draws.on_bound.T, strict=True)) | {"ln_k": np.zeros(len(draws.ln_k))}
    found = {name: np.where(law.converged, getattr(law, name), np.nan)[0] for name in names}
    known = dict(zip(names, told(draws.converged, draws.on_bound).T, strict=True)) | {"ln_k": draws.known}
    drawn = {name: np.where(known[name], getattr(draws, name), np.nan) for name in names}
    with np.errstate(over="ignore"):
        found["k"], drawn["k"], beyond["k"] = np.exp(found["ln_k"]), np.exp(drawn["ln_k"]), beyond["ln_k"]
    return {name: interval(found[name], drawn[name], beyond[name] < 0, beyond[name] > 0) for name in ("k", *names)}


def _effective_data(fitted: Fitted, source: str) -> dict[str, Any]:
    """What stands in `effective_data.parquet`, in a few numbers: two readings of D_E, zero-shot, help and harm."""
    cells = fitted.table[(fitted.table.source == source) & (fitted.table.unit == fitted.unit)]
    ratio = (cells.d_e_parametric / cells.d_e).dropna()
    zero_shot, tuned = cells[cells.d_f == 0], cells[cells.d_f > 0]
    return {
        "parametric_over_interpolated": {
            "n_cells": len(ratio),
            "median": finite(ratio.median()),
            "smallest": finite(ratio.min()),
            "largest": finite(ratio.max()),
        },
        "zero_shot": _records(zero_shot, "d_e", "d_e_low", "d_e_high", "censored", "d_e_limit"),
        "sufficient_data": _records(tuned.drop_duplicates("n_params"), "d_n", "d_n_low", "d_n_high", "d_n_beyond"),
        "verdicts": {name: int((tuned.verdict == name).sum()) for name in ("helps", "hurts", "undecided", "unknown")},
        "d_t_not_positive": int((tuned.d_t <= 0).sum()),
    }


def _records(cells: pd.DataFrame, *columns: str) -> list[dict[str, Any]]:
    """By size, with None for what is unknown."""
    named = cells[["size", "n_params", *columns]]
    return named.astype(object).where(named.notna(), None).to_dict("records")


def _other(fit: SourceFit, other: Estimate) -> dict[str, Any]:
    outside = int((fit.observed.side != 0).sum())
    left_out = int((~other.used).sum())
    steps, before = [], fit.best.law
    for change, law in other.steps.items():
        shift = {name: finite(getattr(law, name)[0] - getattr(before, name)[0]) for name in COEFFICIENTS}
        steps.append({"change": change, "status": law.status} | shift)
        before = law
    return (
        {"description": other.description, "status": other.law.status, "starts": _starts(other)}
        | coefficients(other.law, other.draws)
        | {
            "n_cells": int(other.used.sum()),
            "dropped": {"censored": min(outside, left_out), "d_t_not_positive": max(left_out - outside, 0)},
            "from_default": steps,
            "why": other.why,
            "n_star": other.n_star
            and [{"d_f": d_f, "n_params": finite(n_params)} for d_f, n_params in other.n_star.items()],
            "draws": {"number": len(other.draws.ln_k), "undefined": int((~other.draws.converged).sum())},
        }
    )


def _starts(other: Estimate) -> dict[str, int] | None:
    return None if other.starts is None else dict(zip(("tried", "agreed"), other.starts, strict=True))


def _axis_of_p(fitted: Fitted, source: str) -> dict[str, Any] | None:
    """D_T = k D_F^alpha N^beta P^gamma and its rivals, where the source was pre-trained on several P."""
    fit = fitted.with_p.get(source)
    if fit is None:
        return None
    return coefficients(fit.best.law, fit.draws) | {
        "n_cells": len(fit.chosen),
        "pretrain_tokens": sorted({int(p) for p in fit.design.pretrain_tokens}),
        "status": fit.best.status,
        "starts": {"tried": fit.best.starts, "agreed": fit.best.agreed},
        "draws": _count(fit.draws),
        "alternatives": compare(fitted, fit),
    }


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


def _reach(fit: SourceFit, axis: np.ndarray, place: int) -> dict[str, Any]:
    """From where to where the cells reach, and how far the 95 % interval of D_T spans `REACH` times beyond: a factor.

    The other axis is at its centre.
    """
    logs = fit.design.logs().mean(axis=1)
    logs[place] = np.log(axis.max() * REACH)
    low, high = ends(np.where(fit.draws.known, fit.draws.ln_k + fit.draws.exponents @ logs, np.nan))
    with np.errstate(over="ignore"):
        return {
            "from": float(axis.min()),
            "to": float(axis.max()),
            "interval_factor_at_10x": finite(np.exp(high - low)),
        }


def _multiplier(fit: SourceFit, n: float) -> dict[str, Any]:
    """How many times fine-tuning data counts at the middle D_F of the fit (characters), with its 95 % interval."""
    d_f = float(np.exp(np.log(fit.design.d_f).mean()))
    laws = (fit.best.law, fit.draws)
    with np.errstate(over="ignore"):
        one, many = (data_multiplier(np.exp(law.ln_k), law.alpha, law.beta, d_f, n) for law in laws)
    return {"n_params": float(n), "d_f": d_f} | interval(one[0], np.where(fit.draws.known, many, np.nan))


def _prediction(fit: SourceFit, axis: np.ndarray) -> dict[str, Any]:
    """Fits without the cells at the largest value of `axis` and predicts them.

    `d_t_factor` is measured over predicted D_T, one factor for the left-out cells (`missed_factor`), `error_factor` the
    same without its direction; `d_e_error_factor` is exp of the root mean square of ln D_E measured over predicted.
    `status` is that of the fit, or `too few cells`; one that did not converge predicts nothing.
    """
    held_out = axis == axis.max()
    kept = ~held_out
    result = {"left_out": float(axis.max()), "n_cells": int(held_out.sum())}
    missing = {"d_t_factor": None, "error_factor": None, "d_e_error_factor": None}
    design = fit.design.take(kept)
    observed = fit.observed.take(kept)
    if not enough_cells(design, observed.side[0] == 0):
        return result | missing | {"status": "too few cells", "starts": None}
    best = fit_from_many_starts(design, observed)
    result |= {"status": best.status, "starts": {"tried": best.starts, "agreed": best.agreed}}
    if best.status == "not converged":
        return result | missing
    law = best.law
    there, seen = fit.design.take(held_out), fit.observed.take(held_out)
    factor = missed_factor(law, there, seen)
    error = (seen.log_d_e - law.log_d_e(there))[seen.side == 0]
    return result | {
        "d_t_factor": factor,
        "error_factor": None if factor is None else max(factor, 1 / factor),
        "d_e_error_factor": float(np.exp(np.sqrt((error**2).mean()))) if len(error) else None,
    }
