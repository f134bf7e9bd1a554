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
