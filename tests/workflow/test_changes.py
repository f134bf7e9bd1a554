"""What a change sets off: just what it must."""

import pytest

pytestmark = pytest.mark.workflow

TRAINER = "workflow_scripts/training/loop.py"


@pytest.fixture
def project(finished, tmp_path):
    return finished.copy(tmp_path / "project")


def test_a_comment_in_the_trainer_trains_nothing(project):
    project.replace(TRAINER, '"""One update;', '"""One single update;')
    project.replace(TRAINER, "        self.optimizer.step(", "        # a remark\n\n        self.optimizer.step(")
    assert project.planned() == {}


def test_a_real_change_of_the_trainer_trains_again(project):
    project.replace(TRAINER, "progress.step += 1", "progress.step += 2 - 1")
    planned = project.planned()
    assert planned["pretrain"] == 4
    assert planned["scratch"] > 4
    assert planned["finetune"] > 4
    assert "tokenizer" not in planned


def test_a_change_of_a_figure_redraws_it_and_trains_nothing(project):
    project.replace("workflow_scripts/figures/data_limited.py", "def main(", "UNUSED = 1\n\n\ndef main(")
    planned = project.planned()
    assert planned.pop("all") == planned.pop("report") == 1
    assert planned == {"figure": 1}


def test_a_change_of_the_fit_trains_nothing(project):
    project.change(fit={"d_f": [1_000, 4_000], "draws": 101})
    assert not {"pretrain", "scratch", "finetune"} & set(project.planned())


def entries(project):
    return {path.name for path in (project.folder / "results/store/runs").iterdir() if path.is_dir()}


def test_one_more_data_size_trains_just_its_cells(project):
    """The job of the small cells runs again, but finds all others in the store."""
    grid = {
        "unit": "excerpt",
        "finetune": [1_000, 2_000, 3_000, 4_000],
        "scratch": [1_000, 2_000, 4_000, 8_000, 16_000],
    }
    before = entries(project)
    project.change(grids=[grid])
    planned = project.planned()
    assert "pretrain" not in planned
    assert planned["finetune"] == 4
    code, output = project.snakemake("results/tiny/laws/runs.parquet")
    assert code == 0, output
    assert len(entries(project) - before) == 4


def test_one_more_seed_trains_that_seed(project):
    project.change(seeds=[0, 1, 2])
    planned = project.planned()
    assert planned["pretrain"] == 2
    assert "encode" not in planned


def test_experiments_share_what_they_have_in_common(project):
    """Under another name, everything is found in the store; nothing is trained twice, and the first stays up to date."""
    before = entries(project)
    project.change(experiment="other")
    code, output = project.snakemake("results/other/laws/runs.parquet")
    assert code == 0, output
    assert entries(project) == before
    project.change(experiment="tiny")
    assert project.planned() == {}


def test_how_often_to_save_is_no_reason_to_train(project):
    project.change(checkpoint_seconds=7)
    assert not {"pretrain", "scratch", "finetune"} & set(project.planned())
