"""One lock, and what derives from it: a conda file, an Apptainer definition, wheels for machines without a network."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from envs import derive

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "envs/requirements.txt").read_text().splitlines()


@pytest.mark.parametrize(("file", "made"), [("environment.yaml", derive.conda), ("apptainer.def", derive.apptainer)])
def test_what_is_committed_agrees_with_the_lock(file, made):
    assert (ROOT / "envs" / file).read_text() == made(LOCK), "make environments"


def test_the_conda_file_installs_the_lock_line_by_line():
    *_, pip = yaml.safe_load((ROOT / "envs/environment.yaml").read_text())["dependencies"]
    assert pip == {"pip": LOCK}


def write_wheel(folder, name):
    """An installable package that holds one empty module."""
    folder.mkdir()
    described = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{described}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{described}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{described}/RECORD", "")


def make(folder, target, links):
    environment = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links)}
    subprocess.run(["make", "-C", folder, target, f"PYTHON={sys.executable}"], env=environment, check=True)


def test_wheels_of_the_login_node_set_up_a_node_without_a_network(tmp_path):
    """With a lock of one package; the package index is a folder that the node does not have, and `.venv` a link to the
    node's own disk."""
    login, node, index = tmp_path / "login", tmp_path / "node", tmp_path / "index"
    write_wheel(index, "small_part")
    (login / "envs").mkdir(parents=True)
    shutil.copy2(ROOT / "Makefile", login)
    (login / "envs/requirements.txt").write_text("small_part==1.0\n")
    make(login, "wheels", index)
    shutil.rmtree(index)
    shutil.copytree(login, node, ignore=shutil.ignore_patterns(".venv"))
    (tmp_path / "local").mkdir()
    (node / ".venv").symlink_to(tmp_path / "local")
    make(node, ".venv/ready", "wheels")
    subprocess.run([node / ".venv/bin/python", "-c", "import small_part"], check=True)
