"""Which device a run uses.  Snakemake only counts GPUs; on one box a lock file a device hands them out.

The lock lives as long as the process, so a crash frees its device.  A scheduler's own choice, which it states in
`CUDA_VISIBLE_DEVICES`, is respected: only those devices are handed out.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import IO

import torch

from workflow_scripts.locks import text_while_locked, try_lock, wait_for_lock

POLL_SECONDS = 2.0


def leases() -> Path:
    """Folder of this user's lock files on this machine, whose `TMPDIR` others may share.  A SLURM job has its own: SLURM may
    number the devices of every job from 0."""
    job = os.environ.get("SLURM_JOB_ID")
    parts = ["gpu-leases", platform.node(), str(os.getuid()), *([job] if job else [])]
    return Path(tempfile.gettempdir()) / "-".join(parts)


def visible_devices() -> list[str]:
    """Names of the devices this process may use, in CUDA's order: entry i is `cuda:i`."""
    declared = os.environ.get("CUDA_VISIBLE_DEVICES")
    if declared is not None:
        return [name.strip() for name in declared.split(",") if name.strip()]
    return [str(index) for index in range(torch.cuda.device_count())]


@contextmanager
def leased(names: list[str], count: int) -> Iterator[list[int]]:
    """Indices of `count` devices in `names` that no other process of this user holds; waits until they are free.

    One process takes at a time: two that each hold some of what both need would wait for ever.  Raises SystemExit if
    there are fewer than `count`.
    """
    if count > len(names):
        raise SystemExit(f"gpu: a job's {count} processes need a device each, and there are {len(names)}: {names}")
    with ExitStack() as held:
        with wait_for_lock(leases() / "turn.lock"):
            free = [_wait_for_a_free_one(names) for _ in range(count)]
        for _, lease in free:
            held.enter_context(lease)
        yield [index for index, _ in free]


def _wait_for_a_free_one(names: list[str]) -> tuple[int, IO[str]]:
    while True:
        for index, name in enumerate(names):
            if lease := try_lock(leases() / f"{name.replace('/', '_')}.lock"):
                return index, lease
        time.sleep(POLL_SECONDS)


@contextmanager
def leased_index(names: list[str]) -> Iterator[int]:
    """Index in `names` of this process's device.

    Of the processes that `torchrun` started together on this box the first leases for all, and tells the others.
    """
    rank, count = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    told = leases() / f"job-{os.environ.get('TORCHELASTIC_RUN_ID')}.lock"
    if rank:
        yield _wait_to_be_told(told)[rank]
        return
    with leased(names, count) as indices, _telling(told, indices) if count > 1 else nullcontext():
        yield indices[0]


@contextmanager
def _telling(path: Path, indices: list[int]) -> Iterator[None]:
    """The file says `indices` from its first moment on, and is locked for the block: one that nobody locks is of a dead
    job."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with wait_for_lock(draft) as file:
        file.truncate(0)
        file.write(json.dumps(indices))
        file.flush()
        draft.replace(path)
        yield


def _wait_to_be_told(path: Path) -> list[int]:
    while (text := text_while_locked(path)) is None:
        time.sleep(POLL_SECONDS)
    return json.loads(text)


@contextmanager
def device(gpus: int) -> Iterator[torch.device]:
    """The CPU for `gpus` = 0 or where there is no GPU, else a leased CUDA device.  Says so if it was given GPUs in vain."""
    if gpus == 0 or not torch.cuda.is_available():
        if gpus and (given := os.environ.get("CUDA_VISIBLE_DEVICES")):
            print(
                f"CUDA_VISIBLE_DEVICES={given}, but torch {torch.__version__} opens no GPU: training on the CPU",
                file=sys.stderr,
            )
        yield torch.device("cpu")
        return
    with leased_index(visible_devices()) as index:
        yield torch.device("cuda", index)
