"""Which laws the best points of runs support: the points of each, or a sentence on why there are none.

Laws of training in progress are those of `learning_curves.py`.  Losses are nats per token; D is in characters from scratch and in fine-tuning, in tokens where one pass is what counts.
A run at its budget bounds its loss from above only, so it stays out of laws of the loss and of the best epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workflow_scripts.laws.effective_data import MODEL
from workflow_scripts.laws.runs import RunsError, longest_pretraining
from workflow_scripts.laws.scaling.catalogue import (
    BEST_EPOCH,
    CHINCHILLA,
    FLOORED_LOSS_OF_C,
    FLOORED_LOSS_OF_D,
    FLOORED_LOSS_OF_N,
    KAPLAN_JOINT,
    LOSS_OF_C,
    LOSS_OF_D,
    LOSS_OF_N,
    RECTIFIED,
)
from workflow_scripts.laws.scaling.compute import Crossover, Frontier, compute_frontier, crossover
from workflow_scripts.laws.scaling.law import Law


@dataclass(frozen=True)
class Case:
    """A law and its points: rows of the table, and the column of each variable."""

    law: Law
    of: str
    rows: pd.DataFrame
    response: str
    columns: dict[str, str]
    groups: tuple[str, ...] | None = None
    """Columns that name what points share: an independent group of the bootstrap."""
    at_budget: int = 0
    """Runs left out because they stopped at their budget."""
    note: str = ""

    def points(self) -> dict[str, np.ndarray]:
        """The variables of the law, each (points,)."""
        return {name: self.rows[column].to_numpy(dtype=float) for name, column in self.columns.items()}


@dataclass(frozen=True)
class Absent:
    law: str
    of: str
    why: str


@dataclass(frozen=True)
class Choice:
    """What the columns of N and of FLOPs are, and the sampling unit."""

    n: str
    flops: str
    unit: str


def choose(runs: pd.DataFrame, n: str, flops: str, unit: str | None) -> Choice:
    """`unit` None takes the one with from-scratch runs at most sizes.  Raises RunsError."""
    for column in (n, *([flops] if flops != "flops" else [])):
        if column not in runs.columns:
            raise RunsError(f"no column {column} among {', '.join(runs.columns)}; choose another count")
    units = runs[runs.arm.isin(["scratch", "finetune"])].groupby("unit").n_params.nunique()
    if unit is None and (units == units.max()).sum() > 1:
        raise RunsError(f"column unit: {' and '.join(units.index)} have runs at as many sizes; --unit names one")
    if unit is not None and unit not in units.index:
        raise RunsError(f"column unit: no run has '{unit}'; expected one of {', '.join(units.index)}")
    return Choice(n, flops, unit or (units.idxmax() if len(units) else "document"))


def cases(runs: pd.DataFrame, choice: Choice) -> Iterator[Case | Absent]:
    """Every law that the best points of runs may hold, each with its points, for runs that ended well.  Laws of
    fine-tuning are those of `longest_pretraining`."""
    here = runs[runs.unit == choice.unit]
    yield from _pretraining(runs[runs.arm == "pretrain"], sources_are_mixed(runs), choice)
    yield from _scratch(here[here.arm == "scratch"], choice)
    tuned = longest_pretraining(here[here.arm == "finetune"], ["init", "n_params"])
    zero_shot = runs[runs.arm == "zero_shot"].merge(tuned[MODEL].drop_duplicates(), on=MODEL)
    yield from _finetuning(pd.concat([tuned, zero_shot], ignore_index=True), choice)


def _pretraining(runs: pd.DataFrame, mixed: bool, choice: Choice) -> Iterator[Case | Absent]:
    if runs.empty:
        yield Absent("L(N), L(C)", "pre-training", "the table has no run of the arm pretrain")
    for corpus, rows in by_corpus(runs):
        of = f"pre-training on {corpus}"
        if mixed or _same_twice(rows):
            yield Absent("L(N), L(C)", of, MIXED)
            continue
        tokens = "d_tokens" if "d_tokens" in rows.columns else "d_chars"
        longest = rows[rows[tokens] >= 0.9 * rows[tokens].max()]
        for law in (LOSS_OF_N, FLOORED_LOSS_OF_N):
            yield Case(law, of, longest, "test_loss", {"N": choice.n})
        if choice.flops in rows.columns:
            for law in (LOSS_OF_C, FLOORED_LOSS_OF_C):
                note = "all at one number of tokens, so C grows with N alone: not the compute-efficient frontier"
                yield Case(law, of, longest, "test_loss", {"C": choice.flops}, note=note)
        else:
            yield Absent("L(C)", of, f"no column {choice.flops}")


MIXED = "there are several sources, or several runs share N, D and seed, and no column corpus tells them apart"


def sources_are_mixed(runs: pd.DataFrame) -> bool:
    """Whether it is not known which source a pre-training run saw, of those that others were fine-tuned from."""
    if "corpus" in runs.columns:
        return False
    return runs.init[runs.arm.isin(["zero_shot", "finetune"])].nunique() > 1 or _same_twice(
        runs[runs.arm == "pretrain"]
    )


def _same_twice(pretrained: pd.DataFrame) -> bool:
    return bool(pretrained.duplicated(["n_params", "d_chars", "seed"]).any())


def by_corpus(pretrained: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    if "corpus" in pretrained.columns:
        yield from pretrained.groupby(pretrained.corpus.fillna("the source"))
    elif len(pretrained):
        yield "the source", pretrained


def _scratch(runs: pd.DataFrame, choice: Choice) -> Iterator[Case | Absent]:
    if runs.empty:
        yield Absent("L(N, D), L(D), best epoch", "from scratch", "the table has no run of the arm scratch")
        return
    of, prefix = f"from scratch ({choice.unit})", ("d_chars", "seed")
    within = runs[~runs.hit_budget]
    left_out = len(runs) - len(within)
    for law in (CHINCHILLA, KAPLAN_JOINT):
        yield Case(law, of, within, "test_loss", {"N": choice.n, "D": "d_chars"}, prefix, left_out)
    largest = runs[runs.n_params == runs.n_params.max()]
    for law in (LOSS_OF_D, FLOORED_LOSS_OF_D):
        rows = largest[~largest.hit_budget]
        of_size = f"{of}, N = {largest[choice.n].iloc[0]:,}"
        yield Case(law, of_size, rows, "test_loss", {"D": "d_chars"}, None, len(largest) - len(rows))
    yield _best_epoch(of, runs, choice)


def _finetuning(runs: pd.DataFrame, choice: Choice) -> Iterator[Case | Absent]:
    if runs.empty:
        yield Absent("rectified L(D), best epoch", "fine-tuning", "the table has no run of the arm finetune")
        return
    for source, rows in runs.groupby("init"):
        tuned = rows[rows.arm == "finetune"]
        for _, at_size in rows.groupby("n_params"):
            within = at_size[~at_size.hit_budget]
            of = f"fine-tuned from {source} ({choice.unit}), N = {at_size[choice.n].iloc[0]:,}"
            yield Case(RECTIFIED, of, within, "test_loss", {"D": "d_chars"}, None, len(at_size) - len(within))
        yield _best_epoch(f"fine-tuned from {source} ({choice.unit})", tuned, choice)


def _best_epoch(of: str, runs: pd.DataFrame, choice: Choice) -> Case | Absent:
    if "best_epoch" not in runs.columns:
        return Absent(BEST_EPOCH.name, of, "no column best_epoch")
    within = runs[~runs.hit_budget]
    rows = within[within.best_epoch > 0]
    without = len(within) - len(rows)
    return Case(
        BEST_EPOCH,
        of,
        rows,
        "best_epoch",
        {"N": choice.n, "D": "d_chars"},
        groups=("d_chars", "seed"),
        at_budget=len(runs) - len(within),
        note=f"{without} runs without a best epoch, or best before the first step, left out" if without else "",
    )


@dataclass(frozen=True)
class Race:
    """From scratch against fine-tuned on the same data: frontiers of compute over the sizes, means over seeds."""

    source: str
    d_chars: int
    with_pretraining: bool
    scratch: Frontier
    tuned: Frontier
    crossover: Crossover


def races(runs: pd.DataFrame, choice: Choice) -> Iterator[Race | Absent]:
    """One for each source and D that both arms have at two sizes or more, without the FLOPs of pre-training and with
    them (those of the same source and size), after the pre-training of `longest_pretraining`."""
    if choice.flops not in runs.columns:
        yield Absent("compute frontier", "any arm", f"no column {choice.flops}")
        return
    trained = runs[(runs.unit == choice.unit) & runs.arm.isin(["scratch", "finetune"])]
    trained = longest_pretraining(trained, ["init", "n_params"])
    means = trained.groupby(["init", "d_chars", "n_params"])[["test_loss", choice.flops]].mean().reset_index()
    pairs = [
        (str(source), int(d), means[(means.init == "scratch") & (means.d_chars == d)], tuned)
        for (source, d), tuned in means[means.init != "scratch"].groupby(["init", "d_chars"])
    ]
    pairs = [pair for pair in pairs if min(len(pair[2]), len(pair[3])) > 1]
    if not pairs:
        yield Absent("compute frontier", "any arm", "no D has from-scratch and fine-tuned runs at two sizes or more")
    for source, d, scratch, tuned in pairs:
        of, both = f"{source}, D = {d:,}", pd.concat([scratch, tuned])
        if unknown := [f"{n:,}" for n in sorted(set(both.n_params[both[choice.flops].isna()]))]:
            why = f"column {choice.flops} is null for all runs of N = {', '.join(unknown)}, from scratch or fine-tuned"
            yield Absent("compute frontier", of, why)
            continue
        reference = compute_frontier(scratch[choice.flops], scratch.test_loss)
        lengths = trained[trained.init == source].groupby("n_params").pretrain_tokens.first()
        pretraining = tuned.n_params.map(_pretraining_flops(runs, source, lengths, choice))
        for counted in (False, True):
            flops = tuned[choice.flops] + pretraining if counted else tuned[choice.flops]
            if flops.isna().any():
                why = "not every size has the FLOPs of its pre-training, or the column corpus does not name the source"
                yield Absent("compute frontier with pre-training", of, why)
                continue
            own = compute_frontier(flops, tuned.test_loss)
            yield Race(source, d, counted, reference, own, crossover(reference, own))


def _pretraining_flops(runs: pd.DataFrame, source: str, lengths: pd.Series, choice: Choice) -> dict[int, float]:
    """By N, means over seeds, of the longest that is no longer than what fine-tuned runs start from (`lengths`, tokens by N;
    0 where the table does not tell).  A table without the column corpus must have a single source."""
    pretrained = runs[runs.arm == "pretrain"]
    if "corpus" in runs.columns:
        pretrained = pretrained[pretrained.corpus == source]
    elif runs.init[runs.arm == "finetune"].nunique() > 1:
        return {}
    if "d_tokens" in runs.columns:
        told = pretrained.n_params.map(lengths[lengths > 0]).fillna(np.inf)
        pretrained = pretrained[pretrained.d_tokens <= 1.1 * told]
    length = pretrained["d_tokens" if "d_tokens" in runs.columns else "d_chars"]
    pretrained = pretrained[length > 0.9 * length.groupby(pretrained.n_params).transform("max")]
    return pretrained.groupby("n_params")[choice.flops].mean().to_dict()
