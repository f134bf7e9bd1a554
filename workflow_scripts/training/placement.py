"""Where a run is computed: device, processes, slices of a batch.  None of it is part of a run's identity.

One process drives one device.  Processes that `torchrun` starts together share every batch that they can: with whole copies of
the model (DDP), or with its weights in shards where they do not fit (FSDP2).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map

from workflow_scripts.training.shape import ModelShape

LONGEST_WAIT = timedelta(days=7)
"""Of the processes for the first one, which waits for the store while another job makes the run that it wants."""
CACHED = 100_000
"""Numbers that a layer gives the next in one pass on a CPU (tokens x d_model): they and the MLP's, four times as many, stay in a
core's cache (docs/trainer.md: Large batches)."""
LEAST_TOKENS = 512
"""Of a pass, which also reads and writes every weight."""
AGREE_EVERY = 16
"""Steps between the questions whether to stop or save, which processes must answer alike."""


def most_sequences(device: torch.device, shape: ModelShape) -> int:
    """That are worth one pass of a model: a GPU takes a whole batch."""
    if device.type == "cuda":
        return sys.maxsize
    return max(1, max(CACHED // shape.d_model, LEAST_TOKENS) // shape.n_ctx)


@dataclass(frozen=True)
class Placement:
    device: torch.device
    rank: int = 0
    world_size: int = 1
    sharded: bool = False
    micro_batch: int | None = None
    """Most sequences in one forward pass; more are accumulated.  None for as many as serve the device."""

    @property
    def in_shards(self) -> bool:
        """Whether the weights are spread over the devices."""
        return self.sharded and self.world_size > 1

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose backward pass gives the gradient of the whole batch to every process."""
        if self.device.type == "cuda":
            # A graph for training, one without gradients, frozen weights, and sizes of a batch: more than dynamo's 8.
            torch._dynamo.config.recompile_limit = 64
            for block in model.blocks:
                block.compile()
        if self.world_size == 1:
            return model
        if self.in_shards:
            return self.shard(model)
        return DistributedDataParallel(model, gradient_as_bucket_view=True)

    def shard(self, model: nn.Module) -> nn.Module:
        if self.in_shards:
            from torch.distributed.fsdp import fully_shard

            for block in model.blocks:
                fully_shard(block)
            # An average has no backward pass, after which torch would drop the gathered weights by itself.
            fully_shard(model, reshard_after_forward=True)
        return model

    def parts(self, batch: np.ndarray, shape: ModelShape) -> list[Tensor]:
        """This process's sequences of the batch, as micro-batches on the device.

        The batch of a small set, which the processes cannot share evenly, each of them takes whole.
        """
        mine = torch.from_numpy(batch if len(batch) % self.world_size else batch[self.rank :: self.world_size])
        if self.device.type == "cuda":
            mine = mine.pin_memory()  # else the copy may wait for what the device is at
        return list(mine.to(self.device, non_blocking=True).split(self.sequences_a_pass(len(batch), shape)))

    def sequences_a_pass(self, sequences: int, shape: ModelShape) -> int:
        """Of a batch of so many: most that one forward pass of this process takes."""
        if self.micro_batch:
            return self.micro_batch
        mine = -(-sequences // self.world_size)
        if self.in_shards:  # which keep whole gradients from one pass to the next
            return mine
        return -(-mine // -(-mine // most_sequences(self.device, shape)))

    def without_exchange(self, model: nn.Module, last: bool) -> Any:
        """Context of a backward pass after which gradients are exchanged only if it is the `last` of the step."""
        if isinstance(model, DistributedDataParallel) and not last:
            return model.no_sync()
        if self.in_shards:
            model.set_requires_gradient_sync(last)
        return nullcontext()

    def mean(self, value: Tensor) -> Tensor:
        """Mean of a number over the processes."""
        if self.world_size > 1:
            dist.all_reduce(value)
            value /= self.world_size
        return value

    def same(self, number: int) -> bool:
        """Whether every process has this number."""
        if self.world_size == 1:
            return True
        least, largest = (torch.tensor(sign * number, device=self.device) for sign in (1, -1))
        for bound in (least, largest):
            dist.all_reduce(bound, dist.ReduceOp.MIN)
        return bool(least == -largest)

    def agree(self, step: int, wish: bool) -> bool:
        """Whether a process wishes it.  Several processes ask only every few steps: asking waits for all."""
        if self.world_size == 1:
            return wish
        if step % AGREE_EVERY:
            return False
        answer = torch.tensor(float(wish), device=self.device)
        dist.all_reduce(answer, dist.ReduceOp.MAX)
        return bool(answer.item())


def _is_shard(value: Any) -> bool:
    """Importing what torch has for shards takes a third of the start of a process, so a lone one does without."""
    if not dist.is_initialized():
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(value, DTensor)


def gathered(value: Tensor) -> Tensor:
    return value.full_tensor() if _is_shard(value) else value


def whole(state: Any, *, keep: bool = True) -> Any:
    """A nest of tensors with every shard gathered: what a checkpoint holds, whatever the number of devices.

    What was in shards is on the CPU then: a model that needs shards does not fit on one device.  A process that does not
    `keep` it only takes part in the gathering, and has None in its place.
    """

    def gather(value: Any) -> Any:
        if not _is_shard(value):
            return value
        value = gathered(value)
        return value.cpu() if keep else None

    return tree_map(gather, state)


def like(value: Tensor, example: Tensor) -> Tensor:
    """A whole tensor cut as `example` is."""
    if _is_shard(example) and value.shape == example.shape:
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(value.to(example.device), example.device_mesh, example.placements)
    return value


def first_process() -> bool:
    """Whether this process is alone, or the first of those that `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def processes(device: torch.device, *, sharded: bool = False, micro_batch: int | None = None) -> Iterator[Placement]:
    """The placement of this process: alone, or among those that `torchrun` started with it."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Placement(device, micro_batch=micro_batch)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    try:
        yield Placement(device, dist.get_rank(), world_size, sharded, micro_batch)
        # gloo's thread needs Python's lock to drop the last gradient: closed before that, the process waits for ever.
        dist.barrier()
    finally:
        dist.destroy_process_group()
