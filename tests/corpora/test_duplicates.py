"""What MinHash links is what is similar by the exact Jaccard similarity of shingles, and nothing else."""

import random

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.corpora.clusters import clusters_of
from workflow_scripts.corpora.documents import write_shard
from workflow_scripts.corpora.duplicates import Clusters, lowest_bytes, similarities
from workflow_scripts.corpora.fingerprint import SCHEMA, batches_in, make_fingerprints
from workflow_scripts.corpora.shingles import shingles_of


def corpus_of(seed: int) -> list[str]:
    """Thirty texts, each with three copies that are edited more and more."""
    draw = random.Random(seed)
    texts = []
    for _ in range(30):
        words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 9))) for _ in range(300)]
        for edits in (0, 1, 8, 60):
            texts.append(" ".join("edited" if draw.random() < edits / 300 else word for word in words))
    return texts


def test_precision_and_recall_against_exact_jaccard(tmp_path):
    """Of pairs of similarity 0.7 or more 99 % are clustered, of those below 0.3 none; between, chance decides."""
    close = found_close = far = found_far = 0
    for seed in range(3):
        texts = corpus_of(seed)
        write_shard(tmp_path / "a.parquet", "a", ((str(row), text) for row, text in enumerate(texts)))
        make_fingerprints(tmp_path / "a.parquet", {}, tmp_path)
        (batches,) = batches_in([tmp_path / "fingerprints.arrow"])
        roots = clusters_of(batches).of(np.arange(len(texts)))
        shingled = shingles_of(pa.array(texts, pa.large_string()))
        sets = [
            set(shingled.hashes[first:last].tolist())
            for first, last in zip(shingled.offsets, shingled.offsets[1:], strict=False)
        ]
        for left in range(len(texts)):
            for right in range(left):
                similarity = len(sets[left] & sets[right]) / len(sets[left] | sets[right])
                together = roots[left] == roots[right]
                close, found_close = close + (similarity >= 0.7), found_close + (similarity >= 0.7 and together)
                apart = left // 4 != right // 4
                far, found_far = far + apart, found_far + (apart and together)
    assert close > 60
    assert found_close >= 0.99 * close
    assert (far > 10_000, found_far) == (True, 0)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_similarities_are_those_of_whole_signatures_but_for_chance(seed, shared):
    """Six standard errors of 400 pairs: bytes that agree by chance are not counted as similar."""
    random = np.random.default_rng(seed)
    left, right = random.integers(2**32, size=(2, 400, 128), dtype=np.uint32)
    right = np.where(random.random(left.shape) < shared, left, right)
    estimated = similarities(lowest_bytes(left), lowest_bytes(right))
    assert abs((estimated - (left == right).mean(axis=1)).mean()) < 6 * np.sqrt(1 / 256 / 128 / 400)


def test_fingerprints_take_little_room(tmp_path):
    """A third of the text, of documents of a web page's length."""
    texts = ["\n".join(corpus_of(seed)[:2]) for seed in range(20)]
    write_shard(tmp_path / "a.parquet", "a", ((str(row), text) for row, text in enumerate(texts)))
    make_fingerprints(tmp_path / "a.parquet", {}, tmp_path)
    (batches,) = batches_in([tmp_path / "fingerprints.arrow"])
    room = sum(batch.column(name).nbytes for batch in batches for name in SCHEMA.names)
    assert room < 0.36 * sum(map(len, texts))


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.lists(st.tuples(*[st.integers(0, n - 1)] * 2), min_size=1)))))  # fmt: skip
def test_clusters_are_connected_components_named_by_their_first(given_links):
    documents, rounds = given_links
    clusters = Clusters(documents)
    parent = list(range(documents))
    for links in rounds:
        clusters.join(np.array(links).T)
        for left, right in links:
            first, second = sorted((parent[left], parent[right]))
            parent = [first if root == second else root for root in parent]
    assert clusters.of(np.arange(documents)).tolist() == parent
