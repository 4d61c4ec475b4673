"""From maps to instances."""

from nucseg.postprocess.components import components

__all__ = ["components"]
