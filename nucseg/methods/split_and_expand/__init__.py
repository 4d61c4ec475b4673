"""Split and expand (Foo et al. 2022): divide clumps by centers, grow missed nuclei by relevance."""

from nucseg.methods.split_and_expand.config import ReweightingConfig, SplitAndExpandConfig
from nucseg.methods.split_and_expand.method import SplitAndExpand

__all__ = ["ReweightingConfig", "SplitAndExpand", "SplitAndExpandConfig"]
