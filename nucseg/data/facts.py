"""The catalog's records; see :mod:`nucseg.data.catalog` for what each field means."""

from nucseg.data.catalog import DatasetInfo, Scheme


def _same(column, *splits):
    """Splits whose names are the values of one table column."""
    return {split: (column, (split,)) for split in splits}


_ORGANS = {
    "test_same_organ": ("split_kumar2017", ("test_same_organ",)),
    "test_different_organ": ("split_kumar2017", ("test_different_organ",)),
}
_GENERATED = Scheme("drawn from separate random streams, so that the splits share no image",
                    {split: ("", ()) for split in ("train", "val", "test")})

_SYNTHETIC = tuple(
    DatasetInfo(
        name=name, title=title, task=task, content=content, cite=(), license="MIT, as the code that draws it",
        images=0, size=size, magnification=magnification, schemes={"generated": _GENERATED},
        group="the simulated patient, whose stain it shares with its other images",
        obtain="nothing to obtain: the images are computed, the same ones for the same seed",
        classes=classes,
    )
    for name, title, task, content, size, magnification, classes in (
        ("synthetic-he", "Synthetic H&E nuclei", "nuclei",
         "Beer-Lambert mixtures of hematoxylin and eosin with several kinds of nuclei, and their outlines.",
         "512 x 512 by default", "as 40x", ()),
        ("synthetic-fluorescence", "Synthetic fluorescence nuclei", "nuclei",
         "Bright nuclei on a dark, noisy and unevenly lit field, and their exact outlines.",
         "256 x 256 by default", "as 20x", ()),
        ("synthetic-tissue", "Synthetic tissue classes", "tissue",
         "Tissue textures in several classes, with pixel classes and image tags.",
         "224 x 224 by default", "as 10x", ()),
    )
)

_MONUSEG = DatasetInfo(
    name="monuseg", title="MoNuSeg 2018, with the Multi-Organ set of Kumar et al. 2017", task="nuclei",
    content="H&E crops from TCGA slides of nine organs: 30 of 2017, 7 training and 14 test images of 2018.",
    cite=("kumar2017", "kumar2020"), license="CC BY-NC-SA 4.0 (non-commercial, share alike)",
    images=51, objects=30828, size="1000 x 1000", magnification="40x",
    files=("monuseg.zip",),
    known={"35dd57c59ee060bb0e924912c8e786edf1da39ebf0bafc03f4ff1aee7be4e031": ("monuseg.zip", 72676284)},
    schemes={
        "qu2019": Scheme(
            "Qu et al. 2019/2020: 12 train, 4 validation, 14 test, of the 30 images of Kumar et al. 2017",
            {**_same("split_qu2019", "train", "val", "test"), **_ORGANS}),
        "kumar2017": Scheme(
            "Kumar et al. 2017: 16 train, 8 test of the same organs, 6 of other organs",
            {"train": ("split_kumar2017", ("train",)),
             "test": ("split_kumar2017", ("test_same_organ", "test_different_organ")), **_ORGANS}),
        "hovernet2019": Scheme(
            "Graham et al. 2019: another 16 train, 8 and 6 test images of the same 30",
            {"train": ("split_hovernet2019", ("train",)),
             "test": ("split_hovernet2019", ("test_same_organ", "test_different_organ")),
             **_same("split_hovernet2019", "test_same_organ", "test_different_organ")}),
        "monuseg2018": Scheme("challenge: 37 train, 14 test", _same("split_monuseg2018", "train", "test")),
    },
    group="the patient: the first three fields of the TCGA barcode (the organ is in meta['organ'])",
    obtain="the MoNuSeg challenge page, https://monuseg.grand-challenge.org/Data/ (Google Drive links there)",
    layout="'Tissue Images'/<id>.tif with Annotations/<id>.xml; in the test archive <id>.tif beside <id>.xml",
    differs="label maps of 17 images come from earlier publications' maps, because their XML file was not at "
            "hand; the counts give 16,958 nuclei for the 30 images of 2017, not the 21,623 of the article.",
)

