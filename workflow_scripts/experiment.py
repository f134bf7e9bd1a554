"""The configuration of an experiment: one frozen model, built once, shared by the Snakefile and every step.

`Experiment.load(path)` reads and checks a file; everything else here derives what the stages need from it: the
cells of the grid, their identities, the sizes with their parameter counts.  Nothing heavy is imported.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from workflow_scripts.configuration import ConfigurationError, explain, read_yaml, with_base
from workflow_scripts.corpora.sources import Source
from workflow_scripts.grid import Run
from workflow_scripts.sections import (
    LINEAR,
    Evaluation,
    Fit,
    Grid,
    Model,
    Name,
    Pretrain,
    Splits,
    Sweep,
    Tokenizer,
    Weight,
)
from workflow_scripts.strict import Strict
from workflow_scripts.training.planted import Simulated
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.shape import ModelShape


class Experiment(Strict):
    experiment: Name
    title: str
    """The question in words; the report's heading."""
    target: Name
    """The corpus whose data is priced."""
    corpora: dict[Name, dict[Name, Source]]
    mixtures: dict[Name, Annotated[dict[Name, Weight], Field(min_length=2)]] = Field(default_factory=dict)
    """Sources made of corpora: name -> corpus -> weight, in tokens (`{english: 1, code: 1}` is half and half)."""
    splits: Splits = Splits()
    tokenizer: Tokenizer
    model: Model
    pretrain: Pretrain
    excerpt_tokens: int = Field(gt=0)
    grids: tuple[Grid, ...] = Field(min_length=1)
    """The law is fitted to the first grid; others stand beside it."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    recipe: Recipe
    trainable: str = Field("all", pattern=r"^(all|norms_and_embeddings|last_blocks:[1-9][0-9]*)$")
    """What fine-tuning trains: all weights, norms and embeddings, or the last k blocks and the final norm."""
    sweeps: tuple[Sweep, ...] = ()
    """Targets of their own (`snakemake sweeps`); no law is fitted to them."""
    evaluation: Evaluation
    fit: Fit
    simulated: Simulated | None = None
    """Runs are drawn from this truth instead of being trained; results stand apart, and say so everywhere."""
    gpu: int = Field(1, ge=0)
    """GPUs a training job takes where there are any; 0 keeps it on the CPU.  With more than one the processes of a job
    share each batch (DDP), and `batch_sequences` must be a multiple of it; a small set's batch may be none, and each takes it whole."""
    nodes: int = Field(1, ge=1)
    """Nodes of a cluster that a training job's GPUs are spread over, evenly; with `gpu` = 0 a process a node trains."""
    shard: bool = False
    """Spread the weights over a job's GPUs (FSDP2), for models that do not fit in one."""
    micro_batch: int | None = Field(None, gt=0)
    """Most sequences in one forward pass of a device; more are accumulated.  Without it a GPU takes a batch at once, and a CPU as
    many as stay in its cache."""
    checkpoint_seconds: float = Field(60, ge=0)
    """A run that is killed loses at most this much work."""
    share_process_below: int | None = Field(None, ge=0)
    """Cells of fewer characters than this share a process; only a matter of speed.  Without it none do, and all where
    runs are simulated."""

    @model_validator(mode="after")
    def _names_exist(self) -> Experiment:
        corpora, sizes = sorted(self.corpora), [shape.name for shape in self.model.sizes]
        for key, name in [
            ("target", self.target),
            *[("pretrain.sources", source) for source in self.pretrain.sources if source not in self.mixtures],
            *[(f"mixtures.{mixture}", part) for mixture, parts in self.mixtures.items() for part in parts],
            *([("tokenizer.corpus", self.tokenizer.corpus)] if self.tokenizer.corpus is not None else []),
        ]:
            if name not in self.corpora:
                raise ValueError(f"{key}: {name!r} is not one of the corpora {corpora}")
        for mixture in self.mixtures:
            if mixture in self.corpora:
                raise ValueError(f"mixtures.{mixture}: a corpus has this name; choose another")
        for source in self.pretrain.sources:
            if self.target in self.shares(source):
                within = "" if source == self.target else f", as part of {source!r}"
                raise ValueError(f"pretrain.sources: the target {self.target!r} cannot be its own source{within}")
        for name, sources in self.corpora.items():
            if not any(source.enabled for source in sources.values()):
                raise ValueError(f"corpora.{name}: no source is enabled")
        unknown = [
            f"{key}.{index}.sizes: {', '.join(map(repr, missing))}"
            for key, parts in (("grids", self.grids), ("sweeps", self.sweeps))
            for index, part in enumerate(parts)
            if part.sizes != "all" and (missing := [size for size in part.sizes if size not in sizes])
        ]
        if unknown:
            raise ValueError(
                f"{'; '.join(unknown)}: not one of the sizes {sizes} of `model`. A list of a `base` is taken or replaced"
                " whole: with other sizes restate `grids`, and `sweeps` (`sweeps: []` for none)"
            )
        depth = min(shape.n_layer for shape in self.model.sizes)
        if self.trainable.startswith("last_blocks") and int(self.trainable.split(":")[1]) > depth:
            raise ValueError(f"trainable: {self.trainable!r} is more than the {depth} blocks of the smallest model")
        units = [grid.unit for grid in self.grids]
        if len(set(units)) < len(units):
            raise ValueError(f"grids: a sampling unit may have one grid, found {units}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: a seed stands twice in {list(self.seeds)}")
        return self

    @model_validator(mode="after")
    def _sweeps_are_possible(self) -> Experiment:
        for index, sweep in enumerate(self.sweeps):
            key, values = f"sweeps.{index}.values", self._swept(sweep)
            if len({f"{value:g}" for value in values}) < len(values):
                raise ValueError(f"{key}: two of {values} are the same in six figures")
            if values[0] == 0 and sweep.constant not in LINEAR:
                raise ValueError(f"{key}: 0: values of {sweep.constant} differ by factors; take a small one")
            for value in values:
                try:
                    Recipe.model_validate(self.recipe.model_dump() | {sweep.constant: value})
                except ValidationError as error:
                    raise ValueError(f"{key}: {value:g}: {error.errors()[0]['msg']}") from None
        return self

    @model_validator(mode="after")
    def _can_work(self) -> Experiment:
        low, high = self.fit.d_f
        if not any(low <= d <= high for d in self.grids[0].finetune):
            raise ValueError(f"fit.d_f: no finetune size of the first grid lies in {[low, high]}")
        for key, tokens in self.evaluation.model_dump().items():
            if tokens <= self.model.n_ctx:
                raise ValueError(f"evaluation.{key}: {tokens} tokens do not fill one context of {self.model.n_ctx}")
        beyond_warm_up = (self.recipe.warmup_steps + 1) * self.recipe.batch_sequences * self.model.n_ctx
        if self.pretrain.tokens < beyond_warm_up:
            raise ValueError(
                f"pretrain.tokens: {self.pretrain.tokens:,} end inside the warm-up of {self.recipe.warmup_steps} steps; take"
                f" {beyond_warm_up:,}, or lower recipe.warmup_steps"
            )
        if self.gpu % self.nodes:
            raise ValueError(f"gpu: {self.gpu} is no multiple of nodes: {self.nodes}, and every node has equally many")
        key, devices = ("gpu", self.gpu) if self.gpu else ("nodes", self.nodes)
        if self.recipe.batch_sequences % devices:
            raise ValueError(
                f"{key}: {devices} devices cannot share {self.recipe.batch_sequences} recipe.batch_sequences"
            )
        if self.simulated and set(self.simulated.laws) != set(self.pretrain.sources):
            raise ValueError(
                f"simulated.laws: found {sorted(self.simulated.laws)}, expected a law for each of pretrain.sources,"
                f" {sorted(self.pretrain.sources)}"
            )
        if self.experiment == "store":
            raise ValueError("experiment: 'store' is the name of the shared store; choose another")
        return self

    @classmethod
    def load(cls, path: str | Path) -> Experiment:
        """Raises ConfigurationError with every problem of the file."""
        return cls.parse(read_yaml(path), str(path))

    @classmethod
    def parse(cls, config: Any, name: str) -> Experiment:
        """`config` as read from YAML, put on top of its `base`; `name` is the file, for messages.

        Raises ConfigurationError.
        """
        try:
            return cls.model_validate(with_base(config, name))
        except ValidationError as error:
            raise ConfigurationError(explain(error, name)) from None

    @property
    def folder(self) -> str:
        """Name of its folder below `results/`.  Simulated results have one of their own: they replace no measured ones."""
        return f"{self.experiment}.simulated" if self.simulated else self.experiment

    @cached_property
    def shapes(self) -> dict[str, ModelShape]:
        """Size name -> shape, from small to large N."""
        shapes = {
            shape.name: shape.with_context(self.model.n_ctx, self.tokenizer.vocab_size) for shape in self.model.sizes
        }
        return dict(sorted(shapes.items(), key=lambda item: item[1].parameter_counts()["body"]))

    def enabled_sources(self, corpus: str) -> dict[str, Source]:
        return {name: source for name, source in self.corpora[corpus].items() if source.enabled}

    def shares(self, source: str) -> dict[str, float]:
        """The corpora that a source of pre-training is made of, with their shares of its tokens."""
        weights = self.mixtures.get(source, {source: 1.0})
        return {corpus: weight / sum(weights.values()) for corpus, weight in weights.items()}

    def tokens_of(self, source: str, seed: int) -> str:
        """The folder of the stage `tokens` that holds a source: its own for each seed, if it is a mixture."""
        return f"{source}.seed{seed}" if source in self.mixtures else source

    @cached_property
    def used_corpora(self) -> list[str]:
        parts = [corpus for source in self.pretrain.sources for corpus in self.shares(source)]
        named = [self.target, self.tokenizer.corpus, *parts]
        return list(dict.fromkeys(name for name in named if name is not None))

    @cached_property
    def used_mixtures(self) -> list[str]:
        return [source for source in self.pretrain.sources if source in self.mixtures]

    @property
    def token_folders(self) -> list[str]:
        """Every folder of the stage `tokens`."""
        return [*self.used_corpora, *(self.tokens_of(name, seed) for name in self.used_mixtures for seed in self.seeds)]

    @cached_property
    def runs(self) -> list[Run]:
        """Every run of the experiment."""
        runs = []
        for seed in self.seeds:
            for size in self.shapes:
                for source in self.pretrain.sources:
                    runs.append(Run("pretrain", source, "document", size, None, seed))
                    runs.append(Run("zero_shot", source, "document", size, 0, seed))
            for grid in self.grids:
                for size in self.shapes if grid.sizes == "all" else grid.sizes:
                    runs.extend(Run("scratch", None, grid.unit, size, d, seed) for d in sorted(grid.scratch))
                    for source in self.pretrain.sources:
                        runs.extend(Run("finetune", source, grid.unit, size, d, seed) for d in sorted(grid.finetune))
        return runs

    def _swept(self, sweep: Sweep) -> list[float]:
        """The values of a sweep and the recipe's own, in order."""
        return sorted({getattr(self.recipe, sweep.constant), *sweep.values})

    @cached_property
    def sweep_runs(self) -> list[Run]:
        """The runs of all sweeps; those at the recipe's own value are runs like any other, with a place of
        their own."""
        unit = self.grids[0].unit
        return [
            Run(arm, source, unit, size, d, seed, sweep.constant, value)
            for sweep in self.sweeps
            for value in self._swept(sweep)
            for size in sweep.sizes
            for d in sweep.characters
            for seed in self.seeds
            for arm, source in [("scratch", None), *(("finetune", source) for source in self.pretrain.sources)]
        ]

    def job(self, run: Run) -> str:
        """Name of the job that a run belongs to: small cells that share everything but D share a process, and the
        evaluation of the pre-trained weights goes with the fine-tuning runs that start from them."""
        if run.arm == "pretrain":
            return run.siblings
        if run.arm == "zero_shot":
            return f"{replace(run, arm='finetune', unit=self.grids[0].unit).siblings}/small"
        limit = self.share_process_below
        together = self.simulated is not None if limit is None else run.characters < limit
        return f"{run.siblings}/small" if together else run.folder

    def specification(self, run: Run) -> dict[str, Any]:
        """The declared scientific choices of a run: what its identity is made of.

        The arms differ in `initial` alone (DESIGN: rule 1), unless `trainable` says otherwise.
        """
        if run.arm == "pretrain":
            corpus = self.tokens_of(run.source, run.seed)
            data = {"corpus": corpus, "unit_tokens": None, "tokens": self.pretrain.tokens}
            if run.source in self.mixtures:
                data["shares"] = self.shares(run.source)
        else:
            excerpt = self.excerpt_tokens if run.unit == "excerpt" else None
            data = {"corpus": self.target, "unit_tokens": excerpt, "characters": run.characters}
        recipe = self._constants["recipe"]
        if run.sweep:
            recipe = recipe | {run.sweep: run.value}
        before = None if run.arm in ("pretrain", "scratch") else self.specification(self.pretraining_of(run))
        return {
            **self._truth(run),
            "model": vars(self.shapes[run.size]),
            "data": data,
            "seed": run.seed,
            "recipe": recipe,
            "evaluation": self._constants["evaluation"],
            "initial": before,
            "trainable": self.trainable if run.arm == "finetune" else "all",
        }

    def _truth(self, run: Run) -> dict[str, Any]:
        """What a simulated run is drawn from; nothing for a run that is trained."""
        if self.simulated is None:
            return {}
        law = None if run.arm in ("pretrain", "scratch") else self.simulated.laws[run.source].model_dump()
        return {"simulated": {"law": law, **self._constants["truth"]}}

    @cached_property
    def _constants(self) -> dict[str, Any]:
        """What the specifications of all runs share: made once, for grids of 10,000 cells."""
        truth = self.simulated
        return {
            "recipe": self.recipe.model_dump(),
            "evaluation": {**self.evaluation.model_dump(), "unit_tokens": self.excerpt_tokens},
            "truth": {"loss": truth.loss.model_dump(), "noise": asdict(truth.noise)} if truth else None,
        }

    def labels(self) -> dict[str, dict[str, str]]:
        """Run folder -> the run's place in the experiment, as it stands in `runs.parquet`."""
        return {
            run.folder: {
                "arm": run.arm,
                "init": "scratch" if run.arm in ("scratch", "pretrain") else run.source,
                "corpus": run.source if run.arm == "pretrain" else self.target,
                "unit": run.unit,
                "size": run.size,
            }
            for run in self.runs
        }

    @property
    def _data_sizes(self) -> list[int]:
        swept = [d for sweep in self.sweeps for d in sweep.characters]
        return [d for grid in self.grids for d in (*grid.finetune, *grid.scratch, *swept)]

    def smallest_set(self) -> dict[str, str | int]:
        """The set that must still fill a context of `n_ctx` tokens, and hold `least_tokens`, or its budget would end inside the
        warm-up: its corpus and its characters."""
        epoch_steps = (self.recipe.warmup_steps + 1) / self.recipe.budget_epochs  # that get past the warm-up
        sequences = 1 if epoch_steps <= self.recipe.steps_an_epoch else self.recipe.batch_sequences
        return {
            "corpus": self.target,
            "characters": min(self._data_sizes),
            "n_ctx": self.model.n_ctx,
            "least_tokens": math.ceil(epoch_steps * sequences * self.model.n_ctx),
        }

    def data_needs(self) -> dict[str, dict[str, dict[str, int]]]:
        """What the corpora must hold: corpus -> split -> `characters` or `tokens` -> count."""
        held_out = {
            "validation": {"tokens": max(self.evaluation.stop_tokens, self.evaluation.validation_tokens)},
            "test": {"tokens": self.evaluation.test_tokens},
        }
        needs = {self.target: {"train": {"characters": max(self._data_sizes)}, **held_out}}
        for source in self.pretrain.sources:
            for corpus, share in self.shares(source).items():
                asked = {"train": {"tokens": self.pretrain.tokens}, **held_out}
                known = needs.setdefault(corpus, {split: {"tokens": 0} for split in asked})
                for split, counts in asked.items():
                    known[split]["tokens"] = max(known[split]["tokens"], math.ceil(share * counts["tokens"]))
        return needs

    @staticmethod
    def pretraining_of(run: Run) -> Run:
        """The pre-training run whose weights a fine-tuning run of the same seed starts from."""
        return Run("pretrain", run.source, "document", run.size, None, run.seed)
