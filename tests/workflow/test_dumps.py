"""A dump of each kind, in its makers' formats, becomes tokens from which a law can be made; every document is accounted for."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from tokenizers import Tokenizer

from tests.corpora.dumps import FORMATS, json_lines, passing_text
from workflow_scripts.files import read_json

pytestmark = pytest.mark.workflow

TEXTS = 40
"""Of each format."""
HTML = "a.warc.gz"
"""Whose lines are not those of its text."""
BROKEN = b'{"text": "cut\n'
KEYS = {"github": {"extensions": ["py"]}, "files": {"set_aside": 0.1}}
CORPUS = {"github": "code"}


@pytest.fixture
def project(pristine, tmp_path):
    """A source a kind, with all the formats of that kind, and a data set of the hub."""
    project = pristine.copy(tmp_path / "project")
    corpora, project.texts = {"text": {}, "code": {}}, {"text": [], "code": []}
    for number, form in enumerate(FORMATS):
        folder = project.folder / "dumps" / form.kind
        folder.mkdir(parents=True, exist_ok=True)
        texts = [passing_text(number * TEXTS + place, form.kind) for place in range(TEXTS)]
        if form.name == HTML:
            texts = [text.replace("\n", " ") for text in texts]
        form.write(folder, [*texts, texts[0], "short"])
        corpus = CORPUS.get(form.kind, "text")
        corpora[corpus][form.kind] = {"kind": form.kind, "path": f"dumps/{form.kind}/*", **KEYS.get(form.kind, {})}
        project.texts[corpus] += [form.before + text for text in texts]
    hub = [passing_text(number, "hub") for number in range(len(FORMATS) * TEXTS, (len(FORMATS) + 1) * TEXTS)]
    (project.folder / "hub").mkdir()
    (project.folder / "hub/train.jsonl").write_bytes(json_lines([{"text": text} for text in [*hub, hub[0], "short"]]))
    corpora["text"]["hub"] = {"kind": "hub", "name": "hub"}
    project.texts["text"] += hub
    (project.folder / "dumps/files/broken.jsonl").write_bytes(BROKEN)
    project.change(
        target="code",
        corpora=corpora,
        tokenizer={"corpus": "text", "vocab_size": 300},
        pretrain={"sources": ["text"], "tokens": 60_000},
    )
    return project


def texts_of(project, corpus):
    """What the token files of a corpus say, document by document."""
    tokens = project.results("tokens")
    tokenizer = Tokenizer.from_file(str(tokens / "tokenizer.json"))
    index = pd.read_parquet(tokens / corpus / "documents.parquet")
    bins = {split: np.fromfile(tokens / corpus / f"{split}.bin", np.uint16) for split in index.split.unique()}
    return [
        tokenizer.decode(bins[row.split][row.token_offset : row.token_offset + row.tokens], skip_special_tokens=False)
        for row in index.itertuples()
    ]


def test_a_dump_of_each_kind_becomes_tokens_to_the_byte_and_the_counts_add_up(project):
    targets = ["corpora/report.parquet", "tokens/capacity.json"]
    code, output = project.snakemake(*(f"results/tiny/{target}" for target in targets))
    assert code == 0, output
    assert read_json(project.results("tokens/capacity.json")) == {"enough": True}
    for corpus, texts in project.texts.items():
        assert Counter(texts_of(project, corpus)) == Counter(texts)

    table = pd.read_parquet(project.results("corpora/report.parquet"))
    documents = table.groupby(["step", "outcome", "reason"], dropna=False).documents.sum()
    formats = len(FORMATS) + 1
    assert documents["clean", "read"].sum() == formats * (TEXTS + 2) + 1
    assert documents["clean", "set_aside", "broken_json"] == 1
    assert documents["clean", "dropped"].sum() == formats
    assert documents["split", "dropped", "duplicate"] == formats
    splits = documents.loc["split", ["train", "validation", "test"]].sum()
    assert splits == formats * TEXTS
