"""The figures of an experiment, one module each."""

FIGURES = ("effective_data", "transfer_law", "data_limited", "sampling_unit", "best_epoch", "noise_scale")
