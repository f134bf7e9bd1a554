"""Are alpha and beta the same for all sources?  The paper says beta is (Hernandez et al. 2021, section 2.2).

All sources are read from the same from-scratch curves and fine-tuned on the same prefixes, so their draws belong
together: differences of exponents are taken draw by draw.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import chi2, norm

from workflow_scripts.laws.alternatives import held_out_error, loss_at
from workflow_scripts.laws.bootstrap import Fitted
from workflow_scripts.laws.likelihood import Observed, Terms, maximise, maximise_from_many
from workflow_scripts.laws.percentiles import FEW_UNKNOWN, Interval, in_words, interval, told

EXPONENTS = ("alpha", "beta")
MODELS = {"separate": (), "shared_beta": ("beta",), "shared_alpha": ("alpha",), "shared_both": EXPONENTS}
"""Exponents that all sources have in common; each has its own k."""
SIGNIFICANT = 0.05
POWER = 0.8


def across_sources(fitted: Fitted) -> dict[str, Any] | None:
    """Tests of shared exponents, and models with and without them on held-out cells; None for fewer than two laws."""
    if len(fitted.laws) < 2:
        return None
    return {
        "sources": [fit.source for fit in fitted.laws],
        "differences": {name: shared_exponent(fitted, name) for name in ("ln_k", *EXPONENTS)},
        "models": {name: _model(fitted, shared) for name, shared in MODELS.items()},
    }


def sentences(found: dict[str, Any] | None) -> list[str]:
    """What `across_sources` found, in words: a sentence an exponent, and which model predicts held-out cells best."""
    if found is None:
        return []
    words = []
    for name in EXPONENTS:
        tested = found["differences"][name]
        pairs = ", ".join(_pair(pair) for pair in tested["pairs"])
        p = tested["p_value_of_shared"]
        words.append(f"{name} by source: {pairs}; {_verdict(p)}.")
    judged = {}
    for name, model in found["models"].items():
        cells = model["held_out"]["each_cell"]
        if model["status"] != "ok":
            words.append(f"The fit with {name.replace('_', ' ')} is {model['status']}.")
        elif cells["n_on_a_bound"]:
            words.append(
                f"The fit with {name.replace('_', ' ')} ends on a bound for {cells['n_on_a_bound']} held-out cells."
            )
        else:
            judged[name] = cells
    errors = {name: cells["rms_nats"] for name, cells in judged.items()}
    known = {name: error for name, error in errors.items() if error is not None}
    if known:
        best = min(known, key=known.get)
        others = ", ".join(f"{name.replace('_', ' ')} {error:.4f}" for name, error in known.items())
        words.append(f"Held-out cells are predicted best with {best.replace('_', ' ')} (nats: {others}).")
    return words


def _pair(pair: dict[str, Any]) -> str:
    one, other = pair["sources"]
    gap = pair["difference"]
    return f"{one} minus {other} {gap['estimate']:.2f} ({in_words(gap, '.2f')})"


def _verdict(p: float | None) -> str:
    if p is None:
        return "whether they share it is unknown, because too few draws are known"
    return f"{'the runs contradict that all sources' if p < SIGNIFICANT else 'they may'} share it (p = {p:.2g})"


def shared_exponent(fitted: Fitted, name: str) -> dict[str, Any]:
    """Pairwise differences with 95 % intervals, the smallest that the runs had a chance of 80 % to tell from 0, and
    Wald's test that the coefficient is the same for all sources; null where draws that are not known decide them."""
    estimates = np.array([getattr(fit.best.law, name)[0] for fit in fitted.laws])
    draws = np.stack([np.where(fit.draws.known, getattr(fit.draws, name), np.nan) for fit in fitted.laws], axis=1)
    pairs = []
    for one, other in combinations(range(len(estimates)), 2):
        difference = interval(estimates[one] - estimates[other], draws[:, one] - draws[:, other])
        pairs.append(
            {
                "sources": [fitted.laws[one].source, fitted.laws[other].source],
                "difference": difference,
                "smallest_seen": _smallest_seen(difference),
            }
        )
    known = np.isfinite(draws).all(axis=1)
    if known.mean() <= 1 - FEW_UNKNOWN:
        return {"pairs": pairs, "chi_squared": None, "p_value_of_shared": None}
    away, spread = np.diff(estimates), np.atleast_2d(np.cov(np.diff(draws[known], axis=1).T))
    statistic = float(away @ np.linalg.pinv(spread) @ away)
    return {"pairs": pairs, "chi_squared": statistic, "p_value_of_shared": float(chi2.sf(statistic, len(away)))}


