"""Organ and published splits of the 51 MoNuSeg images, by TCGA identifier.

Columns: identifier; organ as published (the seven images added to the training set in 2018 have none); split
in Kumar et al. 2017, Qu et al. 2019, Graham et al. 2019 (HoVer-Net) and the 2018 challenge ("same" and
"other" are the test images of organs seen and not seen in training).
"""

_TABLE = """
TCGA-A7-A13E-01Z-00-DX1 Breast train train train train
TCGA-A7-A13F-01Z-00-DX1 Breast train train same train
TCGA-AR-A1AK-01Z-00-DX1 Breast train train train train
TCGA-AR-A1AS-01Z-00-DX1 Breast train val train train
TCGA-B0-5711-01Z-00-DX1 Kidney train train train train
TCGA-HE-7128-01Z-00-DX1 Kidney train train train train
TCGA-HE-7129-01Z-00-DX1 Kidney train train train train
TCGA-HE-7130-01Z-00-DX1 Kidney train val train train
TCGA-18-5592-01Z-00-DX1 Liver train train train train
TCGA-38-6178-01Z-00-DX1 Liver train train train train
TCGA-49-4488-01Z-00-DX1 Liver train train same train
TCGA-50-5931-01Z-00-DX1 Liver train val train train
TCGA-G9-6336-01Z-00-DX1 Prostate train train same train
TCGA-G9-6348-01Z-00-DX1 Prostate train train train train
TCGA-G9-6356-01Z-00-DX1 Prostate train train train train
TCGA-G9-6363-01Z-00-DX1 Prostate train val train train
TCGA-E2-A14V-01Z-00-DX1 Breast same test train train
TCGA-E2-A1B5-01Z-00-DX1 Breast same test same train
TCGA-B0-5698-01Z-00-DX1 Kidney same test same train
TCGA-B0-5710-01Z-00-DX1 Kidney same test same train
TCGA-21-5784-01Z-00-DX1 Liver same test train train
TCGA-21-5786-01Z-00-DX1 Liver same test same train
TCGA-CH-5767-01Z-00-DX1 Prostate same test same train
TCGA-G9-6362-01Z-00-DX1 Prostate same test train train
TCGA-DK-A2I6-01A-01-TS1 Bladder other test other train
TCGA-G2-A2EK-01A-02-TSB Bladder other test other train
TCGA-AY-A8YK-01A-01-TS1 Colon other test other train
TCGA-NH-A8F7-01A-01-TS1 Colon other test other train
TCGA-KB-A93J-01A-01-TS1 Stomach other test other train
TCGA-RD-A8N9-01A-01-TS1 Stomach other test other train
TCGA-BC-A217-01Z-00-DX1 - - - - train
TCGA-F9-A8NY-01Z-00-DX1 - - - - train
TCGA-FG-A87N-01Z-00-DX1 - - - - train
TCGA-MH-A561-01Z-00-DX1 - - - - train
TCGA-UZ-A9PJ-01Z-00-DX1 - - - - train
TCGA-UZ-A9PN-01Z-00-DX1 - - - - train
TCGA-XS-A8TJ-01Z-00-DX1 - - - - train
TCGA-CU-A0YN-01A-02-BSB Bladder - - - test
TCGA-ZF-A9R5-01A-01-TS1 Bladder - - - test
TCGA-FG-A4MU-01B-01-TS1 Brain - - - test
TCGA-HT-8564-01Z-00-DX1 Brain - - - test
TCGA-AC-A2FO-01A-01-TS1 Breast - - - test
TCGA-AO-A0J2-01A-01-BSA Breast - - - test
TCGA-A6-6782-01A-01-BS1 Colon - - - test
TCGA-2Z-A9J9-01A-01-TS1 Kidney - - - test
TCGA-GL-6846-01A-01-BS1 Kidney - - - test
TCGA-IZ-8196-01A-01-BS1 Kidney - - - test
TCGA-44-2665-01B-06-BS6 Lung - - - test
TCGA-69-7764-01A-01-TS1 Lung - - - test
TCGA-EJ-A46H-01A-03-TSC Prostate - - - test
TCGA-HC-7209-01A-01-TS1 Prostate - - - test
"""
_SPLITS = {"-": "", "same": "test_same_organ", "other": "test_different_organ"}
_COLUMNS = ("organ", "split_kumar2017", "split_qu2019", "split_hovernet2019", "split_monuseg2018")


def monuseg_table():
    """Return a mapping of image id to its columns (organ and four splits; "" where it has none)."""
    table = {}
    for line in _TABLE.split("\n"):
        if line:
            name, *values = line.split()
            table[name] = dict(zip(_COLUMNS, (_SPLITS.get(value, value) for value in values)))
    return table
