"""What a run is expected to take, in steps and in evaluated tokens, before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from workflow_scripts.experiment import Experiment
from workflow_scripts.grid import Run

START_SECONDS = 5.0
"""Of a process, for its imports."""
STEP_SECONDS, SECONDS_PER_FLOP = 6.8e-3, 2.2e-11
"""Of a nominal core, for the relative costs behind the progress line: 8 ms at 3 k parameters, 21 ms at 124 k."""
BEST_STEP = {"steps": 24_600.0, "steps_of_n": -0.0701, "tokens": 413_900.0, "tokens_of_n": -0.1891, "sharpness": 1.17}
"""Fitted to the quickstart's from-scratch runs (N relative to 20,000): steps of all runs of a size are met within a factor
1.13, those of the fine-tuned ones within 1.34."""
SET_COPIES = 3.4
"""Of a data set in host memory, at its peak: its units, the set, and the pages of its file (3.25 to 3.5 on 95 M tokens)."""


@dataclass(frozen=True)
class Expectation:
    """What is known of an experiment only when it has been run; the defaults are the quickstart's."""

    characters_per_token: float = 1.54
    """Of the target; here of Python under an English tokenizer of 1,024."""
    epochs: float | None = None
    """Passes over a set up to the best point, whatever N and D; None: `best_step`."""


QUICKSTART = Expectation()


def best_step(n_params: int, tokens: float) -> float:
    """Step of the best loss of a run on `tokens`: few where it soon overfits; where the data is large for the model, many
    and the same for every set, since the loss then falls as a slow power of the steps."""
    n = n_params / 20_000
    enough = BEST_STEP["tokens"] * n ** BEST_STEP["tokens_of_n"]
    return BEST_STEP["steps"] * n ** BEST_STEP["steps_of_n"] / (1 + (enough / tokens) ** BEST_STEP["sharpness"])


def expected_steps(experiment: Experiment, run: Run, expected: Expectation = QUICKSTART) -> float:
    """Steps until a run ends; 0 for the evaluation of pre-trained weights.  Those of a small set, whose batch is smaller, are
    priced as any."""
    recipe, n_params = experiment.recipe, experiment.shapes[run.size].parameter_counts()["body"]
    if run.arm == "zero_shot":
        return 0.0
    pretrain = run.arm == "pretrain"
    tokens = experiment.pretrain.tokens if pretrain else run.characters / expected.characters_per_token
    batch_tokens = recipe.sequences_of(int(tokens), experiment.model.n_ctx) * experiment.model.n_ctx
    if pretrain:
        return tokens / batch_tokens
    budget = recipe.budget_epochs * tokens / batch_tokens
    if not recipe.has_patience:
        return budget
    best = best_step(n_params, tokens) if expected.epochs is None else expected.epochs * tokens / batch_tokens
    steps = recipe.patience * max(best, recipe.least_steps(tokens / batch_tokens))
    return min(steps, budget)


def devices_of(experiment: Experiment) -> int:
    """Processes that train a run together: one a GPU, or one a node without any."""
    return max(experiment.gpu, experiment.nodes)


def set_mb(experiment: Experiment, run: Run, expected: Expectation = QUICKSTART) -> float:
    """Host memory (MB) of the data set that a run is trained on."""
    pretrain = run.arm == "pretrain"
    tokens = experiment.pretrain.tokens if pretrain else (run.characters or 0) / expected.characters_per_token
    return SET_COPIES * token_bytes(experiment) * tokens / 1e6


def token_bytes(experiment: Experiment) -> int:
    """Of a token, in its file and in memory."""
    return 2 if experiment.tokenizer.vocab_size <= 2**16 else 4


def seconds_ahead(experiment: Experiment, seconds: Mapping[str, float]) -> dict[str, float]:
    """Until each training job is done, and the longest one that waits for it, from the seconds of every job."""
    ahead = dict(seconds)
    for run in (*experiment.runs, *experiment.sweep_runs):
        job = experiment.job(run)
        if run.arm in ("zero_shot", "finetune") and job in seconds:
            first = experiment.job(replace(run, arm="pretrain", sweep=None))
            ahead[first] = max(ahead[first], seconds[first] + seconds[job])
    return ahead


def expected_cost(experiment: Experiment, run: Run) -> float:
    """Seconds of a nominal core, for the order of jobs and the expected end in the progress line; simulated runs are all
    alike.  What a run takes besides its steps is about the start of a process."""
    if experiment.simulated:
        return 1.0
    flops = experiment.shapes[run.size].flops_per_token(with_head=True)
    step = STEP_SECONDS + SECONDS_PER_FLOP * flops * experiment.recipe.batch_sequences * experiment.model.n_ctx
    return START_SECONDS + expected_steps(experiment, run) * step


def evaluated_tokens(experiment: Experiment, steps: float) -> tuple[float, float]:
    """Tokens of the evaluations of a run of so many steps: of all on the way, and of the final ones."""
    recipe, evaluation = experiment.recipe, experiment.evaluation
    looks = math.log(max(steps / recipe.first_evaluation, 1)) / math.log(recipe.evaluation_growth) + 2
    return looks * evaluation.stop_tokens if steps else 0.0, evaluation.validation_tokens + evaluation.test_tokens
