"""Rounds of cross-validation that rows name, against their definition, and what a record says about them."""

from dataclasses import replace

import numpy as np
import pytest

from nucseg.data import Dataset, Sample
from nucseg.errors import DataError, UnknownNameError
from nucseg.study import experiment
from nucseg.study.experiment import Row, run_row
from nucseg.study.folds import FoldChoice

#: Twelve images of five patients.
PATIENTS = {f"i{number:02}": f"patient {number % 5}" for number in range(12)}
CALLS = []


def toy(name="toy", split=None, root=None, *, scheme=None):
    """Stand for ``load_dataset``: the first half of the images is the split "half"."""
    ids = tuple(PATIENTS)[: 6 if split == "half" else None]
    return Dataset(name, ids, lambda i: Sample(i, np.full((2, 2), int(i[1:]), np.uint8)), PATIENTS, "toy")


def value(dataset, row):
    """Yield the gray of each image, which is its number."""
    for sample in dataset:
        CALLS.append(sample.id)
        yield sample.id, {"gray": float(sample.image[0, 0, 0])}


ROW = Row("x", "y", "toy", "all", "none", value, {"power": 1})


@pytest.fixture
def study(monkeypatch, tmp_path):
    monkeypatch.setattr(experiment, "load_dataset", toy)
    monkeypatch.setattr(experiment, "results_folder", lambda slug: tmp_path / slug)
    CALLS.clear()


@pytest.mark.parametrize("by, parts", [("image", 3), ("image", 10), ("image", 12), ("group", 5)])
def test_every_image_is_tested_once_and_the_next_part_is_tested_after_it_validated(by, parts):
    dataset = toy()
    rounds = [[part.ids for part in FoldChoice(number, parts, by).of(dataset)] for number in range(parts)]
    for number, (train, val, test) in enumerate(rounds):
        assert sorted(train + val + test) == sorted(dataset.ids), "each image is in one part"
        assert test == rounds[(number + 1) % parts][1], "part i + 1 tests round i and validates round i + 1"
    assert sorted(i for _, _, test in rounds for i in test) == sorted(dataset.ids)
    sizes = [len(test) for _, _, test in rounds]
    assert max(sizes) - min(sizes) <= 1
    if by == "group":
        for parts_of_round in rounds:
            patients = [{PATIENTS[i] for i in part} for part in parts_of_round]
            assert sum(map(len, patients)) == len(set().union(*patients)) == 5


def test_ten_rounds_of_thirty_images_are_divided_as_published():
    thirty = Dataset("thirty", [f"i{number}" for number in range(30)], None)
    for number in range(10):
        assert [len(part) for part in FoldChoice(number).of(thirty)] == [24, 3, 3], "8:1:1 (Foo et al. 2022, sec. 4)"


def test_the_seed_deals_images_anew_and_their_order_does_not_matter():
    dataset = toy()
    backward = dataset.subset(dataset.ids[::-1])
    first = [part.ids for part in FoldChoice(1, 4).of(dataset)]
    assert [part.ids for part in FoldChoice(1, 4).of(backward)] == first
    assert [part.ids for part in FoldChoice(1, 4, seed=3).of(dataset)] != first


def test_rounds_that_do_not_exist_are_refused():
    with pytest.raises(UnknownNameError, match="folds by 'organ'; known: image, group"):
        FoldChoice(0, by="organ")
    with pytest.raises(UnknownNameError, match="part 'train' of a fold; known: test, val"):
        FoldChoice(0, part="train")
    for number in (-1, 10):
        with pytest.raises(DataError, match=f"fold {number} of 10: rounds count from 0 to 9"):
            FoldChoice(number)
    with pytest.raises(DataError, match="6 folds need at least 6 groups, got 5"):
        FoldChoice(0, 6, "group").of(toy())


