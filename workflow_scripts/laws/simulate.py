"""A table of simulated runs, drawn from a planted law (`training/planted.py`): what the estimators must recover, what
figures can be drawn from, and what a design of an experiment would show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from workflow_scripts.training.planted import CHARACTERS_PER_TOKEN, Noise, Planted, epochs

SIZES = {"6k": 6_144, "14k": 13_824, "25k": 24_576, "55k": 55_296, "98k": 98_304, "197k": 196_608}
FINETUNE = (6_000, 10_000, 20_000, 35_000, 60_000, 200_000)
SCRATCH = (6_000, 10_000, 20_000, 35_000, 60_000, 100_000, 200_000, 350_000, 600_000)

QUICKSTART, USUAL_NOISE = Planted(), Noise()
EMBEDDING_PARAMETERS = 36_000


def simulate_runs(
    *,
    planted: Planted = QUICKSTART,
    noise: Noise = USUAL_NOISE,
    sizes: dict[str, int] = SIZES,
    finetune: Sequence[int] = FINETUNE,
    scratch: Sequence[int] = SCRATCH,
    seeds: Sequence[int] = (0, 1),
    source: str = "english",
    document_size: str | None = "25k",
    pretrain_tokens: int = 4_000_000,
    random_seed: int = 0,
) -> pd.DataFrame:
    """A runs table with the columns of `laws/runs.parquet` that laws and figures read, on the unit `excerpt`.

    `document_size` names the one size that is also run on the unit `document`, where a set of the same size teaches
    a from-scratch model less and pre-training is worth more; None leaves it out.
    """
    random = np.random.default_rng(random_seed)
    rows = []
    units = {"excerpt": dict(sizes)} | ({"document": {document_size: sizes[document_size]}} if document_size else {})
    models = {(size, seed): noise.pretrain * random.standard_normal() for size in sizes for seed in seeds}
    for size, n_params in sizes.items():
        for seed in seeds:
            loss = planted.scratch_loss(n_params, 200 * pretrain_tokens) + 0.3 + noise.run * random.standard_normal()
            common = {"size": size, "n_params": n_params, "seed": seed, "tokens": pretrain_tokens}
            rows.append({**common, "arm": "pretrain", "d_chars": round(4.0 * pretrain_tokens), "loss": loss})
            loss = planted.scratch_loss(n_params, planted.effective_data(n_params, 0)) + models[size, seed]
            rows.append({**common, "arm": "zero_shot", "init": source, "d_chars": 0, "loss": loss})
    for unit, unit_sizes in units.items():
        worth = 1.0 if unit == "excerpt" else 0.4
        prefixes = {seed: _prefix_noise((*finetune, *scratch), noise.prefix, random) for seed in seeds}
        cells = [("finetune", d) for d in finetune] + [("scratch", d) for d in scratch]
        for (size, n_params), (arm, d), seed in (
            (item, cell, seed) for item in unit_sizes.items() for cell in cells for seed in seeds
        ):
            effective = planted.effective_data(n_params, d) if arm == "finetune" else d * worth
            away = prefixes[seed][d] + noise.run * random.standard_normal()
            if arm == "finetune":
                away += models[size, seed]
            loss = planted.scratch_loss(n_params, effective) + noise.of(d) * away
            row = {"size": size, "n_params": n_params, "seed": seed, "arm": arm, "d_chars": d, "loss": loss}
            rows.append(row | {"unit": unit, "init": source if arm == "finetune" else "scratch"})
    return _complete(pd.DataFrame(rows), pretrain_tokens)


def _prefix_noise(sizes: Sequence[int], deviation: float, random: np.random.Generator) -> dict[int, float]:
    """One draw for each D: nested prefixes D < D' share D of their D' characters, a correlation of sqrt(D / D')."""
    d = np.array(sorted(set(sizes)), dtype=float)
    correlation = np.sqrt(np.minimum.outer(d, d) / np.maximum.outer(d, d))
    values = deviation * np.linalg.cholesky(correlation) @ random.standard_normal(len(d))
    return dict(zip(d.astype(int).tolist(), values.tolist(), strict=True))


def _complete(rows: pd.DataFrame, pretrain_tokens: int) -> pd.DataFrame:
    """Adds the columns that follow from the others, in the order of `laws/runs.parquet`."""
    target_tokens = (rows.d_chars / CHARACTERS_PER_TOKEN).round().astype(int)
    d_tokens = rows.tokens.fillna(target_tokens).where(rows.arm != "zero_shot", 0).astype(int)
    passes = np.select([rows.arm == "pretrain", rows.arm == "zero_shot"], [1, 0], rows.d_chars.map(epochs))
    best_tokens = (d_tokens * passes).round().astype(int)
    return pd.DataFrame(
        {
            "arm": rows.arm,
            "init": rows.init.fillna("scratch"),
            "unit": rows.unit,
            "size": rows["size"],
            "n_params": rows.n_params,
            "n_params_total": rows.n_params + EMBEDDING_PARAMETERS,
            "d_chars": rows.d_chars,
            "d_chars_used": rows.d_chars,
            "d_bytes": rows.d_chars,
            "d_tokens": d_tokens,
            "n_units": (d_tokens // 256).clip(lower=(rows.d_chars > 0).astype(int)),
            "pretrain_tokens": rows.arm.isin(["zero_shot", "finetune"]).map({True: pretrain_tokens}).astype("Int64"),
            "seed": rows.seed,
            "val_loss": rows.loss,
            "test_loss": rows.loss,
            "test_bits_per_byte": rows.loss / np.log(2) / CHARACTERS_PER_TOKEN,
            "best_tokens": best_tokens,
            "best_epoch": passes.astype(float),
            "hit_budget": False,
            "unstable": False,
            "learning_rate": 0.003,
            "batch_tokens": 512,
            "noise_scale_tokens": 2000.0 * rows.n_params**0.1,
            "batch_above_noise_scale": False,
            "flops": 6.0 * rows.n_params * best_tokens,
            "flops_with_head": 6.0 * (rows.n_params + EMBEDDING_PARAMETERS) * best_tokens,
            "train_seconds": 6.0 * rows.n_params * best_tokens / 1e10,
            "evaluation_seconds": 0.0,
            "simulated": True,
            "status": "ok",
            "failure": None,
        }
    )
