"""SIA-WSSS keeps the promises of a method; its batches, labels, stitching and log do what they say."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from method_checks import (
    changed,
    check_config,
    check_damaged,
    check_independence,
    check_not_fitted,
    check_saved,
    cpu,
    same_weights,
)

from nucseg.data.sample import Dataset, Sample
from nucseg.data.synthetic import TISSUE_CLASSES, TissueConfig, render_tissue
from nucseg.engine import fabric
from nucseg.errors import DataError, NucsegError, UnknownNameError
from nucseg.methods import SIAWSSS, SIAWSSSConfig
from nucseg.methods.sia_wsss import ActivationConfig, InhibitionConfig, MapConfig, ModulationConfig
from nucseg.models import TissueViTConfig, TokenGraphConfig, sia_wsss

VIT = TissueViTConfig(width=24, depth=2, heads=2, stem="convolutional", stem_channels=(6, 8, 12), auxiliary=1, size=64,
                      weights=None)
TINY = SIAWSSSConfig(
    vit=VIT, activation=ActivationConfig(crop=32, crops=2, channels=8), modulation=ModulationConfig(erosion=3),
    inhibition=InhibitionConfig(graph=TokenGraphConfig(neighbors=4)), decoder_channels=16, dilation=1, patch=64,
    epochs=2, batch=3, learning_rate=1e-3, start=0.0, segmentation_start=0.0, white_size=5,
)
SEEDS = {"a": 0, "b": 3, "c": 5, "d": 8, "v": 11, "w": 13}


def tissue(name):
    return replace(render_tissue(TissueConfig(size=64), SEEDS[name]), id=name)


SAMPLES = {name: tissue(name) for name in SEEDS}
IMAGES = [SAMPLES[name].image for name in "avw"]


def samples(names):
    return Dataset("tissue", list(names), SAMPLES.__getitem__)


@pytest.fixture(scope="module", autouse=True)
def float32():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nucseg.methods.tiling.choose_precision", lambda *_: "32-true")
        yield


def fit(config, folder, train=None, val=None, **options):
    options = {"fabric": cpu(), "progress": False, **options}
    train, val = samples("abcd") if train is None else train, samples("vw") if val is None else val
    return SIAWSSS(config).fit(train, val, run_dir=folder, **options)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fit(TINY, tmp_path_factory.mktemp("run"))


def check_predictions(method, image, classes=4):
    before = image.copy()
    labels, maps = method.predict(image), method.predict_maps(image)
    assert labels.shape == image.shape[:2] and labels.dtype == np.int32
    assert labels.min() >= 0 and labels.max() < len(maps)
    assert tuple(maps)[:classes] == TISSUE_CLASSES[:classes]
    for values in maps.values():
        assert values.shape == image.shape[:2] and values.dtype == np.float32
        assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1 + 1e-6
    stacked = np.stack(list(maps.values()))
    assert (np.take_along_axis(stacked, labels[None].astype(np.int64), 0)[0] == stacked.max(axis=0)).all()
    assert np.array_equal(image, before)


def test_it_keeps_the_promises_of_a_method(fitted, tmp_path):
    check_predictions(fitted, IMAGES[0])
    check_independence(fitted, IMAGES)
    check_saved(fitted, tmp_path / "saved", IMAGES)
    check_damaged(fitted, tmp_path / "damaged")
    check_not_fitted(SIAWSSS(TINY), tmp_path)
    check_config(fitted.config)
    check_config(SIAWSSSConfig())


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (64, 31), (150, 70)])
def test_images_of_any_size_are_predicted(fitted, size):
    image = np.tile(IMAGES[0], (3, 2, 1))[: size[0], : size[1]]
    check_predictions(fitted, image)
    found = fitted.explain(image)
    assert found.activation.shape == (4, *size) and found.label.shape == size
    assert found.activation.min() >= 0 and found.activation.max() <= 1


def test_other_kinds_of_images(fitted):
    check_predictions(fitted, np.full((64, 64, 3), 245, np.uint8))
    gray = IMAGES[0][..., 1]
    assert np.array_equal(fitted.predict(gray), fitted.predict(gray[..., None].repeat(3, axis=2)))
    with pytest.raises(DataError):
        fitted.predict(IMAGES[0] / 255)


def test_defaults_are_those_of_the_article():
    config = SIAWSSSConfig()
    assert (config.batch, config.patch, config.learning_rate, config.weight_decay) == (16, 224, 1e-4, 5e-4)
    assert (config.activation_weight, config.segmentation_weight) == (0.5, 0.5)
    assert (config.optimizer, config.schedule, config.warm_up) == ("adam", "fixed", 0)
    assert config.maps.background == 0.3 and config.maps.foreground == 0.5
    assert (config.vit.width, config.vit.depth, config.vit.weights) == (768, 12, "imagenet")


def test_the_log_holds_every_epoch(fitted):
    assert [line["epoch"] for line in fitted.log] == [1, 2]
    losses = {"classification", "auxiliary", "tokens", "contrast", "inhibition", "attraction", "segmentation"}
    for line in fitted.log:
        assert line.keys() == {"epoch", "foreground", "uncertain", "pairs", "labeled", *losses}
        assert all(line[name] >= 0 for name in losses) and 0 < line["labeled"] <= 1
        assert line["foreground"] + line["uncertain"] <= 1
    assert fitted.config.classes == TISSUE_CLASSES


def test_an_interrupted_training_ends_the_same_and_with_the_same_log(fitted, tmp_path, monkeypatch):
    original, calls = SIAWSSS._score, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(SIAWSSS, "_score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(TINY, tmp_path)
    again = fit(TINY, tmp_path)
    assert len(calls) == 3, "the first epoch is not repeated"
    assert same_weights(again.networks["sia"], fitted.networks["sia"]) and again.log == fitted.log


def test_training_masks_and_validation_tags_are_never_looked_at(fitted, tmp_path):
    train = changed(samples("abcd"), lambda sample: replace(sample, mask=None))
    permuted = changed(samples("vw"), lambda s: replace(s, tags=dict(zip(s.tags, reversed(list(s.tags.values()))))))
    blind = fit(TINY, tmp_path, train, changed(permuted, lambda s: replace(s, tags=s.tags if s.id == "v" else None)))
    assert same_weights(blind.networks["sia"], fitted.networks["sia"])
    scores = [[line["score"] for line in m.histories["sia"].epochs] for m in (blind, fitted)]
    assert scores[0] == scores[1]


def test_explaining_with_tags_masks_absent_classes(fitted):
    tags = {name: name == "stroma" for name in TISSUE_CLASSES}
    found, before = fitted.explain(IMAGES[1], tags), fitted.predict(IMAGES[1])
    assert found.present.tolist() == [False, False, False, True]
    for maps in (found.activation, found.inhibition, found.regional, found.confident, found.refined):
        assert not maps[:3].any()
    assert (found.refined >= found.activation).all()
    assert set(np.unique(found.label)) <= {-1, 3} and (found.label == 3).any()
    assert np.array_equal(fitted.predict(IMAGES[1]), before), "tags do not stay"
    with pytest.raises(DataError, match="unknown class 'muscle'"):
        fitted.explain(IMAGES[1], {**tags, "muscle": True})


ROWS = {
    "a": {"rfm": False, "dam": False, "rsm": False}, "b": {"dam": False, "rsm": False},
    "c": {"rfm": False, "rsm": False}, "d": {"rsm": False},
}


@pytest.mark.parametrize("row", ROWS)
def test_rows_of_the_ablation(row, tmp_path):
    method = fit(replace(TINY, epochs=1, **ROWS[row]), tmp_path)
    network, (line,) = method.networks["sia"], method.log
    assert (network.graph is not None) == method.config.rfm == ("inhibition" in line) == ("attraction" in line)
    assert (network.projector is not None) == method.config.dam == ("contrast" in line)
    assert "segmentation" in line
    check_predictions(method, IMAGES[0])


def test_without_decoder_maps_are_predicted(tmp_path):
    plain = replace(TINY, **ROWS["a"], segmentation_weight=0.0, auxiliary_weight=0.0, token_weight=0.0, epochs=1,
                    output="activation", maps=MapConfig(pooling="average"))
    method = fit(plain, tmp_path)
    assert method.networks["sia"].decoder is None and method.log[0].keys() == {"epoch", "classification"}
    check_predictions(method, IMAGES[0])
    found = method.explain(IMAGES[0])
    stacked = np.where(found.present[:, None, None], found.activation, -1)
    assert np.array_equal(method.predict(IMAGES[0]), stacked.argmax(axis=0))


@pytest.mark.parametrize("changes", [
    {"inhibition": InhibitionConfig(TokenGraphConfig(200, residual=False, detach_patches=False, full=True),
                                    kind="opposite", all_present=True, inhibit_tokens=True, single_class=False,
                                    attraction=0.0, shared_classifier=False, source="attention", attention_blocks=2)},
    {"activation": ActivationConfig("single-token", crop=48, crops=1, position="uncertain", momentum=None, channels=8)},
    {"activation": ActivationConfig("literal-negated", crop=64, crops=2, channels=8),
     "maps": MapConfig("ranking", scaling="joint", foreground=0.3, background=0.5, final_from=0.0)},
    {"modulation": ModulationConfig("box", box=5, threshold=None, binary=False, fusion="product"),
     "output": "refined", "vit": replace(VIT, registers=2)},
    {"background": "white-or-weak", "labeling": "seeds", "gate": 0.9, "optimizer": "adamw", "schedule": "polynomial",
     "warm_up": 1, "head_rate": 10.0},
    {"background": "white", "labeling": "certain", "unfused": "mean", "rsm": False, "upsampling": 2, "stain": None},
    {"white": None, "start": 0.6, "segmentation_start": 0.6, "inhibition": InhibitionConfig(weight=0.0)},
    {"vit": replace(VIT, stem="linear"), "activation": ActivationConfig("cosine", crop=32, crops=2, channels=8),
     "inhibition": InhibitionConfig(kind="opposite-sign"), "output": "activation"},
])
def test_choices_train(changes, tmp_path):
    method = fit(replace(TINY, **changes), tmp_path, fabric=fabric(device="cpu", precision="bf16-mixed"))
    check_predictions(method, IMAGES[0])
    check_saved(method, tmp_path / "saved", IMAGES[:1])
    assert np.isfinite([line["loss"] for line in method.histories["sia"].epochs]).all()
    assert len(method.predict_maps(IMAGES[0])) == 4 + (method.config.background is not None)
    if method.config.start > 0:
        assert "inhibition" not in method.log[0] and "attraction" in method.log[1]


def test_unusual_training_images(tmp_path):
    """Images of one class, of none, white ones and small ones train together."""
    nothing = dict.fromkeys(TISSUE_CLASSES, False)
    sets = {
        "one": replace(SAMPLES["a"], id="one", tags={**nothing, "stroma": True}),
        "none": replace(SAMPLES["b"], id="none", tags=nothing),
        "white": Sample("white", np.full((64, 64, 3), 250, np.uint8), tags=nothing),
        "small": Sample("small", SAMPLES["c"].image[:40, :23], tags=SAMPLES["c"].tags),
    }
    for background in (None, "white"):
        config = replace(TINY, batch=1, epochs=1, background=background)
        method = fit(config, tmp_path, Dataset("odd", list(sets), sets.__getitem__))
        check_predictions(method, IMAGES[0])
        assert np.isfinite(method.histories["sia"].epochs[0]["loss"])


def test_it_starts_from_weights_of_another_encoder(fitted, tmp_path):
    fitted.save(tmp_path / "saved")
    from nucseg.engine import save_weights

    save_weights(tmp_path / "encoder.safetensors", fitted.networks["sia"].encoder)
    started = SIAWSSS(replace(fitted.config, vit=replace(VIT, initial=str(tmp_path / "encoder.safetensors"))))
    assert same_weights(started._untrained().encoder, fitted.networks["sia"].encoder)
    assert not same_weights(started._untrained(loading=True).encoder, fitted.networks["sia"].encoder)
    missing = replace(TINY, vit=replace(VIT, initial=str(tmp_path / "nothing")))
    with pytest.raises(DataError, match="nothing"):
        fit(missing, tmp_path)


def test_bad_input(tmp_path):
    def refuse(message, train=None, val=None, config=TINY):
        with pytest.raises(NucsegError, match=message):
            fit(config, tmp_path, train, val)

    def with_tags(name, tags):
        return changed(samples("ab"), lambda s: replace(s, tags=tags(s.tags) if s.id == name else s.tags))

    refuse("a: the image has no tags", with_tags("a", lambda _: None))
    refuse("b: the image has no tags", with_tags("b", lambda _: None))
    refuse("b: unknown class 'muscle'", with_tags("b", lambda tags: {**tags, "muscle": True}))
    refuse("b: no tag for class 'stroma'", with_tags("b", lambda t: {k: v for k, v in t.items() if k != "stroma"}))
    refuse("a: unknown class 'tumor epithelium'", config=replace(TINY, classes=("one", "two")))
    refuse("none of the training images has a class",
           changed(samples("ab"), lambda s: replace(s, tags=dict.fromkeys(s.tags, False))))
    refuse("a: 64x64 pixels are more than a patch of 48", config=replace(TINY, patch=48))
    refuse("w: a validation image needs a mask", val=changed(
        samples("vw"), lambda s: replace(s, mask=s.mask if s.id == "v" else None)))
    refuse("no pixel of the validation images", val=changed(
        samples("vw"), lambda s: replace(s, mask=np.full_like(s.mask, 4))))
    refuse("there are no images", train=samples(""))
    for wrong in ({"patch": 50}, {"epochs": 0}, {"presence": 1.0}, {"gate": -0.1}, {"start": 2.0}, {"batch": 0},
                  {"learning_rate": 0.0}, {"segmentation_weight": -1.0}, {"classes": ("a", "a")}):
        with pytest.raises(DataError, match=next(iter(wrong))):
            replace(TINY, **wrong)
    with pytest.raises(DataError, match="output"):
        replace(TINY, segmentation_weight=0.0)
    with pytest.raises(DataError, match="background"):
        replace(TINY, background="white", white=None)
    with pytest.raises(DataError, match="crops of 96 px do not fit"):
        replace(TINY, activation=ActivationConfig())
    for wrong in ({"output": "mask"}, {"background": "black"}, {"unfused": "sum"}, {"optimizer": "sgd"}):
        with pytest.raises(UnknownNameError, match=next(iter(wrong))):
            replace(TINY, **wrong)
    for part, wrong in ((MapConfig, {"foreground": 0.0}), (InhibitionConfig, {"temperature": 0.0}),
                        (ActivationConfig, {"crop": 50}), (ActivationConfig, {"negative": 0.5}),
                        (ModulationConfig, {"erosion": 4}), (ModulationConfig, {"box": 2})):
        with pytest.raises(DataError, match=next(iter(wrong))):
            part(**wrong)
    for part, wrong in ((MapConfig, {"pooling": "sum"}), (InhibitionConfig, {"source": "none"}),
                        (ActivationConfig, {"position": "middle"}), (ModulationConfig, {"mean": "median"})):
        with pytest.raises(UnknownNameError, match=next(iter(wrong))):
            part(**wrong)


def test_a_config_survives_a_checkpoint(fitted):
    assert asdict(fitted.config)["classes"] == TISSUE_CLASSES


def test_the_projection_of_images_follows_that_of_crops():
    torch.manual_seed(0)
    projector = sia_wsss.TokenProjector(6, 4, momentum=0.75)
    first = projector.fine.weight.detach().clone()
    torch.testing.assert_close(projector.coarse.weight, first)
    with torch.no_grad():
        projector.fine.weight.add_(1.0)
    tokens = torch.randn(2, 3, 6, requires_grad=True)
    projector.eval()(tokens)
    torch.testing.assert_close(projector.coarse.weight, first)
    found = projector.train()(tokens)
    torch.testing.assert_close(projector.coarse.weight, first + 0.25)
    assert not found.requires_grad
    both = sia_wsss.TokenProjector(6, 4, momentum=None)
    both(tokens).sum().backward()
    assert tokens.grad.any() and both.coarse.weight.grad.any()
