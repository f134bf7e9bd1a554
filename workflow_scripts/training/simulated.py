"""Draws runs from a planted law instead of training them: the same files in the same places, in no time.

python -m workflow_scripts.training.simulated --runs JSON --out MANIFEST

Every file says that it is simulated.  A run is a function of its declared choices alone: what its luck shares with other
runs (the pre-trained model, the prefix of the shuffle) is drawn from what they have in common.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from workflow_scripts.code_identity import code_hash, require_code
from workflow_scripts.files import write_json
from workflow_scripts.grid import FILES, manifest_of
from workflow_scripts.store import canonical_json, only_writer, produce
from workflow_scripts.training.planted import CHARACTERS_PER_TOKEN, Noise, Planted, Surface, epochs
from workflow_scripts.training.progress import print_report
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.shape import ModelShape

CODE = "workflow_scripts.training.simulated"
"""The module whose closure decides what a simulated run says."""
PREFIX_STEP = 0.01
"""Of the lattice in ln D on which the noise of nested prefixes is drawn."""
LARGEST_LN_D = 40.0
DOCUMENT_TOKENS = 1000
EVALUATIONS = 40


def luck(*what: Any) -> np.random.Generator:
    """Random numbers that belong to `what`: the same in every run that asks for them."""
    digest = hashlib.sha256(canonical_json(what).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


@cache
def prefix_path(unit_tokens: int | None, seed: int) -> np.ndarray:
    """Standard normal values over a lattice of ln D that correlate with sqrt(D / D') at D < D': those of a random walk
    over the characters of one shuffle, divided by its spread."""
    d = np.exp(np.arange(0.0, LARGEST_LN_D, PREFIX_STEP))
    steps = np.sqrt(np.diff(d, prepend=0.0)) * luck("prefix", unit_tokens, seed).standard_normal(len(d))
    return np.cumsum(steps) / np.sqrt(d)


def loss_of(specification: Mapping[str, Any], n_params: int, characters: int) -> float:
    """Nats per token; `characters` is the size of the set, 0 for the pre-trained weights as they are."""
    truth, data, initial = specification["simulated"], specification["data"], specification["initial"]
    planted, noise = Planted(**(truth["law"] or {}), **truth["loss"]), Noise(**truth["noise"])
    effective = planted.effective_data(n_params, characters) if initial else characters
    away = 0.0
    if initial:
        away += noise.pretrain * luck("pretrain", initial).standard_normal()
    if "characters" in data and characters:
        at = round(np.log(characters) / PREFIX_STEP)
        away += noise.prefix * prefix_path(data["unit_tokens"], specification["seed"])[at]
    if characters:
        away += noise.run * luck("run", specification).standard_normal()
    of_d = noise.of(characters) if "characters" in data else 1.0
    return float(planted.scratch_loss(n_params, effective) + of_d * away)


def simulate(specification: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a run, with the keys of a trained one (`training/cell.py`).  Counts are those of the experiment that
    it stands for; it took no time, and has no gradients to tell a noise scale from."""
    shape, recipe, data = ModelShape(**specification["model"]), Recipe(**specification["recipe"]), specification["data"]
    characters = data["characters"] if "characters" in data else round(data["tokens"] * CHARACTERS_PER_TOKEN)
    tokens = data.get("tokens", round(characters / CHARACTERS_PER_TOKEN))
    counts = shape.parameter_counts()
    loss = loss_of(specification, counts["body"], characters)
    passes = 1.0 if "tokens" in data else epochs(characters) if characters else 0.0
    batch_tokens = recipe.sequences_of(tokens, shape.n_ctx) * shape.n_ctx
    steps = -int(-passes * tokens // batch_tokens)
    return {
        "parameters": counts,
        "learning_rate": recipe.peak_learning_rate(counts["body"], tokens) if tokens else None,
        "weight_decay": recipe.weight_decay_of(counts["body"], tokens) if tokens else None,
        "batch_tokens": batch_tokens if tokens else None,
        "data": {
            "characters": characters,
            "bytes": characters,
            "tokens": tokens,
            "units": -(-tokens // (data["unit_tokens"] or DOCUMENT_TOKENS)),
        },
        "status": "ok",
        "failure": None,
        "outcome": {
            "val_loss": loss,
            "test_loss": loss,
            "test_bits_per_byte": loss / np.log(2) / CHARACTERS_PER_TOKEN,
            "stopped_by": "patience" if passes > 1 else "plan",
            "best_step": steps,
            "best_tokens": steps * batch_tokens,
            "best_epoch": steps * batch_tokens / tokens if tokens else 0.0,
            "steps": steps,
            "loss_spike": 0.0,
            "gradient_spike": 0.0,
            "noise_scale_tokens": None,
            "batch_above_noise_scale": False,
            "unstable": False,
            "flops": steps * batch_tokens * shape.flops_per_token(with_head=False),
            "flops_with_head": steps * batch_tokens * shape.flops_per_token(with_head=True),
            "seconds": 0.0,
            "evaluation_seconds": 0.0,
        },
    }


def curve(specification: Mapping[str, Any], record: Mapping[str, Any]) -> pa.Table:
    """Evaluations on the way to the best point (that alone for a run without a step): of a pre-training down the planted
    surface, of other runs from the loss of a uniform guess."""
    batch_tokens = record["batch_tokens"] or 0
    last, loss = record["outcome"]["best_step"], record["outcome"]["val_loss"]
    steps = np.unique(np.geomspace(1, last, EVALUATIONS).round().astype(np.int64)) if last else np.zeros(1, np.int64)
    if "tokens" in specification["data"]:
        surface = Surface(**specification["simulated"]["loss"])
        seen = surface.scratch_loss(record["parameters"]["body"], steps * batch_tokens * CHARACTERS_PER_TOKEN)
        losses = seen + loss - seen[-1]
    else:
        fallen = np.log1p(steps) / np.log1p(last) if last else np.ones(1)
        losses = loss + (np.log(specification["model"]["vocab_size"]) - loss) * (1 - fallen)
    return pa.table(
        {
            "step": steps,
            "tokens": steps * batch_tokens,
            "validation_loss": losses,
            "train_loss": losses,
            "simulated": np.ones(len(steps), dtype=bool),
        }
    )


def write(identity: Mapping[str, Any], folder: Path) -> None:
    """The files of a run; that of the weights holds no tensor."""
    specification = identity["specification"]
    record = simulate(specification)
    save_file({}, folder / "model.safetensors", {"simulated": "true"})
    pq.write_table(curve(specification, record), folder / "curve.parquet")
    write_json(folder / "run.json", {"identity": identity, **record})


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", required=True, type=json.loads, help="JSON object: run folder -> declared choices")
    parser.add_argument("--code", help="the hash of this code that is asked for; another one is refused")
    parser.add_argument("--out", required=True, type=Path, help="manifest of the runs, written when all are done")
    parser.add_argument("--threads", type=int, help="as for training; nothing here takes time")
    parser.add_argument("--initial", type=Path, help="as for training; nothing here starts from weights")
    parser.add_argument("--plan", type=Path, help="what the whole experiment has to do, for the progress line")
    arguments = parser.parse_args(argv)
    require_code(CODE, arguments.code)
    manifest = {}
    with only_writer(arguments.out.with_suffix(".lock")):
        for name, specification in arguments.runs.items():
            identity = {"specification": specification, "code": code_hash(CODE)}
            outputs = {file: Path(name) / file for file in FILES}
            entry = produce("simulated", identity, outputs, partial(write, identity))
            manifest[name] = manifest_of(entry) | {"simulated": True}
        write_json(arguments.out, manifest)
    if arguments.plan:
        print_report(arguments.plan)


if __name__ == "__main__":
    main()
