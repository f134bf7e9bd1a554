"""Effective data: how much target data a model of the same size, trained from scratch, needs for a fine-tuned loss.

D_E of a fine-tuned cell is where the from-scratch curve at the same N and on the same sampling unit has the cell's
loss; D_T = D_E - D_F is the part that pre-training bought (Hernandez et al. 2021, eq. B.1).  Losses are means over the
seeds of a cell (seeds are pooled, not paired).  D is in characters, losses in nats per token.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workflow_scripts.laws.curves import SAME, PowerLaw, clean_curve, fit_power_law, invert
from workflow_scripts.laws.noise import Noise, estimate_noise
from workflow_scripts.laws.runs import CELL

MODEL = ["init", "pretrain_tokens", "n_params"]
"""What tells the pre-trained models of a seed apart, and is 0 or `scratch` for runs without one."""
FEWEST_POINTS = 3
"""Of a from-scratch curve."""
WIDEST = 5.0
"""Largest standard deviation of ln D_E: where the curve is flat, a loss says nothing about D."""


@dataclass(frozen=True)
class Curve:
    """The from-scratch curve at one N, and which cells are read from it."""

    log_d: np.ndarray
    n_seeds: np.ndarray
    hit_budget: np.ndarray
    points: np.ndarray
    """Rows of `Cells.scratch`, ascending in D."""
    cells: np.ndarray
    """Rows of `Cells.tuned`."""

    def clean(self, loss: np.ndarray) -> np.ndarray:
        return clean_curve(loss, self.n_seeds, self.hit_budget)

    def is_flat(self, loss: np.ndarray) -> bool:
        """Whether the cleaned curve through `loss` (points,) falls nowhere."""
        first, *_, last = self.clean(loss)
        return bool(last >= first * (1 - SAME))

    @property
    def ends(self) -> tuple[float, float]:
        """ln D of the first and the last point within its budget: as far as the power law goes."""
        good = self.log_d if self.hit_budget.all() else self.log_d[~self.hit_budget]
        return float(good[0]), float(good[-1])

    def power_law(self, loss: np.ndarray) -> PowerLaw | None:
        """L = E + B D^-b through the points within their budget; None if they are fewer than 3."""
        good = ~self.hit_budget
        if good.sum() < FEWEST_POINTS:
            return None
        return fit_power_law(np.exp(self.log_d[good]), loss[..., good], self.n_seeds[good])


@dataclass(frozen=True)
class Cells:
    """Means over seeds on one sampling unit: from-scratch points (n_params, d) and tuned cells
    (source, pretrain_tokens, n_params, d_f)."""

    scratch: pd.DataFrame
    tuned: pd.DataFrame
    curves: list[Curve]
    noise: Noise
    """Cells are counted over `scratch`, then `tuned`."""
    models: dict[str, int | None]
    """Different pre-trained models behind the seeds of each source, at most; None for several seeds whose models are in no
    row of the table."""

    @property
    def pretrain_seeds(self) -> int | None:
        """That of the source with most; None if the table does not tell of all."""
        return most_models(self.models)

    @property
    def noise_known(self) -> np.ndarray:
        """(tuned cells,): that of zero-shot losses takes two pre-training seeds, whatever is known of others."""
        return self.noise.known & ((self.tuned.d_f.to_numpy() > 0) | (self.noise.zero_shot[1] > 0))

    def reach(self, *, within_budget: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """ln D at both ends of the from-scratch curve of each tuned cell, or of its points within their budget."""
        first, last = np.empty(len(self.tuned)), np.empty(len(self.tuned))
        for curve in self.curves:
            ends = curve.ends if within_budget else (curve.log_d[0], curve.log_d[-1])
            first[curve.cells], last[curve.cells] = ends
        return first, last

    def power_laws(self) -> list[tuple[int, PowerLaw | None]]:
        """N and the power law of each from-scratch curve, None where it has too few points."""
        found = []
        for curve in self.curves:
            points = self.scratch.iloc[curve.points]
            found.append((int(points.n_params.iloc[0]), curve.power_law(points.test_loss.to_numpy())))
        return found


@dataclass(frozen=True)
class Effective:
    """ln D_E of draws (draws, tuned cells): `low` and `high` differ on a plateau, -inf and +inf are outside the curve."""

    low: np.ndarray
    high: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        return np.where(np.isinf(self.low), self.low, (np.maximum(self.low, -1e300) + np.minimum(self.high, 1e300)) / 2)


def with_curves(runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs without the fine-tuned ones whose N has no from-scratch curve on their sampling unit, and the cells of these
    (columns of `runs.CELL`)."""
    scratch, places = runs[runs.arm == "scratch"], ["unit", "n_params"]
    points = scratch.groupby(places).d_chars.nunique()
    read = pd.MultiIndex.from_frame(runs[places]).isin(points.index[points >= FEWEST_POINTS])
    lost = (runs.arm == "finetune") & ~read
    return runs[~lost], runs.loc[lost, CELL].drop_duplicates()


