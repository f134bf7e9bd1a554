"""The shape of a model, and everything that can be counted from it without building one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelShape:
    n_layer: int
    d_model: int
    n_head: int
    n_ctx: int
    vocab_size: int

    def parameter_counts(self) -> dict[str, int]:
        """Every group of parameters in closed form, and their sum.

        `body` is Kaplan's N = 12 n_layer d_model² (2020, eq. 2.1).  The head is tied to the embedding: it has no
        parameters of its own, but its multiplications count in `flops_per_token`.
        """
        counts = {
            "body": 12 * self.n_layer * self.d_model**2,
            "norms_and_biases": self.n_layer * 13 * self.d_model + 2 * self.d_model,
            "embedding": self.vocab_size * self.d_model,
            "position": self.n_ctx * self.d_model,
        }
        return {**counts, "total": sum(counts.values())}

    def flops_per_token(self, *, with_head: bool) -> int:
        """Training FLOPs a token: three times the forward pass 2N + 2 n_layer n_ctx d_model (Kaplan et al. 2020,
        table 1), with or without the 2 V d_model of the output layer (Porian et al. 2024)."""
        forward = 2 * self.parameter_counts()["body"] + 2 * self.n_layer * self.n_ctx * self.d_model
        return 3 * (forward + (2 * self.vocab_size * self.d_model if with_head else 0))
