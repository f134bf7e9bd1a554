"""The sections of a configuration, each checked by itself; `experiment.py` checks them against each other."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from workflow_scripts.strict import Strict
from workflow_scripts.training.shape import ModelShape
from workflow_scripts.whole import Count


def _named(name: str) -> str:
    if not re.fullmatch("[a-z0-9][a-z0-9_]*", name):
        raise ValueError("a name has small letters, digits and _, and begins with a letter or digit")
    return name


Name = Annotated[str, AfterValidator(_named)]
Characters = Count
Weight = Annotated[float, Field(gt=0)]


class Splits(Strict):
    """Shares of duplicate clusters that are held out."""

    validation: float = Field(0.03, gt=0, lt=0.5)
    test: float = Field(0.03, gt=0, lt=0.5)


class Tokenizer(Strict):
    """The byte-level BPE of all corpora of the experiment; with neither `corpus` nor `files`, tokens are bytes.

    It is one, since a target that is encoded otherwise than its source cannot start from the source's embeddings.  A
    vocabulary a language is an experiment a target, with `corpus` the target: its source is then encoded with it too.
    """

    corpus: str | None = None
    """Trained on the training split of this corpus."""
    files: str | None = None
    """A folder with GPT-2's `vocab.json` and `merges.txt`, or others in their format."""
    vocab_size: int = Field(257, ge=257, le=2**20)
    """Entries, of which 256 are bytes and one is the end of a text."""

    @model_validator(mode="after")
    def _one_origin(self) -> Tokenizer:
        if self.corpus is not None and self.files is not None:
            raise ValueError("train it on a `corpus` or take it from `files`, not both")
        if (self.vocab_size == 257) != (self.corpus is None and self.files is None):
            raise ValueError(
                f"vocab_size {self.vocab_size}: 257 entries are bytes alone, without `corpus` and `files`; with one of "
                "them there are more"
            )
        return self


class Shape(Strict):
    """A rung of the ladder: GPT-2's architecture at one size."""

    n_layer: int = Field(gt=0)
    d_model: int = Field(gt=0)
    n_head: int = Field(gt=0)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Shape:
        if self.d_model % self.n_head:
            raise ValueError(f"d_model {self.d_model} is not divisible by n_head {self.n_head}")
        return self

    def with_context(self, n_ctx: int, vocab_size: int) -> ModelShape:
        return ModelShape(self.n_layer, self.d_model, self.n_head, n_ctx, vocab_size)

    @property
    def name(self) -> str:
        """Non-embedding parameters in words: 6144 -> `6k`, 196608 -> `197k`, 1.2e9 -> `1200M`."""
        n_params = self.with_context(1, 1).parameter_counts()["body"]
        unit, letter = (1e6, "M") if n_params >= 1e6 else (1e3, "k")
        return f"{n_params / unit:.0f}{letter}"


class Model(Strict):
    n_ctx: int = Field(gt=1)
    sizes: tuple[Shape, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Model:
        names = [shape.name for shape in self.sizes]
        if len(set(names)) < len(names):
            raise ValueError(f"two sizes share a name among {names}: their parameter counts are too close")
        return self


class Pretrain(Strict):
    """One P for all sizes: one pass over `tokens` tokens of each source."""

    tokens: Count
    sources: tuple[str, ...] = Field(min_length=1)
    """Corpora or mixtures."""


class Grid(Strict):
    """From-scratch and fine-tuned cells that share a sampling unit."""

    unit: Literal["excerpt", "document"]
    sizes: Annotated[tuple[str, ...], Field(min_length=1)] | Literal["all"] = "all"
    finetune: tuple[Characters, ...] = Field(min_length=1)
    scratch: tuple[Characters, ...] = Field(min_length=3)
    """As many as a curve takes that effective data is read from."""

    @model_validator(mode="after")
    def _distinct(self) -> Grid:
        for key in ("finetune", "scratch"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"{key} names a data size twice: {list(values)}")
        return self


class Evaluation(Strict):
    """Held-out tokens: few while training decides when to stop, all of them once at the end."""

    stop_tokens: Count
    validation_tokens: Count
    test_tokens: Count


FEWEST_DRAWS = 100
"""That the ends of a 95 % interval can be read from."""


class Fit(Strict):
    """Which cells enter the fit, decided before the runs (DESIGN: rule 6), and how intervals are made."""

    d_f: tuple[Characters, Characters]
    """Smallest and largest D_F (characters) in the fit, both included."""
    draws: int = Field(1000, ge=FEWEST_DRAWS)
    seed: int = 0
    infinite_data_tolerance: float = Field(0.01, gt=0, lt=1)
    """D(N) is where the from-scratch loss is within this fraction of its infinite-data limit (paper A, footnote 7)."""
    low_data_share: float = Field(0.1, gt=0, le=1)
    """A cell is in the low-data regime up to this share of D(N) (paper A, section 1.1)."""

    @model_validator(mode="after")
    def _ordered(self) -> Fit:
        if self.d_f[0] > self.d_f[1]:
            raise ValueError(f"d_f {list(self.d_f)}: the first must not exceed the second")
        return self


LINEAR = ("dropout",)
"""Constants that may be 0; values of the others differ by factors."""


class Sweep(Strict):
    """What another value of one constant of the recipe would have changed, at chosen cells of both arms."""

    constant: Literal["learning_rate", "weight_decay", "dropout"]
    values: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = Field(min_length=2)
    """Beside the recipe's own."""
    sizes: tuple[str, ...] = Field(min_length=1)
    characters: tuple[Characters, ...] = Field(min_length=1)
