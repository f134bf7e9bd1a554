"""From cells to the law with its intervals: a bootstrap through both stages, effective data and law.

A draw adds noise to the mean loss of every from-scratch point and every tuned cell (`noise.py`: what runs of one
pre-trained model or one prefix share is drawn once for all of them), reads every D_E again from the curve of that draw,
and fits the law again.  Scatter of ln D_E about the law beyond what seeds explain is estimated by the moments of the
weighted residuals (DerSimonian and Laird 1986, for correlated noise), enters the weights, and is drawn as a part of
each cell; so cells are resampled without counting the noise of their seeds twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from workflow_scripts.experiment import Fit
from workflow_scripts.laws.effective_data import (
    Cells,
    Effective,
    collect_cells,
    covariance_of_log,
    describe_cells,
    effective_data,
)
from workflow_scripts.laws.runs import RunsError
from workflow_scripts.laws.transfer_law import (
    BestOfStarts,
    Design,
    Law,
    Observed,
    fit_from_many_starts,
    fit_law,
    start_of,
)

FEWEST_CELLS = 4
"""One more than the law has coefficients."""


@dataclass(frozen=True)
class SourceFit:
    """The law of one source."""

    source: str
    design: Design
    """With the whole deviation of ln D_E: noise of seeds and extra scatter."""
    observed: Observed
    best: BestOfStarts
    squares: float
    """Weighted squared residuals of uncensored cells, before extra scatter."""
    expected_squares: float
    """What the noise of seeds alone would give."""
    extra_deviation: float
    """Of ln D_E about the law, beyond the noise of seeds."""
    drawn: Observed
    draws: Law


@dataclass(frozen=True)
class Fitted:
    unit: str
    """The sampling unit that the law is fitted on."""
    cells: dict[str, Cells]
    """By sampling unit, that of the law first."""
    table: pd.DataFrame
    """`describe_cells` of all units, with intervals and `in_fit`."""
    laws: list[SourceFit]
    too_few: dict[str, str]
    """Sources whose cells are too few for a law -> a sentence on what is needed."""

    def in_fit(self, source: str) -> pd.DataFrame:
        """The rows of `table` that the law of a source rests on, or would."""
        return self.table[self.table.in_fit & (self.table.source == source)]


def fit_runs(runs: pd.DataFrame, fit: Fit, unit: str | None = None) -> Fitted:
    """Effective data and transfer law of a table from `check_runs`, failed runs set aside.

    `unit` is the sampling unit that the law is fitted on; None takes the one with fine-tuned cells at most sizes.
    Raises RunsError if effective data cannot be read from the table.
    """
    runs = runs[runs.status == "ok"]
    tuned = runs[runs.arm == "finetune"]
    if missing := [arm for arm in ("finetune", "scratch") if arm not in set(runs.arm)]:
        raise RunsError(f"column arm: no run of the arm {missing[0]}; the law needs fine-tuned and from-scratch runs")
    main = _main_unit(tuned, unit)
    cells = {name: collect_cells(runs, name) for name in (main, *sorted(set(tuned.unit) - {main}))}
    random, *of_units = np.random.default_rng(fit.seed).spawn(1 + len(cells))
    noise = {name: cells[name].noise.draw(fit.draws, own) for name, own in zip(cells, of_units, strict=True)}
    tables = {name: _describe(cells[name], noise[name], fit) for name in cells}
    tables[main]["in_fit"] = tables[main].d_f.between(*fit.d_f) & ~tables[main].upper_bound
    table = pd.concat(tables.values()).sort_values(["source", "unit", "n_params", "d_f"], ignore_index=True)
    laws, too_few = [], {}
    for source in sorted(tuned.init.unique()):
        chosen = (tables[main].in_fit & (tables[main].source == source)).to_numpy()
        if lacking := _lacking(tables[main][chosen]):
            too_few[source] = lacking
        else:
            laws.append(_fit_source(cells[main], tables[main][chosen], noise[main], random))
    return Fitted(main, cells, table, laws, too_few)


def _main_unit(tuned: pd.DataFrame, unit: str | None) -> str:
    sizes = tuned.groupby("unit").n_params.nunique()
    if unit is None:
        leading = sizes.index[sizes == sizes.max()]
        if len(leading) > 1:
            raise RunsError(f"column unit: {' and '.join(leading)} have cells at as many sizes; --unit names one")
        return leading[0]
    if unit not in sizes.index:
        raise RunsError(f"column unit: no fine-tuned run has '{unit}'; expected one of {', '.join(sizes.index)}")
    return unit


def _describe(cells: Cells, noise: np.ndarray, fit: Fit) -> pd.DataFrame:
    table = describe_cells(cells, fit.infinite_data_tolerance)
    return _with_intervals(cells, table, _redraw(cells, noise)).assign(in_fit=False)


def _redraw(cells: Cells, noise: np.ndarray) -> Effective:
    """Effective data of the draws, whose noise is (draws, points and tuned cells), about the cleaned curves."""
    centre = cells.scratch.test_loss.to_numpy(copy=True)
    for curve in cells.curves:
        centre[curve.points] = curve.clean(centre[curve.points])
    n_points = len(centre)
    return effective_data(cells, centre + noise[:, :n_points], cells.tuned.test_loss.to_numpy() + noise[:, n_points:])


def _with_intervals(cells: Cells, table: pd.DataFrame, measured: Effective) -> pd.DataFrame:
    """Adds 95 % intervals of D_E and D_T and `probability_of_harm`, the share of draws in which D_E is known to be
    below D_F.

    An end is null where it leaves the from-scratch curve; so is the upper end of a lower limit, and the reverse.  All
    are null where the noise is unknown.
    """
    ends = (
        np.quantile(measured.low, 0.025, axis=0, method="inverted_cdf"),
        np.quantile(measured.high, 0.975, axis=0, method="inverted_cdf"),
    )
    known = [
        cells.noise.known & np.isfinite(end) & ~table[limit]
        for end, limit in zip(ends, ("upper_bound", "lower_bound"), strict=True)
    ]
    low, high = (np.exp(np.where(there, end, np.nan)) for there, end in zip(known, ends, strict=True))
    d_f = table.d_f.to_numpy(dtype=float)
    middle, (first, _) = measured.middle, _reach(cells)
    harmed = np.where(middle == -np.inf, np.exp(first) <= d_f, np.exp(middle) < d_f)
    return table.assign(
        d_e_low=low,
        d_e_high=high,
        d_t_low=low - d_f,
        d_t_high=high - d_f,
        probability_of_harm=np.where(table.lower_bound, 0.0, harmed.mean(axis=0)) if cells.noise.known else np.nan,
    )


def _reach(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """ln D at both ends of the from-scratch curve of each tuned cell."""
    first, last = np.empty(len(cells.tuned)), np.empty(len(cells.tuned))
    for curve in cells.curves:
        first[curve.cells], last[curve.cells] = curve.log_d[0], curve.log_d[-1]
    return first, last


def observe(cells: Cells, effective: Effective, chosen: np.ndarray) -> Observed:
    """What the law sees of the cells `chosen`: ln D_E, or the end of the curve beyond which it lies.

    A fine-tuned run at its budget has a loss too high: its D_E is a lower limit.
    """
    first, last = _reach(cells)
    middle = effective.middle
    side = np.where(np.isinf(middle), np.sign(middle), 0.0)
    value = np.select([side > 0, side < 0], [np.broadcast_to(last, side.shape), first], middle)
    at_budget = cells.tuned.hit_budget.to_numpy()
    nothing_known = at_budget & (side < 0)
    value, side = np.where(nothing_known, first - 50.0, value), np.where(at_budget, 1.0, side)
    return Observed(value[:, chosen], side[:, chosen])


def _fit_source(cells: Cells, here: pd.DataFrame, noise: np.ndarray, random: np.random.Generator) -> SourceFit:
    """The law of one source, whose cells in the fit are the rows `here` of the description of `cells`."""
    chosen = here.index.to_numpy()
    covariance, slope = covariance_of_log(cells)
    covariance = covariance[np.ix_(chosen, chosen)]
    design = Design(here.d_f.to_numpy(float), here.n_params.to_numpy(float), np.sqrt(np.diag(covariance)))
    losses = [frame.test_loss.to_numpy()[None] for frame in (cells.scratch, cells.tuned)]
    observed = observe(cells, effective_data(cells, *losses), chosen)
    best = fit_from_many_starts(design, observed)
    squares, expected, extra = extra_scatter(design, observed, best.law, covariance)
    if extra > 0:
        design = replace(design, deviation=np.hypot(design.deviation, extra))
        best = fit_from_many_starts(design, observed)
    scatter = np.zeros_like(noise)
    scatter[:, len(cells.scratch) :] = extra * slope * random.standard_normal((len(noise), len(slope)))
    drawn = observe(cells, _redraw(cells, noise + scatter), chosen)
    draws = fit_law(design, drawn, start_of(best.law, design))
    return SourceFit(here.source.iloc[0], design, observed, best, squares, expected, extra, drawn, draws)


def _lacking(cells: pd.DataFrame) -> str | None:
    """What cells need to have a law; None if they have it."""
    sizes, d_fs = cells.n_params.nunique(), cells.d_f.nunique()
    if len(cells) >= FEWEST_CELLS and sizes >= 2 and d_fs >= 2:
        return None
    return (
        f"No law was fitted: its three coefficients need at least {FEWEST_CELLS} cells over 2 sizes (n_params) and 2"
        f" fine-tuning sizes (d_chars); {len(cells)} may enter the fit, over {sizes} and {d_fs}."
    )


def extra_scatter(design: Design, observed: Observed, law: Law, covariance: np.ndarray) -> tuple[float, float, float]:
    """Weighted squared residuals of the uncensored cells, their expectation under `covariance` (of the noise of ln D_E)
    alone, and the standard deviation of further scatter that would explain the difference (0 if there is none)."""
    inside = observed.side[0] == 0
    weights = np.diag(1 / design.deviation[inside] ** 2)
    predicted = law.log_d_e(design)[0]
    residual = (observed.log_d_e[0] - predicted)[inside]
    share = np.exp(law.log_d_t(design)[0] - predicted)
    jacobian = (share[:, None] * design.terms())[inside]
    reduced = weights - weights @ jacobian @ np.linalg.pinv(jacobian.T @ weights @ jacobian) @ jacobian.T @ weights
    squares = float(residual @ weights @ residual)
    expected = float(np.trace(reduced @ covariance[np.ix_(inside, inside)]))
    if inside.sum() <= jacobian.shape[1]:
        return squares, expected, 0.0
    return squares, expected, float(np.sqrt(max(0.0, squares - expected) / np.trace(reduced)))
