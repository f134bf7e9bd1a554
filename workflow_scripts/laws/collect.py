"""Step `collect`: run folders -> `runs.parquet`, one tidy row a run, and `learning_curves.parquet`, a row an evaluation.

python -m workflow_scripts.laws.collect --experiment JSON --training E/training --out E/laws/runs.parquet
    --curves E/laws/learning_curves.parquet
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from workflow_scripts.experiment import Experiment
from workflow_scripts.files import read_json, written

WARM = 4.0
"""Lengths of the warm-up after which a learning curve says what a run of that length would have reached."""
OF_A_CURVE = (
    "arm",
    "corpus",
    "unit",
    "size",
    "n_params",
    "n_params_total",
    "seed",
    "d_chars",
    "d_tokens",
    "batch_tokens",
    "simulated",
)


def row(labels: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """A run's row: its place in the experiment (`labels`), its counts and its outcome (`record`, a run.json).

    Losses are in nats a token and bits a byte; D in characters, bytes and tokens; FLOPs and tokens are those
    presented up to the best point.
    """
    specification, data, parameters = record["identity"]["specification"], record["data"], record["parameters"]
    outcome = record["outcome"] or {}
    pretrain = labels["arm"] == "pretrain"
    initial = specification["initial"]
    return {
        **labels,
        "n_params": parameters["body"],
        "n_params_total": parameters["total"],
        "d_chars": data["characters"] if pretrain else specification["data"]["characters"],
        "d_chars_used": data["characters"],
        "d_bytes": data["bytes"],
        "d_tokens": data["tokens"],
        "n_units": data["units"],
        "pretrain_tokens": initial["data"]["tokens"] if initial else None,
        "seed": specification["seed"],
        "trainable": specification["trainable"],
        "learning_rate": record["learning_rate"],
        "simulated": "simulated" in specification,
        "status": record["status"],
        "failure": record["failure"],
        "val_loss": outcome.get("val_loss"),
        "test_loss": outcome.get("test_loss"),
        "test_bits_per_byte": outcome.get("test_bits_per_byte"),
        "best_tokens": outcome.get("best_tokens"),
        "best_epoch": outcome.get("best_epoch"),
        "hit_budget": outcome.get("stopped_by") == "budget",
        "unstable": outcome.get("unstable", False),
        "loss_spike": outcome.get("loss_spike"),
        "gradient_spike": outcome.get("gradient_spike"),
        "batch_tokens": record["batch_tokens"],
        "noise_scale_tokens": outcome.get("noise_scale_tokens"),
        "batch_above_noise_scale": outcome.get("batch_above_noise_scale", False),
        "flops": _float(outcome.get("flops")),
        "flops_with_head": _float(outcome.get("flops_with_head")),
        "train_seconds": outcome.get("seconds"),
        "evaluation_seconds": outcome.get("evaluation_seconds"),
    }


def _float(count: int | None) -> float | None:
    """FLOPs of a large run are more than 64 bits count."""
    return None if count is None else float(count)


def learning_curve(record: Mapping[str, Any], curve: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Evaluations of a run on its way to its best point, that included: tokens presented, validation loss in nats per
    token.  Those within `WARM` warm-ups are left out: they tell of the warm-up."""
    best, tokens = record["outcome"]["best_tokens"], curve["tokens"]
    warm = curve["step"] >= WARM * record["identity"]["specification"]["recipe"]["warmup_steps"]
    kept = (tokens == best) | (warm & (tokens < best))
    return {"tokens": tokens[kept], "loss": curve["validation_loss"][kept]}


def read_curve(path: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(path, columns=["step", "tokens", "validation_loss"])
    return {name: table.column(name).to_numpy() for name in table.column_names}


def beside_their_runs(curves: Mapping[int, Mapping[str, np.ndarray]], table: pd.DataFrame) -> pd.DataFrame:
    """A row an evaluation: `curves` by the row of their run in `table`, with what that says of the run."""
    lengths = [len(curve["tokens"]) for curve in curves.values()]
    points = table.loc[np.repeat(list(curves), lengths), list(OF_A_CURVE)].reset_index(drop=True)
    for place, name in enumerate(("tokens", "loss")):
        values = [curve[name] for curve in curves.values()]
        points.insert(place, name, np.concatenate(values) if values else [])
    return points


def read_record(training: Path, folder: str, experiment: Experiment) -> dict[str, Any]:
    """The `run.json` of a run.  Raises SystemExit if it is missing, or simulated where the experiment measures or measured
    where it is simulated."""
    path = training / folder / "run.json"
    if not path.exists():
        raise SystemExit(f"{path}: the run is missing; delete the manifest of its job beside it and run again")
    record = read_json(path)
    if ("simulated" in record["identity"]["specification"]) != (experiment.simulated is not None):
        found, expected = ("measured", "simulated") if experiment.simulated else ("simulated", "measured")
        raise SystemExit(
            f"{path}: the run is {found}, and those of {experiment.experiment} are {expected}; the two are never mixed:"
            " delete the run and the manifest of its job beside it, and run again"
        )
    return record


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Collect run folders into one table.")
    parser.add_argument("--experiment", required=True, type=json.loads, help="configuration, as JSON")
    parser.add_argument("--training", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--curves", required=True, type=Path, help="of pre-training and training from scratch")
    arguments = parser.parse_args(argv)
    experiment, rows, curves = Experiment.parse(arguments.experiment, "--experiment"), [], {}
    for folder, labels in experiment.labels().items():
        record = read_record(arguments.training, folder, experiment)
        if labels["arm"] in ("pretrain", "scratch") and record["status"] == "ok":
            curves[len(rows)] = learning_curve(record, read_curve(arguments.training / folder / "curve.parquet"))
        rows.append(row(labels, record))
    table = pd.DataFrame(rows).astype(dict.fromkeys(("pretrain_tokens", "best_tokens", "batch_tokens"), "Int64"))
    for place, collected in ((arguments.out, table), (arguments.curves, beside_their_runs(curves, table))):
        with written(place) as temporary:
            collected.to_parquet(temporary, index=False)


if __name__ == "__main__":
    main()
