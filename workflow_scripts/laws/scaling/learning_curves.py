"""Laws of training in progress: what it takes points on the way to a run's best for.

A point is a run at one moment: its N, the tokens presented so far, the loss then.  Points come from a table of learning
curves (`--curves`), or are the ends of pre-training runs of several lengths.  Early points are of a warm-up, and
neighbours say the same, so a curve enters from a fiftieth of its tokens on, at points a factor apart: a rule, not a
judgement.  C is 6 N D, in FLOPs.  Losses are nats per token, D and batches are in tokens.

Points stand for runs of that length only where the learning rate is constant and weights are averaged (or every point
is a run of its own); under a schedule that decays, early points lie too high.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts.laws.runs import (
    RunsError,
    as_text,
    integers,
    read_frame,
    renamed,
    require,
    require_arms,
    require_once,
)
from workflow_scripts.laws.scaling.catalogue import (
    CHINCHILLA,
    CRITICAL_BATCH,
    DATA_CONSTRAINED,
    FLOORED_LOSS_OF_C,
    KAPLAN_STEPS,
    LOSS_OF_C,
    REPEATED_DATA,
    STEPS_TO_A_LOSS,
)
from workflow_scripts.laws.scaling.compute import compute_frontier, least_compute, least_steps, useful_size
from workflow_scripts.laws.scaling.fit import Fit, fit
from workflow_scripts.laws.scaling.law import LawError
from workflow_scripts.laws.scaling.table import MIXED, Absent, Case, Choice, by_corpus, sources_are_mixed

NEEDED = ("arm", "n_params", "seed", "tokens", "loss")
NUMBERS = ("n_params", "n_params_total", "tokens", "loss", "d_tokens", "batch_tokens")
RUN = ("arm", "corpus", "unit", "n_params", "d_tokens", "batch_tokens", "seed")
"""What tells the curves of a table apart, with the column `run` if there is one."""
LATE = 0.02
"""Share of a curve's tokens from which on it enters."""
SPACING = 1.4
"""Factor between the points of a curve."""
LEVELS = 5
"""Losses at which the steps that batches take are compared."""
SIX_N_D = "6 N D"
"""The compute of a point; a table of learning curves has no other."""
SEVERAL = 2.0
"""Factor between the most and the fewest tokens from which on a source is pre-trained on several D."""
PROXY = (
    "the gradient noise scale at the best weights stands for B_crit (McCandlish et al. 2018); measured critical batches"
    " tend to be larger"
)


def read_points(path: Path, names: dict[str, str]) -> pd.DataFrame:
    """A table of learning curves, CSV or parquet: `NEEDED`, and of use `corpus`, `unit`, `run`, `d_tokens` (tokens of
    the set, without which a pre-training run is taken to see each once), `batch_tokens`, `n_params_total`.

    `names` (name in the file -> name here) are applied where they are found.  Raises RunsError.
    """
    frame = renamed(read_frame(path, names), names)
    try:
        return _thinned(_with_runs(_checked(frame)))
    except RunsError as error:
        raise RunsError(f"{path}: {error}") from error


def _checked(points: pd.DataFrame) -> pd.DataFrame:
    require_once(points)
    if missing := [name for name in NEEDED if name not in points.columns]:
        raise RunsError(f"no column {', '.join(missing)}; learning curves need {', '.join(NEEDED)}")
    if points.empty:
        raise RunsError("the table has no rows")
    points, read = points.reset_index(drop=True), {}
    require_arms(points)
    for name in (name for name in NUMBERS if name in points.columns):
        read[name] = pd.to_numeric(points[name], errors="coerce").astype(float)
        unknown = points[name].isna() & (name not in NEEDED)
        good = np.isfinite(read[name]) & (read[name] > 0)
        require(points, good | unknown, name, "a finite, positive number")
    read["seed"] = integers(points, "seed")
    if "run" in points.columns:
        require(points, points.run.notna(), "run", "a name of each point's run")
    for name in (name for name in ("run", "corpus") if name in points.columns):
        read[name] = as_text(points[name])
    return points.assign(**read)


def ends_of(runs: pd.DataFrame) -> pd.DataFrame:
    """The ends of pre-training runs as points, one a run, from a table of `runs.check_runs`."""
    pretrained = runs[runs.arm == "pretrain"]
    if "d_tokens" not in runs.columns:
        return pretrained.iloc[:0].assign(tokens=0.0, loss=0.0, run=0)
    points = pretrained.assign(tokens=pretrained.d_tokens.astype(float), loss=pretrained.test_loss)
    return points.assign(run=np.arange(len(points)))


def _with_runs(points: pd.DataFrame) -> pd.DataFrame:
    names = [name for name in (*RUN, "run") if name in points.columns]
    return points.assign(run=points.groupby(names, dropna=False).ngroup())


