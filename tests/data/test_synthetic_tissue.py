"""Synthetic tissue: tags, masks and the knobs that make class activation maps fail in a controlled way."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from nucseg.data.stain import separate_stains
from nucseg.data.synthetic import TISSUE_CLASSES, TissueConfig, render_tissue

PLAIN = TissueConfig(noise=0, blur=0, variation=0)
TUMOR, NECROSIS, LYMPHOCYTES, STROMA, WHITE = range(5)


def first_with(names, config=PLAIN, without=()):
    """The first seed whose image has (and lacks) the given tags."""
    for seed in range(200):
        sample = render_tissue(dataclasses.replace(config, size=64), seed)
        if all(sample.tags[n] for n in names) and not any(sample.tags[n] for n in without):
            return seed
    raise AssertionError(f"no image with {names}")


@pytest.mark.parametrize("seed", range(8))
def test_tags_are_the_classes_of_the_mask(seed):
    sample = render_tissue(seed=seed)
    assert sample.image.shape == (224, 224, 3) and sample.mask.dtype == np.uint8 and sample.labels is None
    assert tuple(sample.tags) == TISSUE_CLASSES
    shares = np.bincount(sample.mask.ravel(), minlength=5) / sample.mask.size
    assert len(shares) == 5
    for index, name in enumerate(TISSUE_CLASSES):
        assert sample.tags[name] == (shares[index] > 0)
        assert shares[index] == 0 or shares[index] >= 0.04


def test_single_knob_sets_the_number_of_classes():
    for single, expected in ((1, {1}), (0, {2, 3})):
        config = TissueConfig(size=64, single=single)
        assert {sum(render_tissue(config, seed).tags.values()) for seed in range(25)} == expected


def test_tumor_hardly_ever_comes_without_stroma_or_necrosis():
    samples = [render_tissue(TissueConfig(size=64), seed) for seed in range(80)]
    with_tumor = [s.tags for s in samples if s.tags["tumor epithelium"]]
    assert np.mean([t["stroma"] for t in with_tumor]) > 0.6


@pytest.mark.parametrize("core", [0.3, 0.45, 0.7])
def test_core_knob_is_the_share_of_a_region_with_full_texture(core):
    for seed in range(6):
        sample = render_tissue(TissueConfig(core=core), seed)
        for index, factor in ((TUMOR, 1), (NECROSIS, 1), (LYMPHOCYTES, 0.55 / 0.45), (STROMA, 0.60 / 0.45)):
            region = sample.mask == index
            if region.any():
                assert sample.meta["core"][region].mean() == pytest.approx(min(core * factor, 1), abs=0.01)
        assert not sample.meta["core"][sample.mask == WHITE].any()


def test_cores_look_like_their_class_and_remainders_look_alike():
    stains = {"core": {}, "rest": {}}
    for seed in range(40):
        sample = render_tissue(PLAIN, seed)
        amounts = separate_stains(sample.image, sample.meta["stain_vectors"])
        for index in range(4):
            for part, where in (("core", sample.meta["core"]), ("rest", ~sample.meta["core"])):
                pixels = amounts[(sample.mask == index) & where]
                if len(pixels):
                    stains[part].setdefault(index, []).append(pixels.mean(axis=0))
    core, rest = ({k: np.mean(v, axis=0) for k, v in stains[part].items()} for part in ("core", "rest"))
    assert core[LYMPHOCYTES][0] > 1.5 * core[STROMA][0] and core[TUMOR][0] > 1.5 * core[STROMA][0]
    assert core[NECROSIS][1] > 1.2 * max(core[i][1] for i in (TUMOR, LYMPHOCYTES, STROMA))

    def spread(means):
        return np.ptp([means[i] for i in (TUMOR, NECROSIS, STROMA)], axis=0).max()

    assert spread(rest) < 0.5 * spread(core)


def test_halo_changes_nothing_but_the_stroma_beside_tumor():
    seed = first_with(["tumor epithelium", "stroma"])
    without, with_halo = (render_tissue(dataclasses.replace(PLAIN, halo=h), seed) for h in (0, 1))
    changed = (without.image != with_halo.image).any(axis=2)
    assert np.array_equal(without.mask, with_halo.mask) and changed.any()
    distance = ndimage.distance_transform_edt(without.mask != TUMOR)
    allowed = ndimage.binary_dilation((without.mask == STROMA) & (distance <= 14), iterations=4)
    assert not (changed & ~allowed).any()
    bluer = [separate_stains(s.image, s.meta["stain_vectors"])[changed, 0].mean() for s in (without, with_halo)]
    assert bluer[1] > bluer[0]


def test_strays_add_hematoxylin_to_stroma_alone():
    seed = first_with(["lymphocytes", "stroma"])
    none, many = (render_tissue(dataclasses.replace(PLAIN, strays=s), seed) for s in (0, 1))
    changed = (none.image != many.image).any(axis=2)
    assert changed.any()
    assert not (changed & ~ndimage.binary_dilation(none.mask == STROMA, iterations=6)).any()
    amounts = [separate_stains(s.image, s.meta["stain_vectors"])[..., 0] for s in (none, many)]
    assert (amounts[1] - amounts[0])[changed].mean() > 0.1


def test_white_is_white_and_follows_its_knob():
    for seed in range(6):
        sample = render_tissue(dataclasses.replace(PLAIN, holes=1), seed)
        white = ndimage.binary_erosion(sample.mask == WHITE, iterations=5)
        assert 0.03 < (sample.mask == WHITE).mean() < 0.25
        assert sample.image[white].mean() > 225
        assert not (render_tissue(dataclasses.replace(PLAIN, holes=0), seed).mask == WHITE).any()
