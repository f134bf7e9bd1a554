"""Settings that tests of readers share."""

import pytest

from workflow_scripts.corpora import containers


@pytest.fixture
def small_records(monkeypatch):
    """The largest record has 1 MB."""
    monkeypatch.setattr(containers, "LARGEST_RECORD", 1_000_000)
