"""Raw dumps to token files: beside `datatrove` and `fastwarc`, and how time and memory grow with the input.

    python -m benchmarks.corpora --source DOCUMENTS --target DOCUMENTS [--peer PYTHON] [--megabytes 400] [--gigabytes 1 10]

The dumps are made (benchmarks/dumps.py) from the documents of two corpora, say `english` and `python` below
`results/quickstart/corpora/documents`; sizes are of their text.  `--peer` is the Python of an environment with
`datatrove[io,processing]` and `spacy`; without it datatrove is left out.  Two cores; ours is `snakemake --cores 2`, with
its filters, counts, leaks and splits.  Prints the tables of docs/corpora.md.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pyarrow.parquet as pq
import yaml
from fastwarc.warc import ArchiveIterator, WarcRecordType
from tokenizers import Tokenizer

from benchmarks.dumps import sentences_of, texts, write_source, write_wet
from tests.checkout import ROOT, checkout
from workflow_scripts.corpora.common_crawl import read_warc
from workflow_scripts.corpora.documents import read_shard
from workflow_scripts.files import read_json

SOURCES = ("first", "second")
"""Of half the text each: less than 256 MiB of a source are one shard, so one process."""
FILE_BYTES = 50_000_000
TARGET_BYTES = 20_000_000
WET_BYTES = 300_000_000
VOCABULARY = 16_384
TURNS = 3
PERIOD = 0.5
"""Seconds between two looks at the memory."""
RESULTS = Path("results/dumps")
STEPS = {
    "clean": [RESULTS / f"corpora/web/{source}.json" for source in SOURCES],
    "fingerprint, split": [RESULTS / "corpora/splits.json"],
    "tokenizer": [RESULTS / "tokens/tokenizer.json"],
    "encode, join": [RESULTS / "tokens/web/manifest.json"],
}


class Cost(NamedTuple):
    """Of a command and all that it starts: seconds by the clock, MB of the largest process and of all together."""

    seconds: float
    largest_mb: float
    together_mb: float


def cost(folder: Path, *command: str | Path) -> Cost:
    """Runs a command to its end.  Raises SystemExit, with what it printed, if it fails."""
    largest = together = 0.0
    with open(folder / "output.txt", "w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
        while process.poll() is None:
            sizes = memory_of(psutil.Process(process.pid))
            largest, together = max(largest, *sizes), max(together, sum(sizes))
            time.sleep(PERIOD)
        seconds = time.perf_counter() - start
        output.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(map(str, command))} failed in {folder}:\n{output.read()}")
    return Cost(seconds, largest / 1e6, together / 1e6)


def memory_of(root: psutil.Process) -> list[float]:
    """Proportional set sizes in bytes of a process and all below it; 0 of one that has just ended."""
    sizes = [0.0]
    for process in (root, *root.children(recursive=True)):
        try:
            sizes.append(process.memory_full_info().pss)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            sizes.append(0.0)
    return sizes


def snakemake(folder: Path, targets: list[Path]) -> Cost:
    command = [
        sys.executable,
        "-m",
        "snakemake",
        *targets,
        "--cores",
        "2",
        "--quiet",
        "rules",
        "--configfile",
        "dumps.yaml",
    ]
    return cost(folder, *command)


def at_once(folder: Path) -> float:
    """Seconds of all steps in one command, with the vocabulary that is there as a published one."""
    Tokenizer.from_file(str(folder / STEPS["tokenizer"][0])).model.save(str(folder))
    config = yaml.safe_load((folder / "dumps.yaml").read_text())
    config["tokenizer"] = {"files": ".", "vocab_size": VOCABULARY}
    (folder / "dumps.yaml").write_text(yaml.safe_dump(config))
    shutil.rmtree(folder / "results")
    return snakemake(folder, STEPS["encode, join"]).seconds


def project(folder: Path, source: list[str], target: list[str], n_bytes: int) -> None:
    """Sets up a checkout whose experiment has `n_bytes` of text in its source, `web`, and 20 MB in its target."""
    checkout(folder)
    files = max(n_bytes // len(SOURCES) // FILE_BYTES, 1)
    for number, name in enumerate(SOURCES):
        write_source(folder / "dumps" / name, source, n_bytes // len(SOURCES), files, seed=1000 * number)
    write_source(folder / "dumps/target", target, TARGET_BYTES, 1, seed=9999)
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config |= {"experiment": "dumps", "target": "other", "tokenizer": {"corpus": "web", "vocab_size": VOCABULARY}}
    config["corpora"] = {
        "web": {name: {"kind": "webtext", "path": f"dumps/{name}/*.jsonl.zst", "language": "en"} for name in SOURCES},
        "other": {"target": {"kind": "files", "path": "dumps/target/*.jsonl.zst"}},
    }
    config["pretrain"]["sources"] = ["web"]
    (folder / "dumps.yaml").write_text(yaml.safe_dump(config))


def check_tokens(folder: Path) -> int:
    """How many tokens of the first row group were compared with those that `tokenizers` gives.  Raises SystemExit."""
    tokens = folder / RESULTS / "tokens"
    tokenizer = Tokenizer.from_file(str(tokens / "tokenizer.json"))
    index = pq.read_table(tokens / "web/documents.parquet").to_pandas().set_index("id")
    bins = {split: np.memmap(tokens / f"web/{split}.bin", np.uint16) for split in index.split.unique()}
    compared = 0
    for path in sorted((folder / RESULTS / "corpora/documents/web/first").glob("*.parquet"))[:1]:
        batch = next(read_shard(path, ["id", "text"]))
        for name, text in zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True):
            if name in index.index:
                row = index.loc[name]
                ours = bins[row.split][row.token_offset : row.token_offset + row.tokens]
                if ours.tolist() != tokenizer.encode(text, add_special_tokens=False).ids:
                    raise SystemExit(f"{path}: {name}: not the tokens that tokenizers gives")
                compared += len(ours)
    if not compared:
        raise SystemExit(f"{folder}: no token was compared")
    return compared


def beside_datatrove(work: Path, source: list[str], target: list[str], n_bytes: int, peer: Path | None) -> None:
    """Prints seconds of each step, and what datatrove takes for the same."""
    folder = work / "beside"
    project(folder, source, target, n_bytes)
    ours = {step: snakemake(folder, targets).seconds for step, targets in STEPS.items()}
    print("| step, ours | seconds |\n|---|---|")
    print("\n".join(f"| {step} | {seconds:.1f} |" for step, seconds in ours.items()))
    print(f"{check_tokens(folder):,} tokens compared with those of tokenizers: the same.")
    counts = read_json(folder / RESULTS / "corpora/splits.json")["corpora"]["web"]
    print(f"Of {counts['read']['documents']:,} documents ours drops {counts['dropped']}")
    whole = at_once(folder)
    print(f"All at once, with that vocabulary: {whole:.1f} s")
    if peer is None:
        return
    run, dumps, tokenizer = ROOT / "benchmarks/datatrove_peer.py", folder / "dumps", folder / STEPS["tokenizer"][0]
    shutil.rmtree(dumps / "target")
    theirs = {
        what: cost(work, peer, run, what, dumps, work / what, tokenizer).seconds for what in ("tokens", "duplicates")
    }
    lost = sum(path.read_bytes().count(b"\n") for path in (work / "duplicates/dropped").rglob("*.jsonl"))
    print(f"datatrove drops {lost:,}")
    print("| | ours, s | datatrove, s | times |\n|---|---|---|---|")
    for name, mine, other in (
        ("raw to tokens", ours["clean"] + ours["encode, join"], theirs["tokens"]),
        ("duplicates", ours["fingerprint, split"], theirs["duplicates"]),
        ("both", whole, sum(theirs.values())),
    ):
        print(f"| {name} | {mine:.1f} | {other:.1f} | {other / mine:.1f} |")


def beside_fastwarc(work: Path, source: list[str]) -> None:
    """Prints seconds to read a WET file, and to iterate over it with fastwarc alone; the fastest of three turns each."""
    path = work / "made.warc.wet.gz"
    write_wet(path, texts(source, 5), WET_BYTES)

    def ours() -> int:
        return sum(1 for _ in read_warc(path))

    def fastwarc() -> int:
        with open(path, "rb") as file:
            return sum(1 for _ in ArchiveIterator(file, record_types=WarcRecordType.conversion))

    seconds = {}
    for _ in range(TURNS):
        for read in (ours, fastwarc):
            start = time.perf_counter()
            read()
            seconds.setdefault(read.__name__, []).append(time.perf_counter() - start)
    mine, other = min(seconds["ours"]), min(seconds["fastwarc"])
    print(f"WET, {WET_BYTES / 1e6:.0f} MB: {mine:.2f} s, fastwarc alone {other:.2f} s, {mine / other:.2f} times")


def growth(work: Path, source: list[str], target: list[str], gigabytes: list[float]) -> None:
    """Prints time and memory of raw dumps to the token file of the source, for each size."""
    print("| GB of text | minutes | MB a second | MB of the largest process | MB of all |\n|---|---|---|---|---|")
    for size in gigabytes:
        folder = work / f"{size}"
        project(folder, source, target, int(size * 1e9))
        found = snakemake(folder, STEPS["encode, join"])
        speed = size * 1e3 / found.seconds
        print(
            f"| {size:g} | {found.seconds / 60:.1f} | {speed:.1f} | {found.largest_mb:.0f} | {found.together_mb:.0f} |"
        )
        shutil.rmtree(folder)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpora", description=__doc__.split("\n")[0])
    parser.add_argument("--source", type=Path, required=True, help="folder of the clean documents of a corpus")
    parser.add_argument("--target", type=Path, required=True, help="another")
    parser.add_argument("--peer", type=Path, help="Python with datatrove")
    parser.add_argument("--megabytes", type=float, default=400, help="of text, beside datatrove; 0 leaves that out")
    parser.add_argument("--gigabytes", type=float, nargs="*", default=[1, 10], help="of text, to see how costs grow")
    given = parser.parse_args(argv)
    source, target = sentences_of(given.source), sentences_of(given.target)
    with tempfile.TemporaryDirectory() as name:
        if given.megabytes:
            beside_datatrove(Path(name), source, target, int(given.megabytes * 1e6), given.peer)
            beside_fastwarc(Path(name), source)
        growth(Path(name), source, target, given.gigabytes)


if __name__ == "__main__":
    main()
