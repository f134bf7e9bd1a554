"""Trains runs one after another in one process; each has its own entry in the store, and its own checkpoint.

python -m workflow_scripts.training.run --runs JSON --tokens E/tokens [--initial FOLDER] --out MANIFEST
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from workflow_scripts.code_identity import code_hash
from workflow_scripts.corpora.errors import one_message
from workflow_scripts.files import read_json, sha256, write_json
from workflow_scripts.store import STORE, key_of, only_writer, produce
from workflow_scripts.training.cell import Cell
from workflow_scripts.training.checkpoint import CURRENT
from workflow_scripts.training.data import Corpus, DataError
from workflow_scripts.training.devices import device
from workflow_scripts.training.progress import print_report

FILES = ("run.json", "curve.parquet", "model.safetensors")
CODE = "workflow_scripts.training.cell"
"""The module whose closure decides what a run's numbers are."""


class Runner:
    """What the runs of one process share: tokens, initial weights, device."""

    def __init__(self, tokens: Path, initial: Path | None, device: torch.device, checkpoint_seconds: float) -> None:
        self.tokens, self.device, self.checkpoint_seconds = tokens, device, checkpoint_seconds
        self.initial = initial / "model.safetensors" if initial else None
        if initial:
            _require_weights(initial)
        self.corpus = cache(lambda name: Corpus(self.tokens / name))

    def identity(self, specification: Mapping[str, Any]) -> dict[str, Any]:
        """The declared choices, the content of everything the run reads, and the code."""
        return {
            "specification": specification,
            "tokens": sha256(self.tokens / specification["data"]["corpus"] / "manifest.json"),
            "initial_weights": sha256(self.initial) if self.initial else None,
            "code": code_hash(CODE),
        }

    def train(self, target: Path, specification: Mapping[str, Any]) -> Path:
        """Makes (or finds) the run in the store, links it as the folder `target`, returns its entry."""
        identity = self.identity(specification)
        state = STORE / "runs" / f"{key_of(identity)}.state"

        def make(folder: Path) -> None:
            state.mkdir(parents=True, exist_ok=True)
            if (state / CURRENT).exists():
                print(f"{target}: going on from its checkpoint", file=sys.stderr, flush=True)
            initial = load_file(self.initial) if self.initial else None
            cell = Cell(specification, self.corpus(specification["data"]["corpus"]), initial)
            trained, record = cell.run(state, self.device, self.checkpoint_seconds)
            weights = {name: tensor.contiguous() for name, tensor in trained.weights.items()}
            save_file(weights, folder / "model.safetensors")
            pd.DataFrame(trained.progress.curve).to_parquet(folder / "curve.parquet")
            write_json(folder / "run.json", {"identity": identity, **record})

        entry = produce("runs", identity, {file: target / file for file in FILES}, make)
        shutil.rmtree(state, ignore_errors=True)
        return entry


def _require_weights(initial: Path) -> None:
    """Raises DataError if the run in the folder `initial` failed or has lost its weights."""
    if not all((initial / file).exists() for file in FILES):
        raise DataError(f"{initial}: the pre-trained weights are missing; delete {initial}.json and run again")
    if failure := read_json(initial / "run.json")["failure"]:
        raise DataError(f"{initial}: pre-training failed ({failure}); lower recipe.learning_rate, for all runs alike")


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
    with one_message("training"), only_writer(arguments.out.with_suffix(".lock")), device(arguments.gpus) as chosen:
        try:
            write_json(arguments.out, train_all(arguments, chosen))
        except DataError as error:
            sys.exit(str(error))


def train_all(arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """The manifest: run folder -> key in the store, status, and hash of the weights."""
    runner = Runner(arguments.tokens, arguments.initial, device, arguments.checkpoint_seconds)
    manifest = {}
    for name, specification in arguments.runs.items():
        entry = runner.train(Path(name), specification)
        status = read_json(entry / "run.json")["status"]
        manifest[name] = {"key": entry.name, "status": status, "weights": sha256(entry / "model.safetensors")}
        if arguments.plan:
            print_report(arguments.plan)
    return manifest


if __name__ == "__main__":
    main()
