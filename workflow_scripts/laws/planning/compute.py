"""The compute of training a model that was not trained, from that of the runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workflow_scripts.laws.planning.forecast import SCRATCH, PlanError, bracket, line
from workflow_scripts.laws.runs import longest_pretraining

NEEDED = ("flops", "best_tokens", "pretrain_tokens")


@dataclass(frozen=True)
class Compute:
    """Training FLOPs up to the best point, as the column `flops` counts them, of each source and of `SCRATCH`.

    Means over seeds; linear in (ln N, ln D, ln FLOPs) between runs, and continued as far as a forecast goes.  A size with
    one D takes FLOPs in proportion to D.
    """

    n_params: dict[str, np.ndarray]
    log_d: dict[str, list[np.ndarray]]
    log_flops: dict[str, list[np.ndarray]]
    log_flops_per_token: dict[str, np.ndarray]
    pretrain_tokens: dict[str, float]

    def training(self, source: str, n_params: float, d: np.ndarray) -> np.ndarray:
        """FLOPs of fine-tuning (or training from scratch) on `d` (m,) characters."""
        left, share = bracket(np.log(self.n_params[source]), np.log(n_params))
        low = self._at(source, left, d)
        return np.exp(low + share * (self._at(source, left + 1, d) - low) if share else low)

    def pretraining(self, source: str, n_params: float, longer: float = 1.0) -> float:
        """FLOPs of one pass over `longer` times the tokens of the pre-training that the law of the source stands for, at the FLOPs
        per token of fine-tuning; 0 from scratch."""
        if source == SCRATCH:
            return 0.0
        log_n = np.log(self.n_params[source])
        left, share = bracket(log_n, np.log(n_params))
        per_token = self.log_flops_per_token[source]
        log_per_token = per_token[left] + (share * (per_token[left + 1] - per_token[left]) if share else 0.0)
        return longer * float(np.exp(log_per_token)) * self.pretrain_tokens[source]

    def _at(self, source: str, size: int, d: np.ndarray) -> np.ndarray:
        log_d, log_flops = self.log_d[source][size], self.log_flops[source][size]
        if len(log_d) == 1:
            return log_flops + np.log(d) - log_d
        return line(log_d, log_flops[None], np.log(d)[None])[0]

    def cautions(self) -> list[str]:
        """What was taken without having been measured."""
        told = []
        for source, sizes in self.n_params.items():
            if alone := [f"{n:,.0f}" for n, log_d in zip(sizes, self.log_d[source], strict=True) if len(log_d) == 1]:
                told.append(
                    f"At N = {', '.join(alone)} the runs of {source} have one data size: FLOPs at others are taken in"
                    " proportion to D."
                )
        return told


def measure_compute(runs: pd.DataFrame, unit: str, sources: list[str]) -> Compute:
    """From a table of `runs.read_runs` with the columns `NEEDED`.  Raises PlanError."""
    if missing := [name for name in NEEDED if name not in runs.columns]:
        raise PlanError(
            f"the table of runs has no column {', '.join(missing)}; prices and budgets of training need"
            f" {', '.join(NEEDED)}: FLOPs and tokens presented up to the best point, tokens of pre-training"
        )
    runs = runs[runs.status == "ok"]
    compute = Compute({}, {}, {}, {}, {})
    for source in (*sources, SCRATCH):
        arm = "scratch" if source == SCRATCH else "finetune"
        of_source = runs[(runs.arm == arm) & (runs.init == source)]
        of_unit = of_source[of_source.unit == unit]
        if of_unit.empty:
            raise PlanError(
                f"column unit: no {arm} run of {source} is on {unit}, the sampling unit of the law; found"
                f" {', '.join(sorted(of_source.unit.unique())) or 'no such run at all'}"
            )
        _add(compute, source, longest_pretraining(of_unit, ["n_params"]))
    return compute


def _add(compute: Compute, source: str, runs: pd.DataFrame) -> None:
    """Runs whose best weights were the initial ones count as one token."""
    flops, tokens = (runs[name].astype(float) for name in ("flops", "best_tokens"))
    known = np.isfinite(flops) & np.isfinite(tokens)
    per_token = flops.groupby(runs.n_params).sum() / tokens.groupby(runs.n_params).sum()
    if not known.all() or not np.isfinite(per_token).all():
        raise PlanError(
            f"columns flops, best_tokens: expected a number for every run of {source}, and tokens at every n_params;"
            f" {int(known.sum())} of {len(runs)} runs have both"
        )
    sizes = list(per_token.index)
    if len(sizes) == 1:
        raise PlanError(f"column n_params: the runs of {source} have {sizes[0]:,} only, expected two sizes or more")
    cells = np.maximum(flops, runs.n_params.map(per_token)).groupby([runs.n_params, runs.d_chars]).mean()
    compute.n_params[source] = np.array(sizes, dtype=float)
    compute.log_flops_per_token[source] = np.log(per_token.to_numpy())
    compute.log_d[source] = [np.log(cells[n].index.to_numpy(dtype=float)) for n in sizes]
    compute.log_flops[source] = [np.log(cells[n].to_numpy()) for n in sizes]
    if source == SCRATCH:
        return
    pretraining = runs.pretrain_tokens.unique()
    if len(pretraining) != 1 or not pretraining[0] > 0:
        raise PlanError(
            f"column pretrain_tokens: found {', '.join(map(str, pretraining))} in the runs of {source}, expected one"
            " positive number for all sizes: compute is priced for the pre-training that the law stands for"
        )
    compute.pretrain_tokens[source] = float(pretraining[0])
