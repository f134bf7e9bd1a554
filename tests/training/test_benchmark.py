"""The benchmark beside peers is run by hand: that it still runs is seen here."""

import numpy as np
import pytest

from workflow_scripts.training.shape import ModelShape


@pytest.mark.parametrize("contender", ["ours", "plain_loop"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_ours_and_a_peer_train_the_same_shape(contender, precision):
    from benchmarks import trainer

    tokens = np.random.default_rng(0).integers(0, 64, 2_000)
    run = getattr(trainer, contender)(ModelShape(1, 8, 2, trainer.N_CTX, 64), 4, tokens, precision)
    assert run(2) > 0


def test_contenders_take_turns_in_processes_of_their_own(monkeypatch):
    from benchmarks import trainer

    monkeypatch.setattr(trainer, "CONTENDERS", {name: trainer.CONTENDERS[name] for name in ("ours", "plain loop")})
    rate = trainer.compare(ModelShape(1, 8, 2, trainer.N_CTX, 64), 4, seconds=0.01, rounds=1)
    assert set(rate) == {(name, p) for name in trainer.CONTENDERS for p in ("float32", "bfloat16")}
    assert min(rate.values()) > 0
    rate |= {(name, p): 1.0 for name in (*trainer.PEERS, trainer.TUNED) for p in ("float32", "bfloat16")}
    cells = trainer.row("6k", 64, 4, {"float32": 1e11, "bfloat16": 1e11}, rate)
    assert cells[:3] == ["4 x 128", "6k", "64"]
