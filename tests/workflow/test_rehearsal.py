"""Paper scale, simulated: over a thousand runs of up to 1.2 G parameters through all rules, and the planted laws found."""

import pandas as pd
import pytest
import yaml

from workflow_scripts.files import read_json

pytestmark = pytest.mark.workflow

PLANTED = {
    "text": {"k": 1.9e4, "alpha": 0.18, "beta": 0.38},
    "text_and_code": {"k": 2.1e5, "alpha": 0.096, "beta": 0.38},
}
REHEARSAL = {
    "base": "config/experiments/text-to-python.yaml",
    "experiment": "rehearsal",
    "title": "What would the cluster find?",
    "share_process_below": None,
    "seeds": [0, 1, 2, 3],
    "fit": {"draws": 100},
    "simulated": {
        "laws": PLANTED,
        "loss": {"floor": 0.5, "size_scale": 20, "size_exponent": 0.2, "data_scale": 60, "data_exponent": 0.18},
        "noise": {"pretrain": 0.008, "prefix": 0.010, "run": 0.015},
    },
}


def test_the_papers_experiment_is_rehearsed_to_its_report_and_finds_what_was_planted(pristine, tmp_path):
    """Its FLOPs are more than 64 bits count: the tables could not be written, after 3,349 GPU hours."""
    project = pristine.copy(tmp_path / "project")
    project.config.write_text(yaml.safe_dump(REHEARSAL))
    code, output = project.launch("--resources", "gpu=8")
    assert code == 0, output
    results = project.folder / "results" / "rehearsal.simulated"
    assert "<h1>SIMULATED: What would" in (results / "report.html").read_text()
    runs = pd.read_parquet(results / "laws" / "runs.parquet")
    assert len(runs) == 1280
    assert runs["flops"].max() > 2**64
    laws = read_json(results / "laws" / "transfer_law.json")["sources"]
    for source, planted in PLANTED.items():
        for name in ("alpha", "beta"):
            found = laws[source][name]
            assert abs(found["estimate"] - planted[name]) < found["high"] - found["low"]
            assert found["high"] - found["low"] < 0.1
