"""Records of 5 GB: minutes, and not part of the suite.  `make large` runs them."""

import gzip
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.corpora.dumps import compressed, json_lines, passing_text, source, tar

BLOCK = b"x" * 2**26
BLOCKS = 80  # of 64 MiB: 5 GiB
GOOD = json_lines([{"text": passing_text(0, "webtext")}])
GOOD_FILE = passing_text(0, "github").encode()


def line_of_five_gigabytes(path: Path) -> None:
    """Compressed streams may follow one another, so that a block is compressed once."""
    parts = {data: compressed(path.name, data) for data in (GOOD, BLOCK, b"\n\n")}
    with path.open("wb") as file:
        for data in [GOOD, b"\n\n", *[BLOCK] * BLOCKS, b"\n\n", GOOD]:
            file.write(parts[data])


def member_of_five_gigabytes(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("good.py", GOOD_FILE)
        with archive.open("bomb.py", "w", force_zip64=True) as member:
            for _ in range(BLOCKS):
                member.write(BLOCK)


def archive_of_five_gigabytes(path: Path) -> None:
    """The header of a member, then its bytes, then another member."""
    header = bytearray(tar({"bomb.py": b""})[:512])
    header[124:136] = f"{len(BLOCK) * BLOCKS:011o}\0".encode()
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    block = gzip.compress(BLOCK)
    with path.open("wb") as file:
        file.write(gzip.compress(bytes(header)))
        for _ in range(BLOCKS):
            file.write(block)
        file.write(gzip.compress(tar({"good.py": GOOD_FILE})))


@pytest.mark.parametrize(
    ("kind", "name", "write"),
    [
        ("webtext", "a.jsonl.gz", line_of_five_gigabytes),
        ("webtext", "a.jsonl.zst", line_of_five_gigabytes),
        ("oscar", "a.txt.gz", line_of_five_gigabytes),
        ("github", "a.zip", member_of_five_gigabytes),
        ("github", "a.tar.gz", archive_of_five_gigabytes),
    ],
)
def test_five_gigabytes_in_one_record_are_set_aside_in_less_than_one(kind, name, write, tmp_path):
    write(tmp_path / name)
    configured = source(kind, set_aside=1).model_dump_json()
    command = [sys.executable, "-m", "workflow_scripts.corpora.clean", "--source", configured, "--corpus", "c"]
    command += ["--name", "s", "--input", name, "--out", "s.parquet", "--counts", "s.json"]
    process = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": os.getcwd()})
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0
    counts = json.loads((tmp_path / "s.json").read_text())
    assert counts["set_aside"]["too_large"]["documents"] == 1
    assert counts["kept"]["documents"] == counts["read"]["documents"] - 1 > 0
    assert used.ru_maxrss < 2**20  # KiB
