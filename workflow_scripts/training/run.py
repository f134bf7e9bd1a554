"""Trains runs one after another in one process; each has its own entry in the store, and its own checkpoint.

python -m workflow_scripts.training.run --runs JSON --tokens E/tokens [--initial FOLDER] --out MANIFEST
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from workflow_scripts.code_identity import code_hash
from workflow_scripts.files import read_json, sha256, write_json
from workflow_scripts.store import STORE, key_of, produce
from workflow_scripts.training.data import Batches, Corpus, DataError, TokenSet, windows
from workflow_scripts.training.devices import device
from workflow_scripts.training.loop import Progress, Task, Trained, TrainingFailure, held_out_loss, train
from workflow_scripts.training.model import GPT
from workflow_scripts.training.progress import print_report
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.shape import ModelShape

FILES = ("run.json", "curve.parquet", "model.safetensors")
HELD_OUT_SEED = 0
SPIKE_NATS = 0.5
SPIKE_STEPS = 10


class Runner:
    """What the runs of one process share: tokens, device, folders."""

    def __init__(self, tokens: Path, initial: Path | None, device: torch.device, checkpoint_seconds: float) -> None:
        self.tokens, self.device, self.checkpoint_seconds = tokens, device, checkpoint_seconds
        self.initial = initial / "model.safetensors" if initial else None
        if self.initial and not self.initial.exists():
            raise DataError(f"{self.initial}: the pre-trained weights are missing; delete {initial}.json and run again")
        self.corpora: dict[str, Corpus] = {}

    def corpus(self, name: str) -> Corpus:
        if name not in self.corpora:
            self.corpora[name] = Corpus(self.tokens / name)
        return self.corpora[name]

    def identity(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """The declared choices and the content of everything the run reads."""
        return {
            "spec": spec,
            "tokens": sha256(self.tokens / spec["data"]["corpus"] / "manifest.json"),
            "initial_weights": sha256(self.initial) if self.initial else None,
            "code": code_hash("workflow_scripts.training.loop"),
        }

    def train(self, target: Path, spec: Mapping[str, Any]) -> Path:
        """Makes (or finds) the run in the store, links it as the folder `target`, returns its entry."""
        identity = self.identity(spec)
        state = STORE / "runs" / f"{key_of(identity)}.state"

        def make(folder: Path) -> None:
            state.mkdir(parents=True, exist_ok=True)
            self._make(identity, folder, state)
            shutil.rmtree(state)

        return produce("runs", identity, {file: target / file for file in FILES}, make)

    def _make(self, identity: dict[str, Any], folder: Path, state: Path) -> None:
        spec = identity["spec"]
        shape = ModelShape(**spec["model"])
        initial = load_file(self.initial) if self.initial else None
        corpus, data = self.corpus(spec["data"]["corpus"]), self._training_set(spec)
        record: dict[str, Any] = {
            "identity": identity,
            "parameters": shape.parameter_counts(),
            "learning_rate": Recipe(**spec["recipe"]).learning_rate_at(shape.parameter_counts()["body"], 10**9),
            "data": {
                "characters": data.characters if data else 0,
                "bytes": data.bytes if data else 0,
                "tokens": len(data.tokens) if data else 0,
                "units": data.units if data else 0,
            },
            "status": "ok",
            "failure": None,
        }
        try:
            trained = self._train(spec, shape, corpus, data, initial, state)
        except TrainingFailure as failure:
            record |= {"status": "failed", "failure": str(failure), "outcome": None}
            trained = Trained(initial or GPT(shape).state_dict(), Progress(), "failure")
        else:
            record["outcome"] = self._outcome(spec, shape, corpus, trained, data)
        save_file({key: tensor.contiguous() for key, tensor in trained.weights.items()}, folder / "model.safetensors")
        pd.DataFrame(trained.progress.curve).to_parquet(folder / "curve.parquet")
        write_json(folder / "run.json", record)

    def _training_set(self, spec: Mapping[str, Any]) -> TokenSet | None:
        data = spec["data"]
        if data.get("characters") == 0:
            return None
        size = {key: data[key] for key in ("characters", "tokens") if key in data}
        return self.corpus(data["corpus"]).prefix("train", data["unit_tokens"], spec["seed"], **size)

    def _held_out(self, spec: Mapping[str, Any], split: str, tokens: int) -> np.ndarray:
        n_ctx, evaluation = spec["model"]["n_ctx"], spec["evaluation"]
        corpus = self.corpus(spec["data"]["corpus"])
        prefix = corpus.prefix(split, evaluation["unit_tokens"], HELD_OUT_SEED, tokens=tokens)
        return windows(prefix.tokens, n_ctx)

    def _train(
        self,
        spec: Mapping[str, Any],
        shape: ModelShape,
        corpus: Corpus,
        data: TokenSet | None,
        initial: dict[str, torch.Tensor] | None,
        state: Path,
    ) -> Trained:
        if data is None:
            return Trained(initial, Progress(), "plan")
        recipe = Recipe(**spec["recipe"])
        task = Task(
            shape=shape,
            recipe=recipe,
            seed=spec["seed"],
            batches=Batches(data.tokens, shape.n_ctx, recipe.batch_sequences, spec["seed"]),
            stop_windows=self._held_out(spec, "validation", spec["evaluation"]["stop_tokens"]),
            one_pass="tokens" in spec["data"],
            initial_weights=initial,
        )
        return train(task, state, self.device, self.checkpoint_seconds)

    def _outcome(
        self, spec: Mapping[str, Any], shape: ModelShape, corpus: Corpus, trained: Trained, data: TokenSet | None
    ) -> dict[str, Any]:
        """Losses at the best weights on full passes, and what it took to reach them."""
        model = GPT(shape).requires_grad_(False)
        model.load_state_dict(trained.weights)
        model.to(self.device)
        validation = self._held_out(spec, "validation", spec["evaluation"]["validation_tokens"])
        test = self._held_out(spec, "test", spec["evaluation"]["test_tokens"])
        test_loss = held_out_loss(model, test, self.device)
        targets = test[:, 1:]
        progress = trained.progress
        best_tokens = progress.best_step * Recipe(**spec["recipe"]).batch_sequences * shape.n_ctx
        loss_spike = largest_rise(progress.curve)
        return {
            "val_loss": held_out_loss(model, validation, self.device),
            "test_loss": test_loss,
            "test_bits_per_byte": test_loss * targets.size / (np.log(2) * int(corpus.bytes_of[targets].sum())),
            "best_step": progress.best_step,
            "best_tokens": best_tokens,
            "best_epoch": best_tokens / len(data.tokens) if data else 0.0,
            "steps": progress.step,
            "stopped_by": trained.stopped_by,
            "loss_spike": loss_spike,
            "unstable": loss_spike > SPIKE_NATS,
            "flops": best_tokens * shape.flops_per_token(with_head=False),
            "flops_with_head": best_tokens * shape.flops_per_token(with_head=True),
            "seconds": progress.seconds,
        }


def largest_rise(curve: list[dict[str, Any]]) -> float:
    """Largest rise (nats) of the training loss between evaluations above the lowest mean before it.

    Intervals of fewer than 10 steps are too noisy to count.
    """
    lowest, largest, before = np.inf, 0.0, 0
    for row in curve:
        steps, before = row["step"] - before, row["step"]
        if steps >= SPIKE_STEPS:
            largest = max(largest, row["train_loss"] - lowest)
            lowest = min(lowest, row["train_loss"])
    return float(largest)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", required=True, type=json.loads, help="JSON object: run folder -> declared choices")
    parser.add_argument("--tokens", required=True, type=Path)
    parser.add_argument("--initial", type=Path, help="folder of the run whose weights these runs start from")
    parser.add_argument("--out", required=True, type=Path, help="manifest of the runs, written when all are done")
    parser.add_argument("--plan", type=Path, help="what the whole experiment has to do, for the progress line")
    parser.add_argument("--checkpoint-seconds", type=float, default=60.0)
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    manifest = {}
    try:
        with device(arguments.gpus) as chosen:
            runner = Runner(arguments.tokens, arguments.initial, chosen, arguments.checkpoint_seconds)
            for name, spec in arguments.runs.items():
                entry = runner.train(Path(name), spec)
                manifest[name] = {"key": entry.name, "status": read_json(entry / "run.json")["status"]}
                manifest[name]["weights"] = sha256(entry / "model.safetensors")
                if arguments.plan:
                    print_report(arguments.plan)
    except DataError as error:
        sys.exit(str(error))
    write_json(arguments.out, manifest)


if __name__ == "__main__":
    main()
