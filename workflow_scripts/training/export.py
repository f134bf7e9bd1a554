"""A run as a folder that Hugging Face's `transformers` loads: `GPT2LMHeadModel.from_pretrained(folder)`.

python -m workflow_scripts.training.export --run E/training/RUN --tokenizer E/tokens/tokenizer.json --out FOLDER
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from workflow_scripts.files import read_json, write_json, write_text, written
from workflow_scripts.tokens.vocabulary import END_OF_TEXT, end_of_text_of

TRANSPOSED = ("qkv", "out", "up", "down")
"""GPT-2's published weights are (in, out); torch's linear layers are (out, in)."""
NAMES = {
    "embedding": "wte",
    "position": "wpe",
    "norm": "ln_f",
    "norm_1": "ln_1",
    "norm_2": "ln_2",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "up": "mlp.c_fc",
    "down": "mlp.c_proj",
}


def gpt2_name(name: str) -> str:
    """`blocks.0.attention.qkv.weight` -> `transformer.h.0.attn.c_attn.weight`."""
    module, kind = name.rsplit(".", 1)
    if module.startswith("blocks."):
        _, block, inner = module.split(".", 2)
        return f"transformer.h.{block}.{NAMES[inner]}.{kind}"
    return f"transformer.{NAMES[module]}.{kind}"


def gpt2_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict under GPT-2's names and orientations; the head is tied to the embedding and not stored twice."""
    return {
        gpt2_name(name): tensor.T.contiguous() if name.endswith(tuple(f"{t}.weight" for t in TRANSPOSED)) else tensor
        for name, tensor in weights.items()
    }


def gpt2_config(model: dict[str, int], end_of_text: int) -> dict[str, Any]:
    """`config.json` for the shape of a run (`specification.model`) and the number of the token that ends a text."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": model["vocab_size"],
        "n_positions": model["n_ctx"],
        "n_embd": model["d_model"],
        "n_layer": model["n_layer"],
        "n_head": model["n_head"],
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "tie_word_embeddings": True,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "torch_dtype": "float32",
    }


def export(run: Path, tokenizer: Path, out: Path) -> None:
    """Writes `config.json`, `model.safetensors`, `tokenizer.json` and `tokenizer_config.json` to `out`.

    Raises ValueError if the run failed or is simulated: it has no weights.
    """
    record = read_json(run / "run.json")
    if "simulated" in record["identity"]["specification"]:
        raise ValueError(f"{run}: this run is simulated and has no weights")
    if record["failure"]:
        raise ValueError(f"{run}: this run failed and has no weights ({record['failure']})")
    model = record["identity"]["specification"]["model"]
    out.mkdir(parents=True, exist_ok=True)
    with written(out / "model.safetensors") as temporary:
        save_file(gpt2_weights(load_file(run / "model.safetensors")), temporary, metadata={"format": "pt"})
    write_text(out / "tokenizer.json", tokenizer.read_text(encoding="utf-8"))
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT)
    write_json(
        out / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": model["n_ctx"], **special},
    )
    write_json(out / "config.json", gpt2_config(model, end_of_text_of(Tokenizer.from_file(str(tokenizer)))))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, type=Path, help="folder of a run: run.json and model.safetensors")
    parser.add_argument("--tokenizer", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args(argv)
    try:
        export(arguments.run, arguments.tokenizer, arguments.out)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
