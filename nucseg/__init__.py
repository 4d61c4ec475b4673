"""Weakly supervised segmentation in pathology: five papers, one library.

Importing :mod:`nucseg` is cheap; the parts are imported by name, for example
``from nucseg.metrics import aji``.
"""

__version__ = "0.1.0"