def _thinned(points: pd.DataFrame) -> pd.DataFrame:
    """Of each curve the last point, and before it those that lie `SPACING` or more apart, down to `LATE`."""
    kept = []
    for _, curve in points.sort_values("tokens", ascending=False).groupby("run", sort=False):
        limit = np.inf
        for row, tokens in zip(curve.index, curve.tokens, strict=True):
            if LATE * curve.tokens.iloc[0] <= tokens <= limit:
                kept.append(row)
                limit = tokens / SPACING * (1 + 1e-9)
    return points.loc[kept].sort_values(["run", "tokens"], ignore_index=True)


def one_pass(points: pd.DataFrame, runs: pd.DataFrame, choice: Choice) -> Iterator[Case | Absent]:
    """Laws of pre-training: the surface over N and D, the frontier of compute, steps and batches.

    `points` are those of the arm pretrain, `runs` the pre-training runs, whose noise scales stand for critical batches.
    """
    for corpus, rows in by_corpus(points):
        of = f"pre-training on {corpus}"
        rows = rows[~(rows.tokens > 1.01 * rows.d_tokens)] if "d_tokens" in rows.columns else rows
        if choice.n not in rows.columns:
            yield Absent("compute-optimal N and D", of, f"the learning curves have no column {choice.n}")
            continue
        rows = rows.assign(**{SIX_N_D: 6 * rows[choice.n] * rows.tokens})
        critical, measured = None, list(_critical_batches(of, rows, choice))
        yield from measured
        proxy = _noise_scale(of, dict(by_corpus(runs)).get(corpus))
        yield proxy
        for case in (*measured, proxy):
            critical = critical or (_fitted(case) if isinstance(case, Case) and case.law is CRITICAL_BATCH else None)
        rows = _usual_batch(rows)
        if len(rows) and rows.tokens.max() > SEVERAL * rows.tokens.min():
            yield Case(CHINCHILLA, of, rows, "loss", {"N": choice.n, "D": "tokens"}, ("run",))
            yield from _frontier(of, rows, SIX_N_D, "the lowest loss for its compute, whatever the size")
            yield from _steps(of, rows, choice, critical)
        else:
            why = "all runs see as many tokens; it takes learning curves (--curves) or pre-training at several d_tokens"
            yield Absent("compute-optimal N and D, Kaplan's L(N, S_min)", of, why)


def _fitted(case: Case) -> Fit | None:
    try:
        return fit(case.law, case.rows[case.response].to_numpy(), case.points())
    except LawError:  # the case itself is fitted again, and its failure said, by the command
        return None


def _usual_batch(rows: pd.DataFrame) -> pd.DataFrame:
    """The points of the batch size that most of them have."""
    if "batch_tokens" not in rows.columns or rows.batch_tokens.isna().any():
        return rows
    return rows[rows.batch_tokens == rows.batch_tokens.mode().iloc[0]]


def _frontier(of: str, rows: pd.DataFrame, flops: str, note: str) -> Iterator[Case]:
    frontier = compute_frontier(rows[flops], rows.loss)
    best = rows.merge(pd.DataFrame({flops: frontier.flops, "loss": frontier.loss})).drop_duplicates([flops, "loss"])
    for law in (LOSS_OF_C, FLOORED_LOSS_OF_C):
        yield Case(law, f"{of}, frontier of compute", best, "loss", {"C": flops}, ("run",), note=note)


def _steps(of: str, rows: pd.DataFrame, choice: Choice, critical: Fit | None) -> Iterator[Case | Absent]:
    """Kaplan's L(N, S_min), and L(C_min): steps as if the batch were very large, compute as if it were very small."""
    if critical is None or "batch_tokens" not in rows.columns:
        why = "it takes the batch size of the points (batch_tokens) and a critical batch at their losses"
        yield Absent(KAPLAN_STEPS.name, of, why)
        return
    at = critical.predict(L=rows.loss.to_numpy())
    batch = rows.batch_tokens.to_numpy()
    rows = rows.assign(
        s_min=least_steps(rows.tokens.to_numpy() / batch, batch, at),
        c_min=least_compute(rows[SIX_N_D].to_numpy(), batch, at),
    )
    known = {name: f"{critical.parameters[name]:.3g}" for name in ("B_star", "alpha_B")}
    note = f"batches beside B_crit(L) of B_star = {known['B_star']} tokens and alpha_B = {known['alpha_B']}"
    yield Case(KAPLAN_STEPS, of, rows, "loss", {"N": choice.n, "S_min": "s_min"}, ("run",), note=note)
    yield from _frontier(f"{of}, at small batches", rows, "c_min", note)


def _noise_scale(of: str, runs: pd.DataFrame | None) -> Case | Absent:
    if runs is None or "noise_scale_tokens" not in runs.columns:
        return Absent(CRITICAL_BATCH.name, of, "no column noise_scale_tokens, and no steps at three batch sizes")
    known = runs[runs.noise_scale_tokens > 0]
    return Case(CRITICAL_BATCH, f"{of}, by noise scale", known, "noise_scale_tokens", {"L": "test_loss"}, note=PROXY)