def collect_cells(runs: pd.DataFrame, unit: str) -> Cells:
    """Cells of one sampling unit of a table from `check_runs` that has no failed runs.

    Units are kept apart, since the noise of one says little about that of another: sets of whole documents differ more
    than sets of excerpts.  Fine-tuned runs without a from-scratch curve must be gone (`with_curves`).
    """
    of_unit = runs[runs.unit == unit]
    tuned_runs, scratch_runs = of_unit[of_unit.arm == "finetune"], of_unit[of_unit.arm == "scratch"]
    zero_shot = runs[runs.arm == "zero_shot"].assign(unit=unit).drop_duplicates([*MODEL, "seed"])
    zero_shot = zero_shot.merge(tuned_runs[MODEL].drop_duplicates(), on=MODEL)
    used = pd.concat([scratch_runs, zero_shot, tuned_runs], ignore_index=True)
    used["scratch"] = used.arm == "scratch"
    models = _models(runs, tuned_runs)
    one_model = [source for source, number in models.items() if number is not None and number < 2]
    used["model"] = used.seed.where(~used.init.isin(one_model), 0)
    keys = [*MODEL, "d_chars"]
    used = used.sort_values(["scratch", *keys, "seed"], ascending=[False] + [True] * 5).reset_index(drop=True)
    used["cell"] = used.groupby(["scratch", *keys], sort=False).ngroup()
    means = _means(used)
    scratch = means[means.scratch].rename(columns={"d_chars": "d"}).drop(columns=["scratch", "init", "pretrain_tokens"])
    tuned = means[~means.scratch].rename(columns={"init": "source", "d_chars": "d_f"}).drop(columns="scratch")
    scratch, tuned = scratch.reset_index(drop=True), tuned.reset_index(drop=True)
    curves = _curves(scratch, tuned)
    noise = estimate_noise(used, pretrain_seeds=most_models(models), scatter=_scatter(scratch, curves))
    return Cells(scratch, tuned, curves, noise, models)


def most_models(models: dict[str, int | None]) -> int | None:
    return None if None in models.values() else max(models.values(), default=0)


def _models(runs: pd.DataFrame, tuned_runs: pd.DataFrame) -> dict[str, int | None]:
    """By source, the seeds of pre-training that are paired with seeds of fine-tuning.  A table without pre-trained models of
    a source does not tell whether its seeds share one."""
    zero_shot, pretrained = runs[runs.arm == "zero_shot"], runs[runs.arm == "pretrain"]
    corpus = pretrained.corpus if "corpus" in pretrained else pd.Series(None, pretrained.index, dtype=object)
    models = {}
    for source, tuned in tuned_runs.groupby("init").seed:
        of_source = pretrained.seed[corpus.isna() | (corpus == source)]  # without a corpus, of whichever source
        before, seeds = {*of_source, *zero_shot.seed[zero_shot.init == source]}, set(tuned)
        models[source] = len(seeds & before) if before else None if len(seeds) > 1 else 1
    return models


def _means(used: pd.DataFrame) -> pd.DataFrame:
    columns = {
        "scratch": ("scratch", "first"),
        "init": ("init", "first"),
        "unit": ("unit", "first"),
        "size": ("size", "first"),
        "n_params": ("n_params", "first"),
        "pretrain_tokens": ("pretrain_tokens", "first"),
        "d_chars": ("d_chars", "first"),
        "test_loss": ("test_loss", "mean"),
        "n_seeds": ("seed", "nunique"),
        "hit_budget": ("hit_budget", "any"),
    }
    if "test_bits_per_byte" in used.columns:
        columns["test_bits_per_byte"] = ("test_bits_per_byte", "mean")
    return used.groupby("cell").agg(**columns).reset_index(drop=True)


def _curves(scratch: pd.DataFrame, tuned: pd.DataFrame) -> list[Curve]:
    curves = []
    for n_params, cells in tuned.groupby("n_params").groups.items():
        points = scratch[scratch.n_params == n_params]
        curves.append(
            Curve(
                np.log(points.d.to_numpy(dtype=float)),
                points.n_seeds.to_numpy(dtype=float),
                points.hit_budget.to_numpy(dtype=bool),
                points.index.to_numpy(),
                cells.to_numpy(),
            )
        )
    return curves


