"""The book's tools are scripts and Sphinx extensions beside each other, not a package."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "workflow", ROOT / "book" / "_ext"):
    sys.path.insert(0, str(folder))


@pytest.fixture
def root():
    """The repository."""
    return ROOT