def _critical_batches(of: str, rows: pd.DataFrame, choice: Choice) -> Iterator[Case]:
    """S(B) at some losses for each N that has three batch sizes, and B_crit of those losses."""
    if "batch_tokens" not in rows.columns:
        return
    for n, of_size in rows.groupby(choice.n):
        if of_size.batch_tokens.nunique() < 3:
            continue
        here, crossed = f"{of}, N = {n:,.0f}", steps_to_losses(of_size)
        found = []
        for level, steps in crossed.groupby("level"):
            case = Case(STEPS_TO_A_LOSS, f"{here}, at {level:.3f} nats", steps, "steps", {"B": "batch_tokens"})
            yield case
            one = _fitted(case)
            if one is not None and not one.on_bound:
                found.append({"level": level, "b_crit": one.parameters["B_crit"]})
        table = pd.DataFrame(found, columns=["level", "b_crit"])
        note = f"from S(B) at {len(found)} losses, of which {crossed.level.nunique()} were compared"
        yield Case(CRITICAL_BATCH, here, table, "b_crit", {"L": "level"}, note=note)


def steps_to_losses(points: pd.DataFrame) -> pd.DataFrame:
    """Steps at which the curves of one N pass `LEVELS` losses that all of them pass: `level`, `batch_tokens`, `steps`.

    ln S is linear in the loss between points, once later losses that are higher are lowered to the best so far.
    """
    curves = [curve.sort_values("tokens") for _, curve in points.groupby("run")]
    lowest, highest = max(c.loss.min() for c in curves), min(c.loss.iloc[0] for c in curves)
    rows = []
    for level in np.linspace(highest, lowest, LEVELS) if highest > lowest else ():
        for curve in curves:
            log_steps, loss = np.log(curve.tokens / curve.batch_tokens), np.minimum.accumulate(curve.loss)
            steps = np.exp(np.interp(-level, -loss, log_steps))
            rows.append({"level": level, "batch_tokens": curve.batch_tokens.iloc[0], "steps": steps})
    return pd.DataFrame(rows, columns=["level", "batch_tokens", "steps"])


def repeated_data(points: pd.DataFrame, choice: Choice) -> Iterator[Case | Absent]:
    """Muennighoff et al.'s laws of sets that are seen again, from the points of the arm scratch up to their best."""
    of = f"from scratch ({choice.unit}), in tokens"
    why = "it takes learning curves (--curves) of the arm scratch, with the tokens of their sets (d_tokens)"
    if not {"d_tokens", choice.n} <= set(points.columns) or points.d_tokens.isna().all():
        yield Absent(f"{REPEATED_DATA.name}, {DATA_CONSTRAINED.name}", of, why)
        return
    rows, prefix = points[points.d_tokens.notna()], ("d_tokens", "seed")
    yield Case(REPEATED_DATA, of, rows, "loss", {"N": choice.n, "D": "tokens", "U_D": "d_tokens"}, prefix)
    first = rows[rows.tokens <= 1.01 * rows.d_tokens]
    try:
        surface = fit(CHINCHILLA, first.loss.to_numpy(), {"N": first[choice.n], "D": first.tokens})
    except LawError as error:
        yield Absent(DATA_CONSTRAINED.name, of, f"U_N takes a surface through single epochs: {error}")
        return
    base = np.minimum(rows[choice.n], useful_size(surface.parameters, rows.d_tokens))
    columns = {"N": choice.n, "U_N": "u_n", "D": "tokens", "U_D": "d_tokens"}
    note = f"U_N from the surface through {len(first)} points of the first epoch"
    yield Case(DATA_CONSTRAINED, of, rows.assign(u_n=base), "loss", columns, prefix, note=note)


def laws_in_progress(points: pd.DataFrame | None, runs: pd.DataFrame, choice: Choice) -> Iterator[Case | Absent]:
    """Every law that takes points on the way; `points` are those of `read_points`, None for a table of runs alone."""
    curves = ends_of(runs).iloc[:0] if points is None else points
    pretrained, of_runs = curves[curves.arm == "pretrain"], runs[runs.arm == "pretrain"]
    if pretrained.empty:
        pretrained = ends_of(runs)
    several = "corpus" in of_runs.columns and of_runs.corpus.nunique() > 1
    if sources_are_mixed(runs) or (several and "corpus" not in pretrained.columns):
        yield Absent("compute-optimal N and D", "pre-training", MIXED)
    else:
        yield from one_pass(pretrained, of_runs, choice)
    scratch = curves[curves.arm == "scratch"]
    yield from repeated_data(scratch[scratch.unit == choice.unit] if "unit" in scratch.columns else scratch, choice)