def _smallest_seen(difference: Interval) -> float | None:
    low, high = difference["low"], difference["high"]
    if low is None or high is None:
        return None
    return (high - low) / 2 * (1 + float(norm.ppf(POWER) / norm.ppf(0.975)))


def _model(fitted: Fitted, shared: tuple[str, ...]) -> dict[str, Any]:
    laws, cells = fitted.laws, fitted.cells[fitted.unit]
    terms, names = _terms(fitted, shared)
    deviation = np.concatenate([fit.design.deviation for fit in laws])
    observed, redrawn = (
        Observed(*(np.concatenate(parts, axis=1) for parts in zip(*((o.log_d_e, o.side) for o in each), strict=True)))
        for each in ([fit.observed for fit in laws], [fit.drawn for fit in laws])
    )
    best = maximise_from_many(terms, deviation, observed, _starts(fitted, names))
    start = best.maximum.coefficients[0]
    refits = maximise(terms, deviation, redrawn, start)
    drawn = np.where(told(refits.converged, refits.on_bound), refits.coefficients, np.nan)
    n_params, d_f = (np.concatenate([getattr(fit.design, name) for fit in laws]) for name in ("n_params", "d_f"))
    chosen = np.concatenate([fit.chosen for fit in laws])
    measured, at_budget = (cells.tuned[name].to_numpy()[chosen] for name in ("test_loss", "hit_budget"))
    folds = {"largest_n": (n_params == n_params.max())[None], "largest_d_f": (d_f == d_f.max())[None]}
    held_out = {}
    for name, fold in (folds | {"each_cell": np.eye(len(chosen), dtype=bool)}).items():
        found = maximise(terms, np.where(fold, np.inf, deviation), observed.repeated(len(fold)), start)
        predicted = loss_at(cells, chosen, terms.log_d_e(found.coefficients))
        fitted, on_a_bound = found.converged | found.undefined, found.on_bound.any(axis=1)
        held_out[name] = held_out_error(predicted, measured, fold & ~at_budget, fitted, on_a_bound)
    return {
        "exponents": {
            name: interval(start[i], drawn[:, i], refits.on_bound[:, i] < 0, refits.on_bound[:, i] > 0)
            for i, name in enumerate(names)
            if not terms.level[i]
        },
        "status": best.status,
        "starts": {"tried": best.starts, "agreed": best.agreed},
        "draws": {
            "number": len(refits.converged),
            "not_converged": int((~refits.converged).sum()),
            "on_a_bound": int((refits.converged & refits.on_bound.any(axis=1)).sum()),
        },
        "held_out": held_out,
    }


def _terms(fitted: Fitted, shared: tuple[str, ...]) -> tuple[Terms, list[str]]:
    """Indicators of the sources, then each exponent once or once a source; and the names, `beta` or `beta:english`."""
    member = np.repeat(np.eye(len(fitted.laws)), [len(fit.chosen) for fit in fitted.laws], axis=0)
    sources = [fit.source for fit in fitted.laws]
    values, names = [member], [f"level:{source}" for source in sources]
    logs = np.concatenate([fit.design.logs() for fit in fitted.laws], axis=1)
    for name, log in zip(EXPONENTS, logs - logs.mean(axis=1, keepdims=True), strict=True):
        values.append(log[:, None] if name in shared else member * log[:, None])
        names += [name] if name in shared else [f"{name}:{source}" for source in sources]
    values = np.concatenate(values, axis=1)
    return Terms(values, np.array([name.startswith("level") for name in names]), logs[0]), names


def _starts(fitted: Fitted, names: list[str]) -> np.ndarray:
    """The separate laws, with each source's exponents for those that are shared, and their mean."""
    logs = np.concatenate([fit.design.logs() for fit in fitted.laws], axis=1).mean(axis=1)
    own = {}
    for fit in fitted.laws:
        law = fit.best.law
        own |= {f"{name}:{fit.source}": getattr(law, name)[0] for name in EXPONENTS}
        own[f"level:{fit.source}"] = law.ln_k[0] + law.alpha[0] * logs[0] + law.beta[0] * logs[1]
    mean = {name: np.mean([own[f"{name}:{fit.source}"] for fit in fitted.laws]) for name in EXPONENTS}
    each = [mean] + [{name: own[f"{name}:{fit.source}"] for name in EXPONENTS} for fit in fitted.laws]
    return np.array([[(own | one)[name] for name in names] for one in each])