_TNBC = DatasetInfo(
    name="tnbc", title="TNBC (Naylor et al. 2018)", task="nuclei",
    content="H&E crops of triple-negative breast cancer from 11 patients of the Curie Institute.",
    cite=("naylor2019",), license="CC BY 4.0", images=50, objects=4028, size="512 x 512", magnification="40x",
    files=("tnbc.zip",),
    known={"78fa1e43f9e4b21ad24e4a090817bf289ba40d0428aacd418c6f2b262d5145ff": ("tnbc.zip", 17576780)},
    schemes={"qu2019": Scheme("patients 1-6 train, 7-8 validation, 9-11 test, as in point-supervision work "
                              "after Qu et al. 2019", _same("split_qu2019", "train", "val", "test"))},
    group="the patient (1 to 11)",
    obtain="Zenodo record 1175282, https://zenodo.org/records/1175282 (nucseg data download tnbc)",
    layout="Slide_<patient>/<patient>_<n>.png with GT_<patient>/<patient>_<n>.png (binary masks)",
    differs="nothing is missing; instances are the 8-connected components of the binary masks.",
)

_CRYONUSEG = DatasetInfo(
    name="cryonuseg", title="CryoNuSeg (Mahbod et al. 2021)", task="nuclei",
    content="H&E crops of frozen sections from TCGA, ten organs, three images each.",
    cite=("mahbod2021",), license="not confirmed; see the release page", images=30, size="512 x 512",
    magnification="40x", files=("cryonuseg.zip",),
    schemes={"none": Scheme("no official split: use folds", {"all": ("split", ("all",))})},
    obtain="https://www.kaggle.com/ipateam/segmentation-of-nuclei-in-cryosectioned-he-images (account)",
    layout="'tissue images'/Human_<organ>_<n>.tif with 'Annotator 1 (biologist)'/'label masks modify'/"
           "<id>.tif (first round of the first annotator; overlaps given to one nucleus)",
)

_CONSEP = DatasetInfo(
    name="consep", title="CoNSeP (Graham et al. 2019)", task="nuclei",
    content="H&E tiles of colorectal adenocarcinoma.",
    cite=("graham2019",), license="not confirmed: treat as research, non-commercial; see the download page",
    images=41, objects=24332, size="1000 x 1000", magnification="40x",
    files=("consep.zip",),
    known={"e40cb1fd85673a484f365c8a9215f8e98923455a41bec07b2263cdfc374b48ec": ("consep.zip", 13029089)},
    schemes={"official": Scheme("the release: 27 train, 14 test", _same("split", "train", "test"))},
    obtain="the University of Warwick, https://warwick.ac.uk/fac/cross_fac/tia/data/hovernet/",
    layout="Train/Images/train_<n>.png with Train/Labels/train_<n>.mat (inst_map); the same under Test",
    differs="reassembled from JPEG patches, so the pixels are lossy; the nucleus classes are missing.",
)

_BBBC038 = DatasetInfo(
    name="bbbc038", title="BBBC038 (2018 Data Science Bowl)", task="nuclei",
    content="Nuclei in many imaging conditions: mostly fluorescence, some stained tissue and bright field.",
    cite=("caicedo2019",), license="CC0", images=729, objects=33138, size="256 x 256 to 1040 x 1388",
    magnification="not stated", files=("bbbc038.zip",),
    known={"b0261e20c56f09617fcd479deb1a9d9f9d0fc96834c0e461f710e7fd7d018c83": ("bbbc038.zip", 45595608)},
    schemes={"stages": Scheme("the competition: stage 1 train and stage 1 test",
                              _same("split", "stage1_train", "stage1_test")),
             "caicedo2019": Scheme(
                 "Caicedo et al. 2019: stage 1 train, stage 1 test as validation, annotated stage 2 as test",
                 {"train": ("split", ("stage1_train",)), "val": ("split", ("stage1_test",)),
                  "test": ("split", ("stage2_test",))})},
    obtain="Broad Bioimage Benchmark Collection, https://bbbc.broadinstitute.org/BBBC038 "
           "(nucseg data download bbbc038)",
    layout="stage1_train/<id>/images/<id>.png with stage1_train/<id>/masks/*.png, one mask per nucleus; "
           "stage1_test and stage2_test_final the same, or a solution table instead of masks/",
    differs="stage 1 train is the community-corrected copy (664 of 670 images); stage 2 is missing.",
)

