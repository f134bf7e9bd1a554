"""The loss of a model that was not trained: the transfer law, read through the measured from-scratch curves.

A model of N parameters, pre-trained on a source and fine-tuned on D_F characters, has the loss of one trained from
scratch on D_E characters, L = L_N(D_E) with D_E = D_F + k D_F^alpha N^beta (Hernandez et al. 2021, eqs. 1.1 and B.1).
L_N is the cleaned curve of the runs; between sizes ln L is linear in ln N at equal D, and beyond them the last step is
continued.  From scratch, D_E = D_F.

Every quantity is an array (1 + draws,): the estimate, then draws of everything that is uncertain together.  Values that
lie outside what was measured are infinite with the sign of the side, those of a draw of the law that is not known are NaN;
`interval` leaves ends out which such draws decide.  Losses are in
nats per token, D in characters, N without embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.files import read_json
from workflow_scripts.laws import percentiles
from workflow_scripts.laws.curves import clean_curve

SCRATCH = "scratch"
"""Stands beside the sources: no pre-training at all."""
N_REACH = 2.0
"""Sizes are forecast up to this factor beyond the fit's; the ladders that a law is judged on have rungs about that far
apart, so that leaving out its largest size tests such a step."""
D_F_REACH = 2.0
"""Data sets are forecast up to this factor beyond the fit's."""
P_REACH = 2.0
"""Where sources were pre-trained on several P, longer pre-training is forecast up to this factor beyond the longest."""
STEPS_PER_FACTOR_OF_TWO = 24
"""Of the grid of D_F on which losses are inverted: 3 % a step, and linear in logarithms between."""


class PlanError(ValueError):
    """The question cannot be answered from these files; the message says why, and what would be needed."""


@dataclass(frozen=True)
class Curves:
    """The from-scratch curves of one sampling unit."""

    n_params: np.ndarray
    """(sizes,), ascending."""
    log_d: list[np.ndarray]
    log_loss: list[np.ndarray]
    """For each size (1 + draws, points), non-increasing."""
    at_budget: int
    """Points that are upper bounds only."""

    def loss(self, n_params: float, log_d: np.ndarray) -> np.ndarray:
        """Loss at `log_d` (1 + draws, m); -inf and +inf where D lies above and below the data sizes that were run."""
        left, share = bracket(np.log(self.n_params), np.log(n_params))
        if 0 < share < 1:
            low, high = self._at(left, log_d), self._at(left + 1, log_d)
            inside = np.isfinite(low) & np.isfinite(high)
            step = np.where(inside, high, 0.0) - np.where(inside, low, 0.0)
            value = np.where(inside, low + share * step, np.where(np.isfinite(low), high, low))
        else:
            edge, beyond = (left + 1, share - 1) if share > 0 else (left, share)
            value = self._at(edge, log_d) + (beyond * self._trend(left)[:, None] if beyond else 0.0)
        return np.where(value == -np.inf, value, np.exp(value))

    def _trend(self, left: int) -> np.ndarray:
        """The step of ln L to the next size (1 + draws,), averaged over the D that both were run on: to continue it at
        each D alone would let noise make more data worse."""
        low, high = self.log_d[left], self.log_d[left + 1]
        shared = high[(high >= low[0] - 1e-9) & (high <= low[-1] + 1e-9)]
        at = np.broadcast_to(shared, (len(self.log_loss[left]), len(shared)))
        return (self._at(left + 1, at) - self._at(left, at)).mean(axis=1)

    def _at(self, size: int, log_d: np.ndarray) -> np.ndarray:
        known = self.log_d[size]
        value = line(known, self.log_loss[size], log_d)
        return np.where(log_d > known[-1] + 1e-9, -np.inf, np.where(log_d < known[0] - 1e-9, np.inf, value))

    @property
    def estimates(self) -> Curves:
        """Without draws: arrays are (1, ...)."""
        return replace(self, log_loss=[values[:1] for values in self.log_loss])

    def lowest_loss(self, n_params: float) -> np.ndarray:
        """Where the curve ends (1 + draws,): what lies below was not measured."""
        end = np.full((len(self.log_loss[0]), 1), np.log(self.reach(n_params)[1]))
        return self.loss(n_params, end)[:, 0]

    def reach(self, n_params: float) -> tuple[float, float]:
        """Smallest and largest D at which `loss` is known."""
        left, share = bracket(np.log(self.n_params), np.log(n_params))
        used = self.log_d[left : left + 2] if 0 < share < 1 else [self.log_d[left + (share > 0)]]
        return characters(max(d[0] for d in used)), characters(min(d[-1] for d in used))


