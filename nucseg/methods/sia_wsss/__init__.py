"""SIA-WSSS (Fan et al. 2025): tissue classes of pixels from image tags, with inhibition and activation."""

from nucseg.methods.sia_wsss.config import (
    ActivationConfig,
    InhibitionConfig,
    MapConfig,
    ModulationConfig,
    SIAWSSSConfig,
)
from nucseg.methods.sia_wsss.explanation import Explanation
from nucseg.methods.sia_wsss.method import SIAWSSS

__all__ = [
    "SIAWSSS",
    "ActivationConfig",
    "Explanation",
    "InhibitionConfig",
    "MapConfig",
    "ModulationConfig",
    "SIAWSSSConfig",
]
