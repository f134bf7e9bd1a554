"""Runs `datatrove` for benchmarks/corpora.py, in an environment of its own: it is no dependency of the project.

python datatrove_peer.py {tokens,duplicates} DUMPS OUT TOKENIZER

Two processes, a file a task, everything else as its authors set it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter

PROCESSES = 2


def run(out: Path, name: str, tasks: int, *pipeline: object) -> None:
    LocalPipelineExecutor(
        pipeline=list(pipeline),
        tasks=tasks,
        workers=PROCESSES,
        logging_dir=str(out / "logs" / name),
        skip_completed=False,
    ).run()


def reader(dumps: Path) -> JsonlReader:
    return JsonlReader(str(dumps), glob_pattern="**/*.jsonl.zst")


def tokens(dumps: Path, out: Path, tokenizer: str, tasks: int) -> None:
    """Raw dumps -> token files: its reader and its tokenizer."""
    step = DocumentTokenizer(
        str(out / "tokens"), tokenizer_name_or_path=tokenizer, eos_token="<|endoftext|>", shuffle_documents=False
    )
    run(out, "tokens", tasks, reader(dumps), step)


def duplicates(dumps: Path, out: Path, tasks: int) -> None:
    """Raw dumps -> which documents go, and those that go: its MinHash in four stages."""
    config = MinhashConfig()
    folders = {name: str(out / name) for name in ("signatures", "buckets", "removed", "dropped")}
    run(out, "signatures", tasks, reader(dumps), MinhashDedupSignature(folders["signatures"], config))
    buckets = MinhashDedupBuckets(folders["signatures"], folders["buckets"], config=config)
    run(out, "buckets", config.num_buckets, buckets)
    run(out, "clusters", 1, MinhashDedupCluster(folders["buckets"], folders["removed"], config=config))
    dropped = JsonlWriter(folders["dropped"], compression=None)
    run(out, "filter", tasks, reader(dumps), MinhashDedupFilter(folders["removed"], exclusion_writer=dropped))


if __name__ == "__main__":
    what, dumps, out, tokenizer = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    n_files = len(list(dumps.rglob("*.jsonl.zst")))
    if what == "tokens":
        tokens(dumps, out, tokenizer, n_files)
    else:
        duplicates(dumps, out, n_files)