@dataclass(frozen=True)
class Source:
    """The law of one source: coefficients, each (1 + draws,), and where they hold."""

    ln_k: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    sizes: np.ndarray
    """Measured N (sizes,), ascending."""
    deviation: np.ndarray
    """Of ln D_E from the law (1 + draws, sizes), the same for all D_F of a size."""
    n_params: tuple[float, float]
    """Smallest and largest N of a forecast."""
    d_f: tuple[float, float]
    warnings: tuple[str, ...]
    gamma: np.ndarray | None = None
    """Exponent of P, the tokens of pre-training (1 + draws,); None where one P was measured."""
    pretrain_tokens: tuple[float, float] | None = None
    """Smallest and largest P of a forecast; the other coefficients are those of the law."""

    def log_effective(self, n_params: float, d_f: np.ndarray, longer: float = 1.0) -> np.ndarray:
        """ln D_E (1 + draws, m) of data sets `d_f` (m,), after `longer` times the pre-training of the law."""
        log_d_f = np.log(d_f)
        transferred = self.ln_k[:, None] + self.alpha[:, None] * log_d_f + self.beta[:, None] * np.log(n_params)
        if longer != 1.0:
            transferred = transferred + self.gamma[:, None] * np.log(longer)
        left, share = bracket(np.log(self.sizes), np.log(n_params))
        deviation = self.deviation[:, left]
        if share:
            mixed = (1 - share) * deviation + share * self.deviation[:, left + 1]
            deviation = mixed / np.hypot(1 - share, share)
        with np.errstate(invalid="ignore"):  # draws that are not known
            return np.logaddexp(log_d_f, transferred) + deviation[:, None]


@dataclass(frozen=True)
class Forecast:
    """All that `fit` found, ready to be asked."""

    curves: Curves
    sources: dict[str, Source]
    """Those with a law, and `SCRATCH`, last."""
    cells: pd.DataFrame
    """Rows of `effective_data.parquet` on the sampling unit of the law."""
    law: dict[str, Any]
    """`transfer_law.json`"""

    @property
    def sizes(self) -> list[float]:
        """The measured N of the fit, ascending."""
        return sorted(self.cells.n_params[self.cells.in_fit].astype(float).unique())

    @property
    def bits_per_byte_of_a_nat(self) -> float | None:
        """On the test text, which every run shares; None for a table without bits per byte."""
        if "test_bits_per_byte" not in self.cells.columns:
            return None
        return float((self.cells.test_bits_per_byte / self.cells.test_loss).median())

    def effective(self, source: str, n_params: float, d_f: float) -> np.ndarray:
        """D_E (1 + draws,)"""
        return np.exp(self.sources[source].log_effective(n_params, np.array([float(d_f)])))[:, 0]

    def loss(self, source: str, n_params: float, d_f: float, longer: float = 1.0) -> np.ndarray:
        """Loss (1 + draws,), after `longer` times the pre-training of the law."""
        return self._losses(source, n_params, np.array([float(d_f)]), longer)[:, 0]

    def at_most(self, n_params: float, loss: np.ndarray) -> np.ndarray:
        """Upper bounds (1 + draws,) of losses: what lies below the from-scratch curve is lower than where that ends."""
        return np.maximum(loss, self.curves.lowest_loss(n_params))

    def loss_found(self, n_params: float, loss: np.ndarray) -> dict[str, Any]:
        """Of a row: `loss`, the interval of (1 + draws,), and `lower_than`: null, or where the from-scratch curve ends for a
        loss that is expected below, by an unknown amount.  Of such a loss the upper end of the interval alone is known."""
        if loss[0] != -np.inf:
            return {"loss": interval(loss), "lower_than": None}
        at_most = self.at_most(n_params, loss)
        found = interval(at_most) | {"estimate": None, "low": None}
        return {"loss": found, "lower_than": float(at_most[0])}

    def data_needed(self, source: str, n_params: float, target: float | np.ndarray) -> np.ndarray:
        """D_F (1 + draws,) at which the loss is `target`, one number or (1 + draws,).

        No less than the smallest D_F within the limits, even where that is more than enough; +inf where the largest is
        not enough, or the target itself lies outside what was measured; NaN where law or target are not known.
        """
        smallest, largest = self.sources[source].d_f
        steps = int(np.ceil(STEPS_PER_FACTOR_OF_TWO * np.log2(largest / smallest)))
        d_f = np.geomspace(smallest, largest, max(steps, 2))
        loss = np.maximum(self._losses(source, n_params, d_f), self.curves.lowest_loss(n_params)[:, None])
        wanted = np.broadcast_to(np.asarray(target, dtype=float), len(loss))
        reached = (loss <= wanted[:, None]) & np.isfinite(wanted)[:, None]
        right = np.argmax(reached, axis=1)
        left = np.maximum(right - 1, 0)
        rows = np.arange(len(loss))
        above, below = loss[rows, left], loss[rows, right]
        between = np.isfinite(above) & np.isfinite(below) & (above > below)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(between, np.log(above / wanted) / np.log(above / below), 1.0)
        found = np.exp(np.log(d_f[left]) + share * np.log(d_f[right] / d_f[left]))
        unknown = np.isnan(loss).any(axis=1) | np.isnan(wanted)
        return np.where(unknown, np.nan, np.where(reached.any(axis=1), found, np.inf))

    def refusal(self, source: str, n_params: float, d_f: float) -> str | None:
        """Why a forecast is refused; None if it is within the limits."""
        limits = self.sources[source]
        for name, value, reach, factor in (
            ("N", n_params, limits.n_params, N_REACH),
            ("D", d_f, limits.d_f, 1.0 if source == SCRATCH else D_F_REACH),
        ):
            if beyond := outside(name, value, reach):
                return (
                    f"{beyond}, {f'a factor {factor:g} beyond' if factor > 1 else 'no further than'} what was measured"
                )
        return None

    def hindcast(self) -> tuple[int, int, float, int]:
        """The cells of the fit: how many, how many of them are forecast within the from-scratch curves, by how many nats
        the losses of these are missed (root mean square), and how many of these lie inside the 95 % intervals."""
        cells = self.cells[self.cells.in_fit]
        drawn = np.array([self.loss(*cell) for cell in zip(cells.source, cells.n_params, cells.d_f, strict=True)])
        known = np.isfinite(drawn[:, 0])
        drawn, measured = drawn[known], cells.test_loss.to_numpy()[known]
        missed = float(np.sqrt(((drawn[:, 0] - measured) ** 2).mean())) if known.any() else 0.0
        return len(cells), len(measured), missed, int(percentiles.held(drawn[:, 1:].T, measured).sum())

    def _losses(self, source: str, n_params: float, d_f: np.ndarray, longer: float = 1.0) -> np.ndarray:
        return self.curves.loss(n_params, self.sources[source].log_effective(n_params, d_f, longer))


