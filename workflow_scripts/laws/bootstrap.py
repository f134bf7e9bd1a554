"""From cells to the law with its intervals: a bootstrap through both stages, effective data and law.

A draw adds noise to every mean loss and reads every D_E again (`intervals.py`), and fits the law again.  Scatter of
ln D_E about the law beyond what seeds explain is estimated by the moments of the weighted residuals (DerSimonian and
Laird 1986, for correlated noise), enters the weights, and is drawn as a part of each cell; so cells are resampled
without counting the noise of their seeds twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from workflow_scripts.laws.effective_data import (
    Cells,
    Effective,
    collect_cells,
    covariance_of_log,
    describe_cells,
    effective_data,
    parametric_data,
    with_curves,
)
from workflow_scripts.laws.intervals import Redrawn, read_draws, redraw, with_intervals
from workflow_scripts.laws.likelihood import Observed
from workflow_scripts.laws.runs import RunsError, finished, longest_pretraining, set_aside_sentence
from workflow_scripts.laws.transfer_law import BestLaw, Design, Law, fit_from_many_starts, fit_law, start_of
from workflow_scripts.sections import Fit

ADVICE = "look for cells that contradict each other in effective_data.parquet, or give it more cells"
READ = ("zero_shot", "finetune", "scratch")
"""Arms that effective data are read from."""
FEWEST_CELLS = 4
"""One more than the law has coefficients; limits count."""


@dataclass(frozen=True)
class SourceFit:
    """The law of one source."""

    source: str
    chosen: np.ndarray
    """Rows of `Cells.tuned` that the law rests on."""
    design: Design
    """With the whole deviation of ln D_E: noise of seeds and extra scatter."""
    observed: Observed
    best: BestLaw
    squares: float
    """Weighted squared residuals of uncensored cells, before extra scatter."""
    expected_squares: float
    """What the noise of seeds alone would give."""
    extra_deviation: float
    """Of ln D_E about the law, beyond the noise of seeds."""
    drawn: Observed
    """All NaN where nothing tells the noise, and so are `draws`, here and of every estimator."""
    draws: Law
    parametric: Observed | None
    """D_E by power laws through the from-scratch curves; None where a curve has too few points."""
    parametric_drawn: Observed | None


@dataclass(frozen=True)
class NoLaw:
    status: str
    """`too few cells`, `flat curves` or `not converged`."""
    words: str
    """What was found, and what is needed."""


@dataclass(frozen=True)
class Fitted:
    unit: str
    """The sampling unit that the law is fitted on."""
    cells: dict[str, Cells]
    """By sampling unit, that of the law first."""
    table: pd.DataFrame
    """`describe_cells` of all units, with intervals and `in_fit`."""
    laws: list[SourceFit]
    with_p: dict[str, SourceFit]
    """D_T = k D_F^alpha N^beta P^gamma over the cells of every P, for sources that were pre-trained on several."""
    without_law: dict[str, NoLaw]
    """Sources that have none, and why."""
    without_p: dict[str, NoLaw]
    """Sources that were pre-trained on several P and have no law with P, and why."""
    set_aside: dict[str, int]
    """Runs with another status than `ok`, by status."""
    without_curve: pd.DataFrame
    """Fine-tuned cells that are left out, because fewer than 3 from-scratch D of their N and unit make no curve."""
    bytes_per_token: float | None
    """Of the target; None if the table does not tell."""
    without_bits: tuple[int, int]
    """Runs without a loss in bits per byte, where others have one; and of how many."""

    def in_fit(self, source: str) -> pd.DataFrame:
        """The rows of `table` that the law of a source rests on, or would."""
        return self.table[self.table.in_fit & (self.table.source == source)]


def fit_runs(runs: pd.DataFrame, fit: Fit, unit: str | None = None) -> Fitted:
    """Effective data and transfer law of a table from `check_runs`, failed runs set aside.

    `unit` is the sampling unit that the law is fitted on; None takes the one with fine-tuned cells at most sizes.
    Where a source was pre-trained on several P, the law is that of the largest that all its sizes have
    (`runs.longest_pretraining`; `alternatives.py` has the axis P).
    Raises RunsError if effective data cannot be read from the table.
    """
    runs, set_aside = finished(runs)
    tuned = runs[runs.arm == "finetune"]
    if missing := [arm for arm in ("finetune", "scratch") if arm not in set(runs.arm)]:
        lost = f". {set_aside_sentence(set_aside)}" if set_aside else ""
        raise RunsError(
            f"column arm: no run of the arm {missing[0]}; the law needs fine-tuned and from-scratch runs{lost}"
        )
    runs, without_curve = with_curves(runs)
    read = runs[runs.arm == "finetune"]
    main = _main_unit(tuned, read, unit)
    cells = {name: collect_cells(runs, name) for name in (main, *sorted(set(read.unit) - {main}))}
    of_law, *of_units = np.random.SeedSequence(fit.seed).spawn(1 + len(cells))
    seeds = dict(zip(cells, of_units, strict=True))
    redrawn = {name: _redraw(cells[name], fit, seeds[name]) for name in cells}
    tables = {
        name: _describe(cells[name], redrawn[name], fit).join(_in_bits(runs, name, fit, seeds[name])) for name in cells
    }
    every_p = tables[main].d_f.between(*fit.d_f)
    chosen = longest_pretraining(cells[main].tuned[every_p], ["source", "n_params"])
    tables[main]["in_fit"] = tables[main].index.isin(chosen.index)
    table = pd.concat(tables.values()).sort_values(
        ["source", "unit", "pretrain_tokens", "n_params", "d_f"], ignore_index=True
    )
    laws, with_p, without_law, without_p, random = [], {}, {}, {}, np.random.default_rng(of_law)
    for source in sorted(tuned.init.unique()):
        mine = tables[main].source == source
        law = _fit_or_why_not(cells[main], tables[main][tables[main].in_fit & mine], redrawn[main], random)
        if isinstance(law, NoLaw):
            without_law[source] = law
            continue
        laws.append(law)
        rows = tables[main][every_p & tables[main].pretrain_tokens.notna() & mine]
        if rows.pretrain_tokens.nunique() > 1:
            law = _fit_or_why_not(cells[main], rows, redrawn[main], random, axis_p=True)
            (without_p if isinstance(law, NoLaw) else with_p)[source] = law
    bytes_per_token = _bytes_per_token(runs[runs.arm == "scratch"])
    bits = _bits(runs[runs.arm.isin(READ)])
    without_bits = (int((~(bits > 0)).sum()) if (bits > 0).any() else 0, len(bits))
    return Fitted(
        main,
        cells,
        table,
        laws,
        with_p,
        without_law,
        without_p,
        set_aside,
        without_curve,
        bytes_per_token,
        without_bits,
    )


def _main_unit(tuned: pd.DataFrame, read: pd.DataFrame, unit: str | None) -> str:
    """`read`: the rows of `tuned` that have a from-scratch curve to be read against."""
    units, sizes = sorted(set(tuned.unit)), read.groupby("unit").n_params.nunique()
    if unit is not None and unit not in units:
        raise RunsError(f"column unit: no fine-tuned run has '{unit}'; expected one of {', '.join(units)}")
    if read.empty or (unit is not None and unit not in sizes.index):
        lost = tuned[tuned.unit == (unit or units[0])]
        raise RunsError(
            "column d_chars: fewer than 3 from-scratch data sizes at"
            f" n_params={', '.join(map(str, sorted(set(lost.n_params))))}, unit={lost.unit.iloc[0]}, where fine-tuned runs"
            " need a curve to be read against; expected 3 or more"
        )
    if unit is not None:
        return unit
    leading = sizes.index[sizes == sizes.max()]
    if len(leading) > 1:
        raise RunsError(f"column unit: {' and '.join(leading)} have cells at as many sizes; --unit names one")
    return leading[0]


def _bytes_per_token(scratch: pd.DataFrame) -> float | None:
    if not {"d_bytes", "d_tokens"} <= set(scratch.columns) or not scratch.d_tokens.sum() > 0:
        return None
    return float(scratch.d_bytes.sum() / scratch.d_tokens.sum())


def _redraw(cells: Cells, fit: Fit, seed: np.random.SeedSequence) -> Redrawn:
    return redraw(cells, cells.noise.draw(fit.draws, np.random.default_rng(seed)))


def _describe(cells: Cells, redrawn: Redrawn, fit: Fit) -> pd.DataFrame:
    table = describe_cells(cells, fit.infinite_data_tolerance, fit.low_data_share)
    return with_intervals(cells, table, redrawn, fit.infinite_data_tolerance).assign(in_fit=False)


def _bits(runs: pd.DataFrame) -> pd.Series:
    """Losses in bits per byte; NaN where the table has none."""
    values = runs["test_bits_per_byte"] if "test_bits_per_byte" in runs else pd.Series(np.nan, index=runs.index)
    return pd.to_numeric(values, errors="coerce").astype(float)


def _in_bits(runs: pd.DataFrame, unit: str, fit: Fit, seed: np.random.SeedSequence) -> pd.DataFrame:
    """D_E with its interval where losses are bits per byte; columns of nulls where the table lacks some of them.

    The same as D_E from nats per token if all runs have one tokenizer and one test set.
    """
    names = {"d_e": "d_e_in_bits", "d_e_low": "d_e_in_bits_low", "d_e_high": "d_e_in_bits_high"}
    bits = _bits(runs)
    if not (bits[runs.arm.isin(READ)] > 0).all():
        return pd.DataFrame(columns=list(names.values()), dtype=float)
    cells = collect_cells(runs.assign(test_loss=bits), unit)
    table = _describe(cells, _redraw(cells, fit, seed), fit)
    return table[list(names)].rename(columns=names)


def observe(
    cells: Cells, effective: Effective, chosen: np.ndarray, upper_bound: np.ndarray, *, parametric: bool = False
) -> Observed:
    """What the law sees of the cells `chosen`: ln D_E, or the end of the curve beyond which it lies; `parametric` D_E ends
    with the points within their budget.

    A fine-tuned run at its budget has a loss too high: its D_E is a lower limit.  So has a from-scratch run: D_E read
    from one (`upper_bound`, of the chosen) is an upper limit.  Of a cell that is both, or that lies above a curve which
    such a run decides, nothing is known; it stays in the fit, which outcomes do not decide, and tells it nothing.
    """
    first, last = cells.reach(within_budget=parametric)
    middle = effective.middle
    side = np.where(np.isinf(middle), np.sign(middle), 0.0)
    value = np.select([side > 0, side < 0], [np.broadcast_to(last, side.shape), first], middle)
    at_budget = np.broadcast_to(cells.tuned.hit_budget.to_numpy(), side.shape)
    upper = np.zeros(side.shape, dtype=bool)
    upper[:, chosen] = upper_bound
    nothing_known = (at_budget & ((side < 0) | upper)) | (upper & (side > 0))
    value = np.where(nothing_known, first - 50.0, value)
    side = np.select([nothing_known | at_budget, upper], [1.0, -1.0], side)
    return Observed(value[:, chosen], side[:, chosen])


def _fit_or_why_not(
    cells: Cells, here: pd.DataFrame, redrawn: Redrawn, random: np.random.Generator, axis_p: bool = False
) -> SourceFit | NoLaw:
    if lacking := _lacking(cells, here, axis_p):
        return lacking
    law = _fit_source(cells, here, redrawn, random, axis_p)
    if law.best.status == "not converged":
        what = "law with an exponent of P" if axis_p else "fit"
        return NoLaw("not converged", f"The {what} did not converge from any start: {ADVICE}.")
    return law


def _fit_source(
    cells: Cells, here: pd.DataFrame, redrawn: Redrawn, random: np.random.Generator, axis_p: bool
) -> SourceFit:
    """The law of one source, whose cells in the fit are the rows `here` of the description of `cells`."""
    chosen, upper = here.index.to_numpy(), here.upper_bound.to_numpy(dtype=bool)
    covariance, slope = covariance_of_log(cells)
    covariance = covariance[np.ix_(chosen, chosen)]
    design = _design(here, np.sqrt(np.diag(covariance)), axis_p)
    scratch, tuned = (frame.test_loss.to_numpy()[None] for frame in (cells.scratch, cells.tuned))
    observed = observe(cells, effective_data(cells, scratch, tuned), chosen, upper)
    best = fit_from_many_starts(design, observed)
    squares, expected, extra = extra_scatter(design, observed, best.law, covariance)
    if extra > 0:
        design = replace(design, deviation=np.hypot(design.deviation, extra))
        best = fit_from_many_starts(design, observed)
    scatter = extra * slope * random.standard_normal((len(redrawn.tuned_loss), len(slope)))
    laws = [curve.power_law(cells.scratch.test_loss.to_numpy()[curve.points]) for curve in cells.curves]
    parametric = parametric_data(cells, laws, tuned)
    interpolated, powers = read_draws(cells, redrawn, scatter)
    drawn = observe(cells, interpolated, chosen, upper)
    parametric, powers = (
        each and observe(cells, each, chosen, upper, parametric=True) for each in (parametric, powers)
    )
    if not cells.noise.known:
        drawn, powers = drawn.unknown(), powers and powers.unknown()
    draws = fit_law(design, drawn, start_of(best.law, design))
    source = here.source.iloc[0]
    return SourceFit(source, chosen, design, observed, best, squares, expected, extra, drawn, draws, parametric, powers)


def _design(here: pd.DataFrame, deviation: np.ndarray, axis_p: bool) -> Design:
    axes = [here[name].to_numpy(float) for name in ("d_f", "n_params", "pretrain_tokens")]
    return Design(*axes[:2], deviation, axes[2] if axis_p else None)


def enough_cells(design: Design, inside: np.ndarray) -> bool:
    """Whether a law may rest on the cells of `design`, of which those `inside` (cells,) are no limits."""
    return len(inside) >= FEWEST_CELLS and bool(design.terms().decided_by(inside[None])[0])


def _lacking(cells: Cells, here: pd.DataFrame, axis_p: bool) -> NoLaw | None:
    """What the cells `here` (rows of the description of `cells`) need to have a law; None if they have it."""
    read = [curve for curve in cells.curves if np.isin(here.index, curve.cells).any()]
    if read and all(curve.is_flat(cells.scratch.test_loss.to_numpy()[curve.points]) for curve in read):
        return NoLaw(
            "flat curves",
            "No law was fitted: the from-scratch test_loss falls with d_chars at no n_params, so that no loss can be"
            " read as an amount of data; look for a column of the wrong name, or train on more different d_chars.",
        )
    inside = ((here.censored == "none") & ~here.lower_bound & ~here.upper_bound).to_numpy(dtype=bool)
    if not enough_cells(_design(here, np.ones(len(here)), axis_p), inside):
        return NoLaw("too few cells", _needed(here, inside, axis_p))
    return None


def _needed(here: pd.DataFrame, inside: np.ndarray, axis_p: bool) -> str:
    law, number, third = ("law with an exponent of P", 4, ", pretrain_tokens") if axis_p else ("law", 3, "")
    limits = len(here) - inside.sum()
    advice = "; let runs at their budget (hit_budget) go on, or train from scratch on smaller and larger d_chars"
    return (
        f"No {law} was fitted: its {number} coefficients need at least {FEWEST_CELLS} cells over 2 sizes (n_params) and 2"
        f" fine-tuning sizes (d_chars), {number} of them inside the from-scratch curve and within their budget, where"
        f" n_params, d_chars{third} vary apart from each other; {len(here)} may enter the fit, over"
        f" {here.n_params.nunique()} and {here.d_f.nunique()}, and {limits} of them are limits{advice if limits else ''}."
    )


def extra_scatter(design: Design, observed: Observed, law: Law, covariance: np.ndarray) -> tuple[float, float, float]:
    """Weighted squared residuals of the uncensored cells, their expectation under `covariance` (of the noise of ln D_E)
    alone, and the standard deviation of further scatter that would explain the difference (0 if there is none)."""
    inside = observed.side[0] == 0
    weights = np.diag(1 / design.deviation[inside] ** 2)
    predicted = law.log_d_e(design)[0]
    residual = (observed.log_d_e[0] - predicted)[inside]
    share = np.exp(law.log_d_t(design)[0] - predicted)
    jacobian = (share[:, None] * design.terms().values)[inside]
    reduced = weights - weights @ jacobian @ np.linalg.pinv(jacobian.T @ weights @ jacobian) @ jacobian.T @ weights
    squares = float(residual @ weights @ residual)
    expected = float(np.trace(reduced @ covariance[np.ix_(inside, inside)]))
    if inside.sum() <= jacobian.shape[1]:
        return squares, expected, 0.0
    return squares, expected, float(np.sqrt(max(0.0, squares - expected) / np.trace(reduced)))
