"""Trains runs one after another in one process; each has its own entry in the store, and its own checkpoint.

python -m workflow_scripts.training --runs JSON --tokens E/tokens [--initial MANIFEST] --out MANIFEST

Started by `torchrun`, its processes train each run together; the first of them keeps the store.  On SIGTERM or SIGUSR1 it
saves a checkpoint and leaves with code 75 (EX_TEMPFAIL): started again, it goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from workflow_scripts.code_identity import code_hash, require_code
from workflow_scripts.errors import one_message
from workflow_scripts.files import read_json, sha256, write_json
from workflow_scripts.grid import FILES, manifest_of
from workflow_scripts.store import STORE, key_of, only_writer, produce
from workflow_scripts.training.cell import Cell
from workflow_scripts.training.checkpoint import CURRENT
from workflow_scripts.training.data import Corpus, DataError
from workflow_scripts.training.devices import device
from workflow_scripts.training.loop import Preempted, Trained
from workflow_scripts.training.placement import Placement, first_process, processes
from workflow_scripts.training.progress import print_report

PREEMPTED = os.EX_TEMPFAIL
REPORT_SECONDS = 60.0
"""Between two progress lines of one job: each looks for every run of the experiment."""
CURVE = pa.schema(
    [(name, pa.int64()) for name in ("step", "tokens")]
    + [(name, pa.float64()) for name in ("validation_loss", "train_loss", "gradient_norm", "largest_gradient_norm")]
    + [(name, pa.float64()) for name in ("gradient_square_half", "gradient_square_batch")]
)
"""A row an evaluation, none of a run that took no step."""
CODE = "workflow_scripts.training.cell"
"""The module whose closure decides what a run's numbers are."""


class Runner:
    """What the runs of one process share: tokens, initial weights, device."""

    def __init__(self, tokens: Path, initial: Path | None, placement: Placement, checkpoint_seconds: float) -> None:
        self.tokens, self.placement, self.checkpoint_seconds = tokens, placement, checkpoint_seconds
        self.initial = _weights_of(initial) if initial else None
        self.corpus = cache(lambda name: Corpus(self.tokens / name))
        self.stopping = False
        """Whether this process was asked to stop."""

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
            for part in state.glob(".*.part"):  # of a process that was killed while it saved
                part.unlink()
            if (state / CURRENT).exists():
                print(f"{target}: going on from its checkpoint", file=sys.stderr, flush=True)
            if self.placement.world_size > 1:
                dist.broadcast_object_list([(specification, state)])
            trained, record = self.compute(specification, state)
            weights = {name: tensor.contiguous() for name, tensor in trained.weights.items()}
            try:
                save_file(weights, folder / "model.safetensors")
            except SafetensorError as error:
                raise OSError(f"{folder}: {error}") from None
            pq.write_table(pa.Table.from_pylist(trained.progress.curve, CURVE), folder / "curve.parquet")
            write_json(folder / "run.json", {"identity": identity, **record})

        entry = produce("runs", identity, {file: target / file for file in FILES}, make)
        if failure := read_json(entry / "run.json")["failure"]:
            kept = state / CURRENT
            where = f"; its last good checkpoint is {kept}" if kept.exists() else ""
            print(f"{target}: failed, {failure}{where}", file=sys.stderr, flush=True)
        else:
            shutil.rmtree(state, ignore_errors=True)
        return entry

    def compute(self, specification: Mapping[str, Any], state: Path) -> tuple[Trained, dict[str, Any]]:
        initial = load_file(self.initial) if self.initial else None
        cell = Cell(specification, self.corpus(specification["data"]["corpus"]), initial)
        with self._signals_heard():
            return cell.run(state, self.placement, self.checkpoint_seconds, lambda: self.stopping)

    @contextmanager
    def _signals_heard(self) -> Iterator[None]:
        """Inside the block SIGTERM and SIGUSR1 ask this process to stop, instead of ending it."""

        def ask(number: int, frame: FrameType | None) -> None:  # two may come at once: nothing here may wait
            self.stopping = True

        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGUSR1)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def follow(self) -> None:
        """Takes its part in what the first process computes, until that says None."""
        while True:
            order = [None]
            dist.broadcast_object_list(order)
            if order[0] is None:
                return
            self.compute(*order[0])


def _weights_of(manifest: Path) -> Path:
    """Weights of the pre-training that `manifest` names.  Raises DataError if it failed, was simulated or has lost them."""
    folder = manifest.with_suffix("")
    if not all((folder / file).exists() for file in FILES):
        raise DataError(f"{folder}: the pre-trained weights are missing; delete {manifest} and run again")
    record = read_json(folder / "run.json")
    if "simulated" in record["identity"]["specification"]:
        raise DataError(f"{folder}: the run is simulated and has no weights to start from; delete it and run again")
    if failure := record["failure"]:
        raise DataError(f"{folder}: pre-training failed ({failure}); lower recipe.learning_rate, for all runs alike")
    return folder / "model.safetensors"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m workflow_scripts.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", required=True, type=json.loads, help="JSON object: run folder -> declared choices")
    parser.add_argument("--code", help="the hash of the training code that is asked for; another one is refused")
    parser.add_argument("--tokens", required=True, type=Path)
    parser.add_argument("--initial", type=Path, help="manifest of the run whose weights these runs start from")
    parser.add_argument("--out", required=True, type=Path, help="manifest of the runs, written when all are done")
    parser.add_argument("--plan", type=Path, help="what the whole experiment has to do, for the progress line")
    parser.add_argument("--checkpoint-seconds", type=float, default=60.0)
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shard", action="store_true", help="spread the weights over the devices (FSDP2)")
    parser.add_argument(
        "--micro-batch", type=int, help="most sequences in one forward pass, instead of as many as serve the device"
    )
    arguments = parser.parse_args(argv)
    require_code(CODE, arguments.code)
    torch.set_num_threads(arguments.threads)
    with ExitStack() as held:
        held.enter_context(one_message("training"))
        if first_process():
            held.enter_context(only_writer(arguments.out.with_suffix(".lock")))
        chosen = held.enter_context(device(arguments.gpus))
        placement = held.enter_context(processes(chosen, sharded=arguments.shard, micro_batch=arguments.micro_batch))
        try:
            runner = Runner(arguments.tokens, arguments.initial, placement, arguments.checkpoint_seconds)
            if placement.rank:
                runner.follow()
            else:
                write_json(arguments.out, train_all(runner, arguments.runs, arguments.plan))
        except DataError as error:
            sys.exit(str(error))
        except Preempted as stopped:
            print(f"{stopped}; start it again to go on", file=sys.stderr, flush=True)
            sys.exit(PREEMPTED)


def train_all(runner: Runner, runs: Mapping[str, Mapping[str, Any]], plan: Path | None) -> dict[str, Any]:
    """The manifest: run folder -> key in the store, status, and hash of the weights.

    Raises Preempted if it was asked to stop.
    """
    manifest, told = {}, time.monotonic()
    for name, specification in runs.items():
        if plan and time.monotonic() - told > REPORT_SECONDS:
            print_report(plan)
            told = time.monotonic()
        if runner.stopping:
            raise Preempted(f"asked to stop before {name}; what comes before it is finished")
        entry = runner.train(Path(name), specification)
        manifest[name] = manifest_of(entry)
    if plan:
        print_report(plan)
    if runner.placement.world_size > 1:
        dist.broadcast_object_list([None])
    return manifest