def bracket(grid: np.ndarray, value: float) -> tuple[int, float]:
    """The point of `grid` (ascending) to the left of `value` and the way to the next; beyond its ends, from the last
    two points.  A value on the grid has the share 0."""
    if len(grid) == 1:
        return 0, 0.0
    nearest = int(np.abs(grid - value).argmin())
    if abs(grid[nearest] - value) < 1e-9:
        return nearest, 0.0
    left = int(np.clip(np.searchsorted(grid, value) - 1, 0, len(grid) - 2))
    return left, float((value - grid[left]) / (grid[left + 1] - grid[left]))


def line(grid: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Piecewise linear `values` (rows, points) over `grid` (points,) at `at` (rows, m); the end pieces are continued."""
    right = np.clip(np.searchsorted(grid, at), 1, len(grid) - 1)
    low = np.take_along_axis(values, right - 1, axis=1)
    high = np.take_along_axis(values, right, axis=1)
    return low + (at - grid[right - 1]) / (grid[right] - grid[right - 1]) * (high - low)


def characters(log_d: float) -> float:
    """A whole number of them."""
    return float(np.rint(np.exp(log_d)))


def interval(values: np.ndarray) -> dict[str, float | None]:
    """Estimate and 95 % interval of (1 + draws,); an end that lies outside what was measured is null."""
    return percentiles.interval(values[0], values[1:])


def people(value: float) -> str:
    """A number to three figures as people write it: 12,300; 0.0123; 1.2e18."""
    rounded = float(f"{value:.3g}")
    if 100 <= abs(rounded) < 1e9:
        return f"{rounded:,.0f}"
    mantissa, _, exponent = f"{rounded:g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def exactly(value: float) -> str:
    """As `people`, with all figures: a limit that is rounded would refuse what it promises."""
    return people(value) if float(f"{value:.3g}") == value else f"{value:,.12g}"


def outside(name: str, value: float, limits: tuple[float, float]) -> str | None:
    """`N = 3,070 lies outside 3,072 to 110,592`; None if it lies within."""
    low, high = limits
    if low * (1 - 1e-9) <= value <= high * (1 + 1e-9):
        return None
    return f"{name} = {exactly(value)} lies outside {exactly(low)} to {exactly(high)}"


def read_forecast(folder: Path, seed: int = 0) -> Forecast:
    """Reads what `python -m workflow_scripts.laws fit` wrote into `folder`.  Raises PlanError."""
    law = _read(folder / "transfer_law.json", read_json)
    draws, cells, points = (
        _read(folder / f"{name}.parquet", pd.read_parquet) for name in ("draws", "effective_data", "scratch_curves")
    )
    fitted = {source: found for source, found in law["sources"].items() if found["k"]["estimate"] is not None}
    if not fitted:
        raise PlanError(f"{folder / 'transfer_law.json'}: no source has a law ({_statuses(law)}); nothing to plan with")
    unit = next(iter(fitted.values()))["unit"]
    cells = cells[(cells.unit == unit) & (cells.d_f > 0) & cells.source.isin(fitted)]
    cells = of_the_law(cells, cells[cells.in_fit])
    random = np.random.default_rng(seed)
    number = min(int((draws.source == source).sum()) for source in fitted)
    curves = _curves(points[(points.unit == unit) & points.isotonic_loss.notna()], number, random)
    sources = {
        source: _source(found, draws[draws.source == source][:number], cells[cells.source == source], random)
        for source, found in fitted.items()
    }
    return Forecast(curves, sources | {SCRATCH: _from_scratch(curves, sources, number, noise_known(law))}, cells, law)


def of_the_law(cells: pd.DataFrame, in_fit: pd.DataFrame) -> pd.DataFrame:
    """The cells (source, n_params) after the pre-training that the law stands for: that of its own cells."""
    places = [cells.source, cells.n_params, cells.pretrain_tokens.astype(float).fillna(0.0)]
    own = [in_fit.source, in_fit.n_params, in_fit.pretrain_tokens.astype(float).fillna(0.0)]
    return cells[pd.MultiIndex.from_arrays(places).isin(pd.MultiIndex.from_arrays(own))]


def noise_known(law: dict[str, Any]) -> bool:
    """Whether, by `transfer_law.json`, seeds or from-scratch points tell the noise; without, no draw is known."""
    return law["noise"]["nats_per_token"]["finetune_run"] is not None


def _read(path: Path, reader: Any) -> Any:
    if not path.is_file():
        raise PlanError(
            f"{path}: no such file; `python -m workflow_scripts.laws fit RUNS --out {path.parent}` writes it"
        )
    return reader(path)


def _statuses(law: dict[str, Any]) -> str:
    return ", ".join(f"{source}: {found['status']}" for source, found in law["sources"].items())


def _curves(points: pd.DataFrame, draws: int, random: np.random.Generator) -> Curves:
    """Draws add noise of the stored standard error to every point, and clean the curve again."""
    log_d, log_loss = [], []
    for _, curve in points.sort_values("d").groupby("n_params"):
        noise = curve.standard_error.fillna(0.0).to_numpy() * random.standard_normal((draws, len(curve)))
        noisy = curve.isotonic_loss.to_numpy() + np.concatenate([np.zeros((1, len(curve))), noise])
        log_d.append(np.log(curve.d.to_numpy(dtype=float)))
        log_loss.append(np.log(clean_curve(noisy, curve.n_seeds.to_numpy(dtype=float), curve.hit_budget.to_numpy())))
    return Curves(np.sort(points.n_params.unique()).astype(float), log_d, log_loss, int(points.hit_budget.sum()))


def _source(found: dict[str, Any], draws: pd.DataFrame, cells: pd.DataFrame, random: np.random.Generator) -> Source:
    """The scatter of cells about the law that seeds do not explain is drawn for each size."""
    coefficients = (
        np.concatenate([[found[name]["estimate"]], draws[name].to_numpy()]) for name in ("ln_k", "alpha", "beta")
    )
    fitted = cells[cells.in_fit]
    sizes = np.sort(fitted.n_params.unique()).astype(float)
    axis = found.get("axis_of_p")
    scatter = found["lack_of_fit"]["extra_deviation_of_ln_d_e"] * random.standard_normal((len(draws), len(sizes)))
    return Source(
        *coefficients,
        sizes=sizes,
        deviation=np.concatenate([np.zeros((1, len(sizes))), scatter]),
        n_params=(float(fitted.n_params.min() / N_REACH), float(fitted.n_params.max() * N_REACH)),
        d_f=(float(fitted.d_f.min() / D_F_REACH), float(fitted.d_f.max() * D_F_REACH)),
        warnings=tuple(found["warnings"]),
        gamma=axis and np.concatenate([[axis["gamma"]["estimate"]], draws.gamma.to_numpy()]),
        pretrain_tokens=axis and (float(min(axis["pretrain_tokens"])), P_REACH * max(axis["pretrain_tokens"])),
    )


def _from_scratch(curves: Curves, sources: dict[str, Source], draws: int, known: bool) -> Source:
    """No transfer, at the sizes of the sources and the D of the curves; its draws are unknown as their noise is."""
    zeros, sizes = np.zeros(1 + draws), len(curves.n_params)
    return Source(
        ln_k=np.full(1 + draws, -np.inf),
        alpha=zeros,
        beta=zeros,
        sizes=curves.n_params,
        deviation=np.concatenate([np.zeros((1, sizes)), np.full((draws, sizes), 0.0 if known else np.nan)]),
        n_params=(min(s.n_params[0] for s in sources.values()), max(s.n_params[1] for s in sources.values())),
        d_f=(characters(min(d[0] for d in curves.log_d)), characters(max(d[-1] for d in curves.log_d))),
        warnings=(),
    )
