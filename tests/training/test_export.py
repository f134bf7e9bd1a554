"""The model is GPT-2: another implementation, given the same weights, gives the same loss."""

import json

import pytest
import torch

from workflow_scripts.tokens.vocabulary import END_OF_TEXT
from workflow_scripts.training.export import export
from workflow_scripts.training.model import GPT
from workflow_scripts.training.shape import ModelShape

SHAPES = [
    ModelShape(n_layer=2, d_model=14, n_head=2, n_ctx=32, vocab_size=300),
    ModelShape(n_layer=3, d_model=48, n_head=4, n_ctx=64, vocab_size=1024),
]


@pytest.fixture
def exported(tmp_path):
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models

    def make(shape, failure=None, end_last=False):
        model = GPT(shape)
        model.initialise(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
        run = tmp_path / "run"
        run.mkdir()
        save_file(model.state_dict(), run / "model.safetensors")
        record = {"identity": {"specification": {"model": vars(shape)}}, "failure": failure}
        (run / "run.json").write_text(json.dumps(record))
        others = [chr(33 + i) for i in range(shape.vocab_size - 1)]
        vocabulary = {
            token: i for i, token in enumerate([*others, END_OF_TEXT] if end_last else [END_OF_TEXT, *others])
        }
        Tokenizer(models.BPE(vocabulary, [])).save(str(tmp_path / "tokenizer.json"))
        export(run, tmp_path / "tokenizer.json", tmp_path / "out")
        return model, tmp_path / "out"

    return make


@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_agrees_on_loss_and_gradient(exported, shape):
    from transformers import GPT2LMHeadModel

    ours, folder = exported(shape)
    theirs = GPT2LMHeadModel.from_pretrained(folder)
    tokens = torch.randint(0, shape.vocab_size, (3, shape.n_ctx + 1), generator=torch.Generator().manual_seed(0))
    loss = ours(tokens[:, :-1], tokens[:, 1:])
    logits = theirs(tokens[:, :-1]).logits
    reference = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(reference.item(), abs=1e-5)
    loss.backward()
    reference.backward()
    torch.testing.assert_close(ours.embedding.weight.grad, theirs.transformer.wte.weight.grad, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(
        ours.blocks[0].attention.qkv.weight.grad.T,
        theirs.transformer.h[0].attn.c_attn.weight.grad,
        rtol=1e-3,
        atol=1e-6,
    )
    assert sum(p.numel() for p in theirs.parameters()) == shape.parameter_counts()["total"]


@pytest.mark.parametrize("end_last", [False, True], ids=["ours", "GPT-2's"])
def test_the_tokenizer_comes_along(exported, end_last):
    """`generate` stops at the token that config.json names: with GPT-2's vocabulary it was `!`."""
    from transformers import AutoTokenizer

    _, folder = exported(SHAPES[0], end_last=end_last)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    end = SHAPES[0].vocab_size - 1 if end_last else 0
    config = json.loads((folder / "config.json").read_text())
    assert tokenizer.eos_token_id == config["eos_token_id"] == config["bos_token_id"] == end
    assert tokenizer.model_max_length == SHAPES[0].n_ctx


def test_a_failed_run_has_nothing_to_export(exported):
    with pytest.raises(ValueError, match="failed and has no weights"):
        exported(SHAPES[0], failure="loss nan")