def test_the_key_tells_rounds_kinds_and_parts_apart():
    assert replace(ROW, fold=FoldChoice(3)).key == "x.y.toy.all.none.s0.image-fold-3-of-10"
    assert replace(ROW, fold=FoldChoice(0, 5, "group", part="val")).key == "x.y.toy.all.none.s0.group-fold-0-of-5-val"
    choices = [FoldChoice(n, parts, by, seed, part) for n in (0, 1) for parts in (3, 5) for by in ("image", "group")
               for seed in (12, 13) for part in ("test", "val")]
    assert len({replace(ROW, fold=choice).key for choice in choices}) == len(choices) == 32


def test_a_row_without_a_fold_describes_itself_as_before_there_were_folds():
    described = {"experiment": "x", "row": "y", "dataset": "toy", "split": "all", "scheme": None, "supervision": "none",
                 "seed": 0, "settings": {"power": 1}}
    assert ROW.describe() == described and ROW.key == "x.y.toy.all.none.s0"
    fold = {"number": 2, "parts": 4, "by": "group", "seed": 12, "part": "test"}
    assert replace(ROW, fold=FoldChoice(2, 4, "group")).describe() == {**described, "fold": fold}


def test_a_row_measures_the_part_that_its_fold_names(study):
    assert ROW.images()[1] == {} and ROW.images()[0].ids == tuple(PATIENTS)
    train, val, test = (list(part.ids) for part in FoldChoice(1, 4).of(toy()))
    for part, ids in (("val", val), ("test", test)):
        measured, others = replace(ROW, fold=FoldChoice(1, 4, part=part)).images()
        assert list(measured.ids) == ids and others == {"train": train, "val": val, "test": test}
    half = replace(ROW, split="half", fold=FoldChoice(0, 3)).images()[1]
    dealt = sorted(i for part in half.values() for i in part)
    assert dealt == list(PATIENTS)[:6], "only images of the row's split"


def test_the_record_lists_the_images_of_every_part(study):
    row = replace(ROW, fold=FoldChoice(1, 4))
    record = run_row("ch", row)
    train, val, test = (list(part.ids) for part in FoldChoice(1, 4).of(toy()))
    assert record["fold_images"] == {"train": train, "val": val, "test": test}
    assert record["images"] == test == CALLS and record["fold"] == row.describe()["fold"]
    assert record["metrics"] == {i: {"gray": float(i[1:])} for i in test}
    assert run_row("ch", row) == record and test == CALLS, "a current record is not measured again"
    whole = run_row("ch", ROW)
    assert whole["images"] == list(PATIENTS) and not {"fold", "fold_images"} & whole.keys()


def test_rounds_keep_records_of_their_own(study):
    records = [run_row("ch", replace(ROW, fold=FoldChoice(number, 4))) for number in range(4)]
    assert sorted(i for record in records for i in record["metrics"]) == list(PATIENTS)
    assert [run_row("ch", replace(ROW, fold=FoldChoice(number, 4))) for number in range(4)] == records
    assert len(CALLS) == 12


def test_a_row_runs_again_when_its_images_are_dealt_otherwise(study, monkeypatch):
    """The same images are measured, but others are trained on: the numbers are no longer those of the row."""
    row = replace(ROW, fold=FoldChoice(1, 4))
    run_row("ch", row)
    CALLS.clear()
    dealt = FoldChoice.of

    def exchanged(self, dataset):
        train, val, test = dealt(self, dataset)
        ids = train.ids + val.ids
        return dataset.subset(ids[:3]), dataset.subset(ids[3:]), test

    monkeypatch.setattr(FoldChoice, "of", exchanged)
    record = run_row("ch", row)
    assert record["images"] == CALLS and len(record["fold_images"]["train"]) == 3
    assert run_row("ch", row) == record and record["images"] == CALLS


def test_small_runs_measure_the_first_images_of_the_part(study, monkeypatch, tmp_path):
    monkeypatch.setattr(experiment, "runs_folder", lambda slug: tmp_path / "runs" / slug)
    record = run_row("ch", replace(ROW, fold=FoldChoice(1, 4)), "quick", images=1)
    assert record["images"] == CALLS == record["fold_images"]["test"][:1] and len(record["fold_images"]["test"]) == 3
