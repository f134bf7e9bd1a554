"""Shards change no result: in many small ones the same documents, splits and tokens come out as in one."""

import pytest

from workflow_scripts.files import read_json

pytestmark = pytest.mark.workflow

PARTS = 4
BUDGET = 100_000
FILES = 1500
"""The paths of a fifth of them are 128 KiB and more."""


@pytest.fixture
def project(pristine, tmp_path):
    """Corpora of several files; English has a source with a budget, and a data set as on the hub."""
    project = pristine.copy(tmp_path / "project")
    for corpus in ("english", "python"):
        lines = (project.folder / f"{corpus}.jsonl").read_text().splitlines(keepends=True)
        for part in range(PARTS):
            (project.folder / f"{corpus}{part}.jsonl").write_text("".join(lines[part::PARTS]))
    (project.folder / "hub").mkdir()
    (project.folder / "english.jsonl").rename(project.folder / "hub" / "train.jsonl")
    files = {"kind": "files", "path": "python?.jsonl"}
    sampled = {"kind": "files", "path": "english?.jsonl", "characters": BUDGET}
    project.change(
        corpora={"english": {"sampled": sampled, "hub": {"kind": "hub", "name": "hub"}}, "python": {"functions": files}}
    )
    return project


def made(project):
    """Counts and tokens."""
    targets = ["corpora/report.md", "tokens/capacity.json"]
    code, output = project.snakemake(*(f"results/tiny/{target}" for target in targets))
    assert code == 0, output
    counts = [read_json(path) for path in sorted(project.results("corpora").glob("*/*.json"))]
    tokens = {path.parent.name + path.name: path.read_bytes() for path in project.results("tokens").glob("*/*.bin")}
    return counts, read_json(project.results("corpora/splits.json"))["corpora"], tokens


def shards(project, source):
    return {path.stem for path in project.results("corpora/documents", source).glob("*.parquet")}


def test_small_shards_make_what_one_makes_and_a_budget_is_of_the_whole_source(project):
    once = made(project)
    assert shards(project, "python/functions") == {"python0"}
    project.replace("workflow_scripts/corpora/shards.py", "256 * 2**20", "1000")
    assert made(project) == once
    assert shards(project, "python/functions") == {f"python{part}" for part in range(PARTS)}
    assert shards(project, "english/sampled") == {f"english{part}" for part in range(PARTS)}
    assert 0.9 * BUDGET < read_json(project.results("corpora/english/sampled.json"))["kept"]["characters"] <= BUDGET
    assert shards(project, "english/hub") == {"hub"}


def test_a_source_of_thousands_of_files_is_read(pristine, tmp_path):
    """Linux gives one argument of a command 128 KiB: Snakemake writes a longer one into a script."""
    project = pristine.copy(tmp_path / "project")
    line = (project.folder / "python.jsonl").read_text().splitlines(keepends=True)[0]
    path = "/".join(["a_folder_with_a_long_name" * 8] * 3)
    (project.folder / path).mkdir(parents=True)
    for number in range(FILES):
        (project.folder / path / f"{number}.jsonl").write_text(line)
    many = {"kind": "files", "path": f"{path}/*.jsonl"}
    english = {"words": {"kind": "files", "path": "english.jsonl"}}
    project.change(corpora={"english": english, "python": {"functions": many}})
    code, output = project.snakemake("results/tiny/corpora/python/functions.json")
    assert code == 0, output
    counts = read_json(project.results("corpora/python/functions.json"))
    assert counts["kept"]["documents"] == FILES
