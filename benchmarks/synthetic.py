"""Time the synthetic generators.

Run ``python benchmarks/synthetic.py``; one core is used.  The first image of each kind is rendered before the
clock starts, because it compiles the fiber tracing.  Processor time is shown beside the wall clock: on a busy
machine only the former says what an image costs.
"""

import time

from nucseg.data.synthetic import (
    FluorescenceConfig,
    HEConfig,
    TissueConfig,
    render_fluorescence,
    render_he,
    render_tissue,
)

IMAGES = 10
CASES = (
    (render_he, HEConfig()),
    (render_he, HEConfig(size=256, nuclei=38)),
    (render_he, HEConfig(size=1000, nuclei=570)),
    (render_fluorescence, FluorescenceConfig()),
    (render_fluorescence, FluorescenceConfig(size=512, nuclei=150)),
    (render_tissue, TissueConfig()),
)


def main():
    """Print seconds per image."""
    print(f"{'generator':22s}{'size':>6s}{'nuclei':>8s}{'wall s':>9s}{'cpu s':>9s}")
    for render, config in CASES:
        render(config)
        wall, processor = time.perf_counter(), time.process_time()
        for seed in range(IMAGES):
            render(config, seed)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        nuclei = getattr(config, "nuclei", "-")
        print(f"{render.__name__:22s}{config.size:6d}{nuclei!s:>8s}{wall / IMAGES:9.3f}{processor / IMAGES:9.3f}")


if __name__ == "__main__":
    main()