_WSSS4LUAD = DatasetInfo(
    name="wsss4luad", title="WSSS4LUAD (Han et al. 2022)", task="tissue",
    content="H&E crops of lung adenocarcinoma: tumor epithelium, tumor-associated stroma, normal tissue.",
    cite=("han2022wsss4luad",), license="not confirmed: released for research; see the challenge page",
    images=10211, size="174 to 816 wide, 196 to 1710 high (validation and test)", magnification="10x",
    files=("wsss4luad.zip", "wsss4luad_subset.zip"),
    known={"7cae5dfcfae8e3dc5e2b5a667f9365e99416ea2b3febec0cfaf940d3bfea27b9":
           ("wsss4luad_subset.zip", 24868362)},
    schemes={
        "windows": Scheme(
            "ours: windows of 224 x 224 with tags from their masks; train and val are cut from the official "
            "validation images (every fourth, from the second, is val), test from the official test images",
            {split: ("", ()) for split in ("train", "val", "test")}),
        "images": Scheme("the release: whole images", _same("split", "train", "val", "test")),
    },
    classes=("tumor", "stroma", "normal"), background=3,
    palette=((0, 64, 128), (64, 128, 0), (243, 152, 0), (255, 255, 255)),
    group="the patient where known (training patches); windows: the image they are cut from",
    obtain="the WSSS4LUAD challenge page, https://wsss4luad.grand-challenge.org/ (registration)",
    layout="1.training/<patient>-<x>-<y>-[t, s, n].png; 2.validation/{img,mask,background-mask}/<n>.png; "
           "3.testing/{img,mask,background-mask}/<n>.png",
    differs="a small part: 31 of 40 validation, 67 of 80 test images and 4 of 10,091 training patches.",
)

_BCSS = DatasetInfo(
    name="bcss-wsss", title="BCSS-WSSS (Han et al. 2022, from Amgad et al. 2019)", task="tissue",
    content="H&E patches of breast cancer; training patches carry tags only.",
    cite=("amgad2019", "han2022"), license="not confirmed; the source set BCSS is CC0",
    images=31826, size="224 x 224", magnification="40x (0.25 µm per pixel)", files=("bcss-wsss.zip",),
    schemes={"official": Scheme("the release: 23,422 train, 3,418 validation, 4,986 test",
                                _same("split", "train", "val", "test"))},
    classes=("tumor", "stroma", "lymphocytes", "necrosis"), background=4,
    palette=((255, 0, 0), (0, 255, 0), (0, 0, 255), (153, 0, 255), (255, 255, 255)),
    group="the patient: the first three fields of the TCGA barcode in the name",
    obtain="the links in the repository https://github.com/ChuHan89/WSSS-Tissue",
    layout="train/<name>+<n>[abcd].png; val/img, val/mask, test/img, test/mask with equal names",
)

_LUAD = DatasetInfo(
    name="luad-histoseg", title="LUAD-HistoSeg (Han et al. 2022)", task="tissue",
    content="H&E patches of lung adenocarcinoma; training patches carry tags only.",
    cite=("han2022",), license="not confirmed; see the release page", images=17285, size="224 x 224",
    magnification="10x", files=("luad-histoseg.zip",),
    schemes={"official": Scheme("the release: 16,678 train, 300 validation, 307 test",
                                _same("split", "train", "val", "test"))},
    classes=("tumor epithelium", "necrosis", "lymphocytes", "tumor-associated stroma"), background=4,
    palette=((205, 51, 51), (0, 255, 0), (65, 105, 225), (255, 165, 0), (255, 255, 255)),
    group="the patient number where the name has one: <patient>-<x>-<y>",
    obtain="the links in the repository https://github.com/ChuHan89/WSSS-Tissue",
    layout="train/<patient>-<x>-<y>-[a b c d].png; val/img, val/mask, test/img, test/mask with equal names",
)

DATASETS = {
    info.name: info
    for info in (*_SYNTHETIC, _MONUSEG, _TNBC, _CRYONUSEG, _CONSEP, _BBBC038, _WSSS4LUAD, _BCSS, _LUAD)
}