def _scatter(scratch: pd.DataFrame, curves: list[Curve]) -> tuple[float, int]:
    """Squared residuals of from-scratch means about their power laws, and the degrees of freedom."""
    squares, degrees = 0.0, 0
    for curve in curves:
        loss = scratch.test_loss.to_numpy()[curve.points]
        law, good = curve.power_law(loss), ~curve.hit_budget
        if law is not None and good.sum() > 3:
            squares += float(((loss - law.loss(np.exp(curve.log_d)))[good] ** 2).sum())
            degrees += int(good.sum()) - 3
    return squares, degrees


def effective_data(cells: Cells, scratch_loss: np.ndarray, tuned_loss: np.ndarray) -> Effective:
    """ln D_E of every tuned cell, by monotone interpolation, for losses (draws, points) and (draws, tuned cells)."""
    low, high = np.empty(tuned_loss.shape), np.empty(tuned_loss.shape)
    for curve in cells.curves:
        found = invert(curve.log_d, curve.clean(scratch_loss[:, curve.points]), tuned_loss[:, curve.cells])
        low[:, curve.cells], high[:, curve.cells] = found.low, found.high
    return Effective(low, high)


def parametric_data(cells: Cells, laws: list[PowerLaw | None], tuned_loss: np.ndarray) -> Effective | None:
    """ln D_E by inverting the power laws of the curves; outside the from-scratch grid nothing is extrapolated.

    None where a curve has too few points for a power law.
    """
    if any(law is None for law in laws):
        return None
    value = np.empty(tuned_loss.shape)
    for curve, law in zip(cells.curves, laws, strict=True):
        value[:, curve.cells] = log_inverse(curve, law, tuned_loss[:, curve.cells])
    return Effective(value, value)


def log_inverse(curve: Curve, law: PowerLaw, loss: np.ndarray) -> np.ndarray:
    """ln D at `loss` (draws, cells) on the power laws (draws,) of a curve; -inf and +inf outside the points it rests on.

    A flat law has no inverse: above it lies nothing, below it everything.
    """
    floor, scale, exponent = (np.asarray(part)[..., None] for part in (law.floor, law.scale, law.exponent))
    with np.errstate(divide="ignore"):
        value = np.log(PowerLaw(floor, scale, exponent, law.reference, law.on_bound).inverse(loss))
    first, last = curve.ends
    edge = SAME * abs(last)
    return np.where(value > last + edge, np.inf, np.where(value < first - edge, -np.inf, value))


