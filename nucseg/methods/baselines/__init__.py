"""The systems that the papers compare with."""

from nucseg.methods.baselines.fully_supervised import FullySupervised, FullySupervisedConfig

__all__ = ["FullySupervised", "FullySupervisedConfig"]
