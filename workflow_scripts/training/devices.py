"""Which device a run uses.  Snakemake only counts GPUs; on one box a lock file a device hands them out.

The lock lives as long as the process, so a crash frees its device.  A scheduler's own choice, which it states in
`CUDA_VISIBLE_DEVICES`, is respected: only those devices are handed out.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from workflow_scripts.locks import try_lock

LEASES = Path(tempfile.gettempdir()) / "gpu-leases"
POLL_SECONDS = 2.0


def visible_devices() -> list[str]:
    """Names of the devices this process may use, in CUDA's order: entry i is `cuda:i`."""
    declared = os.environ.get("CUDA_VISIBLE_DEVICES")
    if declared is not None:
        return [name.strip() for name in declared.split(",") if name.strip()]
    return [str(index) for index in range(torch.cuda.device_count())]


@contextmanager
def leased_index(names: list[str]) -> Iterator[int]:
    """Index of a device in `names` that no other process of this box holds; waits until one is free."""
    LEASES.mkdir(exist_ok=True, mode=0o1777)
    while True:
        for index, name in enumerate(names):
            if lease := try_lock(LEASES / f"{name.replace('/', '_')}.lock"):
                with lease:
                    yield index
                return
        time.sleep(POLL_SECONDS)


@contextmanager
def device(gpus: int) -> Iterator[torch.device]:
    """The CPU for `gpus` = 0 or where there is no GPU, else a leased CUDA device."""
    if gpus == 0 or not torch.cuda.is_available():
        yield torch.device("cpu")
        return
    with leased_index(visible_devices()) as index:
        yield torch.device("cuda", index)