def covariance_of_log(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Covariance (tuned, tuned) of the noise of ln D_E, and dL/dlnD (tuned,) in nats at each cell, to first order.

    The noise of a cell and of the two points that bracket it, over the slope of the curve's power law (smoother than
    the slope between two points); outside the curve, of its last point.  On a plateau D_E may lie anywhere: where the
    curve is flatter than its power law within that noise, the variance of a uniform distribution over what it is longer
    by is added.
    """
    n_points, n_cells = len(cells.scratch), len(cells.tuned)
    through = np.zeros((n_cells, n_points + n_cells))
    slope = np.empty(n_cells)
    for curve in cells.curves:
        loss = cells.scratch.test_loss.to_numpy()[curve.points]
        target = cells.tuned.test_loss.to_numpy()[curve.cells]
        found = invert(curve.log_d, curve.clean(loss), target)
        at = np.clip((found.low + found.high) / 2, curve.log_d[0], curve.log_d[-1])
        law = curve.power_law(loss) or fit_power_law(np.exp(curve.log_d), loss, curve.n_seeds)
        slope[curve.cells] = law.slope(np.exp(at))
        through[curve.cells, n_points + curve.cells] = 1.0
        through[curve.cells, curve.points[found.left]] -= 1 - found.share
        through[curve.cells, curve.points[found.right]] -= found.share
    noise = through @ cells.noise.covariance() @ through.T
    steep_enough = np.maximum(np.abs(slope), np.sqrt(np.diag(noise)) / WIDEST)
    deviation = np.sqrt(np.diag(noise))
    longer = np.maximum(_width(cells, deviation) - 2 * deviation / steep_enough, 0.0)
    return noise / np.outer(steep_enough, steep_enough) + np.diag(longer**2 / 12), -steep_enough


def _width(cells: Cells, deviation: np.ndarray) -> np.ndarray:
    """How much ln D_E changes along the curve while the loss goes from `deviation` (tuned,) above to as much below."""
    width = np.empty(len(deviation))
    for curve in cells.curves:
        loss, target = curve.clean(cells.scratch.test_loss.to_numpy()[curve.points]), cells.tuned.test_loss.to_numpy()
        ends = [invert(curve.log_d, loss, (target + sign * deviation)[curve.cells]) for sign in (1, -1)]
        low, high = (np.clip(end, curve.log_d[0], curve.log_d[-1]) for end in (ends[0].low, ends[1].high))
        width[curve.cells] = high - low
    return width


def describe_cells(cells: Cells, tolerance: float, low_data_share: float) -> pd.DataFrame:
    """The estimates of every tuned cell, without intervals: a row for each, in the order of `cells.tuned`.

    Columns beside those of `cells.tuned`: `d_e`, `d_t`, `d_e_gap`, `d_e_limit` (the end of the curve beyond which a
    censored D_E lies), `d_e_parametric`, `censored`, `upper_bound` (read from a from-scratch point at its budget),
    `lower_bound` (a fine-tuned run at its budget), `d_n` (D(N); null beyond the points of the power law, where `d_n_low`
    is the largest D among them, and below them, where `d_n_high` is the smallest; all three null without a power law
    that falls), `regime`.
    """
    scratch_loss, tuned_loss = (frame.test_loss.to_numpy() for frame in (cells.scratch, cells.tuned))
    table = cells.tuned.drop(columns="hit_budget").assign(lower_bound=cells.tuned.hit_budget)
    found = [
        _describe_curve(curve, scratch_loss[curve.points], tuned_loss[curve.cells], tolerance) for curve in cells.curves
    ]
    table = table.join(pd.concat(found))
    table["d_t"] = table.d_e - table.d_f
    known = (table.d_f, table.d_n, table.d_n_low, table.d_n_high)
    table["regime"] = [regime(*row, low_data_share) for row in zip(*known, strict=True)]
    pretrain_tokens = table.pretrain_tokens.astype("Int64")
    return table.assign(pretrain_tokens=pretrain_tokens.mask(pretrain_tokens == 0))


def _describe_curve(curve: Curve, scratch_loss: np.ndarray, target: np.ndarray, tolerance: float) -> pd.DataFrame:
    clean = curve.clean(scratch_loss)
    found = invert(curve.log_d, clean, target)
    inside = np.isfinite(found.low)
    middle = np.where(inside, (np.where(inside, found.low, 0) + np.where(inside, found.high, 0)) / 2, np.nan)
    law, d_n, parametric = curve.power_law(scratch_loss), np.nan, np.full(len(target), np.nan)
    if law is not None:
        parametric = np.exp(log_inverse(curve, law, target[None])[0])
        d_n = float(law.sufficient_data(tolerance)) if law.scale > 0 else np.nan
    first, largest = (float(np.rint(np.exp(end))) for end in curve.log_d[[0, -1]])
    least, most = (float(np.rint(np.exp(end))) for end in curve.ends)
    return pd.DataFrame(
        {
            "d_e": np.exp(middle),
            "d_e_gap": np.where(inside, np.exp(curve.log_d[found.right] - curve.log_d[found.left]), np.nan),
            "d_e_limit": np.select([found.low == np.inf, found.low == -np.inf], [largest, first], np.nan),
            "d_e_parametric": np.where(np.isfinite(parametric) & (parametric > 0), parametric, np.nan),
            "censored": np.select([found.low == np.inf, found.low == -np.inf], ["above", "below"], "none"),
            "upper_bound": [_touches_budget(curve, clean, *pair) for pair in zip(found.left, found.right, strict=True)],
            "d_n": d_n if least <= d_n <= most else np.nan,
            "d_n_low": most if d_n > most else np.nan,
            "d_n_high": least if d_n < least else np.nan,
        },
        index=curve.cells,
    )


def _touches_budget(curve: Curve, clean: np.ndarray, left: int, right: int) -> bool:
    """Whether a point at its budget decides the curve between two points: one of them, or of a plateau they end."""
    level = np.isclose(clean[:, None], clean[[left, right]], rtol=SAME, atol=0).any(axis=1)
    return bool(curve.hit_budget[level].any())


def regime(d_f: float, d_n: float, d_n_low: float, d_n_high: float, low_data_share: float) -> str:
    """low, medium, high by D_F / D(N); where D(N) is a limit, that decides, or the regime is `unknown`."""
    if np.isnan(d_n):
        return "low" if d_f <= low_data_share * d_n_low else "high" if d_f >= d_n_high else "unknown"
    return "low" if d_f <= low_data_share * d_n else "medium" if d_f <= d_n else "high"
