"""What the chapter on SIA-WSSS shows of its records: orders of rows, stages, costs, beside the printed numbers."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from nucseg.study.experiment import record_path, rows
from nucseg.study.recorded import NOT_RUN
from nucseg.study.records import read_record
from nucseg.study.sia_wsss_figures import METRICS, NAMES, PAPER, SLUG
from nucseg.study.tables import ALL_IMAGES, published, runs
from nucseg.viz import CYCLE, PAGE_WIDTH

#: Rows of table 2 by their letter.
LETTERS = {"a": "a: baseline", "b": "b: RFM", "c": "c: DAM", "d": "d: RFM + DAM", "f": "f: RFM + DAM + RSM"}
#: Orders that the article draws conclusions from: the second of each pair scores higher.
PAIRS = (("a", "b"), ("a", "c"), ("c", "d"), ("d", "f"), ("a", "f"))
#: What is scored of each stage, by printed name; maps are those of the true tags.
STAGE_METRICS = {"A": "mean_iou_activation_oracle", "I": "mean_iou_inhibition_oracle", "R": "mean_iou_refined_oracle",
                 "decoder": "mean_iou", "coverage of A": "coverage", "false share of A": "false_share"}
_MARKERS = "os^DvP*"


def by_seed(experiment, dataset, metric):
    """Return recorded values of one metric of all test images together.

    Parameters
    ----------
    experiment, dataset, metric : str
        As in the records.

    Returns
    -------
    pandas.DataFrame
        Index: row; columns: seed. Empty where nothing was recorded.
    """
    table = runs(SLUG)
    table = table[(table.experiment == experiment) & (table.dataset == dataset) & (table.metric == metric)
                  & (table.image == ALL_IMAGES)]
    return table.pivot_table(index="row", columns="seed", values="value")


def text(values, sign=False):
    """Return the mean of values over seeds, and their spread if there are several, as text.

    Parameters
    ----------
    values : array_like of float
        NaN for what was not recorded.
    sign : bool
        Whether positive means get a sign.

    Returns
    -------
    str
        "not run" without any value.
    """
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if not len(values):
        return NOT_RUN
    mean = f"{values.mean():{'+' if sign else ''}.3f}"
    return mean if len(values) == 1 else f"{mean} ± {values.std(ddof=1):.3f}"


def judge(differences):
    """Return what differences of two rows, one for each seed, say about their order.

    Set before any run: an order is there, or reversed, if the mean difference is larger than the spread over seeds;
    it is undecided otherwise, and with fewer than three seeds.

    Parameters
    ----------
    differences : array_like of float
        Second row less first row.

    Returns
    -------
    str
        "as in the article", "reversed", "undecided" or "not run".
    """
    differences = np.asarray(differences, float)
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        return NOT_RUN
    if len(differences) < 3 or abs(differences.mean()) <= differences.std(ddof=1):
        return "undecided"
    return "as in the article" if differences.mean() > 0 else "reversed"


def orders(datasets, experiment="table 2, short", metric="mean_iou"):
    """Return the orders of rows of table 2: printed, and in our records.

    Parameters
    ----------
    datasets : sequence of str
        Of our records.
    experiment, metric : str
        As in the records.

    Returns
    -------
    pandas.DataFrame
        Index: pair; columns: the printed difference (on LUAD-HistoSeg), and of each dataset our difference over seeds
        and the verdict of :func:`judge`.
    """
    printed = published(PAPER, "table 2").query("metric == @metric").set_index("row").value
    lines = {f"{first} < {second}": {"article": f"{printed[LETTERS[second]] - printed[LETTERS[first]]:+.3f}"}
             for first, second in PAIRS}
    for dataset in datasets:
        values = by_seed(experiment, dataset, metric)
        for first, second in PAIRS:
            known = {LETTERS[first], LETTERS[second]} <= set(values.index)
            change = values.loc[LETTERS[second]] - values.loc[LETTERS[first]] if known else []
            line, name = lines[f"{first} < {second}"], NAMES[dataset]
            line[f"{name}, short"], line[f"{name}: verdict"] = text(change, sign=True), judge(change)
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis(f"{NAMES[metric]}")


def balance(datasets, experiment="table 2, short"):
    """Return mean precision less mean recall of the rows of table 2: printed, and in our records.

    Parameters
    ----------
    datasets : sequence of str
        Of our records.
    experiment : str
        As in the records.

    Returns
    -------
    pandas.DataFrame
        Index: row; columns: the article (on LUAD-HistoSeg), and our mean and spread on each dataset.
    """
    wide = published(PAPER, "table 2").pivot(index="row", columns="metric", values="value")
    lines = {row: {"article": f"{wide.mean_precision[row] - wide.mean_recall[row]:+.3f}"} for row in LETTERS.values()}
    for dataset in datasets:
        precision, recall = (by_seed(experiment, dataset, name) for name in ("mean_precision", "mean_recall"))
        for row in LETTERS.values():
            change = precision.loc[row] - recall.loc[row] if row in precision.index else []
            lines[row][f"{NAMES[dataset]}, short"] = text(change, sign=True)
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("mP - mR")


def moves(dataset, experiment="table 2, short", metrics=("coverage", "false_share")):
    """Return what each step of table 2 changes in the activation maps, in our records.

    Parameters
    ----------
    dataset, experiment : str
        As in the records.
    metrics : sequence of str
        As in the records.

    Returns
    -------
    pandas.DataFrame
        Index: step; columns: difference of each metric, mean and spread over seeds, and the number of seeds.
    """
    values, lines = {metric: by_seed(experiment, dataset, metric) for metric in metrics}, {}
    for first, second in PAIRS:
        rows_ = LETTERS[first], LETTERS[second]
        changes = [own.loc[rows_[1]] - own.loc[rows_[0]] if set(rows_) <= set(own.index) else pd.Series(dtype=float)
                   for own in values.values()]
        lines[f"{first} to {second}"] = [*(text(change, sign=True) for change in changes),
                                         max(int(change.notna().sum()) for change in changes)]
    names = [metric.replace("_", " ") for metric in metrics]
    return pd.DataFrame.from_dict(lines, orient="index", columns=[*names, "seeds"]).rename_axis(NAMES[dataset])


def stages(experiment, dataset, metrics=None, only=None):
    """Return recorded scores of all stages of the rows of an experiment.

    Parameters
    ----------
    experiment, dataset : str
        As in the declared rows.
    metrics : mapping of str to str, optional
        Metric by printed name; by default :data:`STAGE_METRICS`.
    only : callable, optional
        Tells of a row's name whether to show it.

    Returns
    -------
    pandas.DataFrame
        Index: row, in the order of declaration, "not run" where nothing was recorded; columns: text with the spread
        over seeds, and the number of seeds.
    """
    metrics = STAGE_METRICS if metrics is None else metrics
    listed = dict.fromkeys(row.row for row in rows(SLUG) if (row.experiment, row.dataset) == (experiment, dataset))
    listed = [row for row in listed if only is None or only(row)]
    values = {title: by_seed(experiment, dataset, metric) for title, metric in metrics.items()}
    seeds = {row: max((int(v.loc[row].notna().sum()) for v in values.values() if row in v.index), default=0)
             for row in listed}
    lines = {row: [*(text(v.loc[row] if row in v.index else []) for v in values.values()), seeds[row]]
             for row in listed}
    table = pd.DataFrame.from_dict(lines, orient="index", columns=[*metrics, "seeds"])
    return table.rename_axis(f"{NAMES[dataset]}")


def every_stage(experiment, dataset):
    """Return all recorded means of each stage of the rows of an experiment; maps are those of the true tags.

    Parameters
    ----------
    experiment, dataset : str
        As in the declared rows.

    Returns
    -------
    pandas.DataFrame
        Index: row and stage, only of rows that were recorded; columns: text with the spread over seeds. A stage that
        was not measured has "-": the decoder has no coverage.
    """
    suffixes = {"A": "activation", "I": "inhibition", "R": "refined", "decoder": None}
    lines = {}
    for stage, name in suffixes.items():
        metrics = {NAMES[metric]: metric if name is None else f"{metric}_{name}_oracle" for metric in METRICS}
        if name is not None:
            ending = "" if name == "activation" else f"_{name}"
            metrics |= {"coverage": f"coverage{ending}", "false share": f"false_share{ending}"}
        for title, metric in metrics.items():
            for row, values in by_seed(experiment, dataset, metric).iterrows():
                lines.setdefault((row, stage), {})[title] = text(values)
    columns = [*(NAMES[metric] for metric in METRICS), "coverage", "false share"]
    table = pd.DataFrame({key: [own.get(title, "-") for title in columns] for key, own in lines.items()}, columns).T
    return table.sort_index(level=0, sort_remaining=False) if len(table) else table


def choice_effects(dataset="synthetic-tissue", metric="mean_iou"):
    """Return what each recorded choice changes against the row that it was made in.

    Parameters
    ----------
    dataset, metric : str
        As in the records.

    Returns
    -------
    changes : pandas.Series
        Mean difference over common seeds, by choice, from the lowest on; empty where nothing was recorded.
    spread : float
        Standard deviation over seeds of the whole method; NaN with fewer than two.
    """
    bases, values = (by_seed(f"{name}, short", dataset, metric) for name in ("table 2", "ambiguities"))
    changes = {}
    for choice, own in values.iterrows():
        base = LETTERS["b" if choice.startswith("row b") else "f"]
        if base in bases.index:
            changes[choice] = (own - bases.loc[base]).mean()
    spread = float(bases.loc[LETTERS["f"]].std(ddof=1)) if LETTERS["f"] in bases.index else np.nan
    return pd.Series(changes, dtype=float).dropna().sort_values(), spread


def _first_records(experiment, dataset):
    """Return {row: record} of the first recorded seed of each declared row."""
    found = {}
    for declared in rows(SLUG):
        wanted = (declared.experiment, declared.dataset) == (experiment, dataset) and declared.row not in found
        path = record_path(SLUG, declared)
        if wanted and path.is_file():
            found[declared.row] = read_record(path)
    return found


def costs(experiment, dataset):
    """Return what the trainings of an experiment cost, from the first recorded seed of each row.

    Parameters
    ----------
    experiment, dataset : str
        As in the declared rows.

    Returns
    -------
    pandas.DataFrame
        Index: row; columns: weights (million), seconds of a step, seconds of the training, memory (MiB), device.
        Empty where nothing was recorded.
    """
    lines = {}
    for row, record in _first_records(experiment, dataset).items():
        notes = record["notes"]
        lines[row] = [notes["parameters"]["whole"] / 1e6, notes["seconds_per_step"], record.get("training_seconds"),
                      record.get("peak_memory_mib"), record["device"]]
    columns = ["weights (million)", "s for a step", "s for the training", "memory (MiB)", "device"]
    return pd.DataFrame.from_dict(lines, orient="index", columns=columns).rename_axis("row")


def peaks(experiment, dataset):
    """Return when the trainings of an experiment were best on validation images, first recorded seed of each row.

    Parameters
    ----------
    experiment, dataset : str
        As in the declared rows.

    Returns
    -------
    pandas.DataFrame
        Index: row; columns: epochs, the best of them, and the validation mIoU of the best and of the last. Empty where
        nothing was recorded.
    """
    lines = {}
    for row, record in _first_records(experiment, dataset).items():
        (training,) = record["notes"]["training"].values()
        scores = [score for score in training["score"] if score is not None]
        lines[row] = [len(training["score"]), training["best_epoch"], max(scores), scores[-1]]
    return pd.DataFrame.from_dict(lines, orient="index", columns=["epochs", "best", "mIoU, best", "mIoU, last"])


def show_balance(datasets, experiment="table 2, short"):
    """Show mean recall over mean precision of the rows of table 2, printed and in our records.

    Parameters
    ----------
    datasets : sequence of str
        Of our records; each gets a panel of its own, since levels do not compare.
    experiment : str
        As in the records.

    Returns
    -------
    matplotlib.figure.Figure
    """
    wide = published(PAPER, "table 2").pivot(index="row", columns="metric", values="value")
    panels = [("article, LUAD-HistoSeg", wide.mean_precision, wide.mean_recall)]
    for dataset in datasets:
        precision, recall = (by_seed(experiment, dataset, name) for name in ("mean_precision", "mean_recall"))
        panels.append((f"ours, short, {NAMES[dataset]}", precision.mean(axis=1), recall.mean(axis=1)))
    figure, axes = plt.subplots(1, len(panels), figsize=(PAGE_WIDTH, 2.9), layout="constrained")
    plt.close(figure)
    for axis, (title, precision, recall) in zip(axes, panels):
        found = [letter for letter, row in LETTERS.items() if row in precision.index]
        low, high = _square(precision, recall) if found else (0, 1)
        for letter in found:
            index = list(LETTERS).index(letter)
            place = (precision[LETTERS[letter]], recall[LETTERS[letter]])
            axis.plot(*place, _MARKERS[index], color=CYCLE[index], markersize=6)
            close = letter == "d" and LETTERS["f"] in precision.index and np.hypot(
                place[0] - precision[LETTERS["f"]], place[1] - recall[LETTERS["f"]]) < 0.1 * (high - low)
            beside = (-11, -9) if close else (5, 3)
            axis.annotate(letter, place, xytext=beside, textcoords="offset points", fontsize=9)
        if found:
            axis.plot([low, high], [low, high], color="0.6", linewidth=1, zorder=0)
        else:
            axis.text(0.5, 0.5, NOT_RUN, ha="center", va="center", transform=axis.transAxes)
        axis.set(xlim=(low, high), ylim=(low, high), xlabel="mP", aspect="equal")
        axis.set_title(title, fontsize=9)
    axes[0].set_ylabel("mR")
    return figure


def _square(*values):
    """Return limits that hold all values, with a margin."""
    low, high = min(v.min() for v in values), max(v.max() for v in values)
    margin = max(0.15 * (high - low), 0.01)
    return low - margin, high + margin


def show_difficulty(dataset="synthetic-tissue", experiment="difficulty, short", metric="mean_iou"):
    """Show a score over the share of a region that has its full texture, for the baseline and the whole method.

    Parameters
    ----------
    dataset, experiment, metric : str
        As in the records; rows are called "NAME, core SHARE".

    Returns
    -------
    matplotlib.figure.Figure
        Mean and spread over seeds; a note where nothing was recorded.
    """
    values = by_seed(experiment, dataset, metric)
    figure, axis = plt.subplots(figsize=(PAGE_WIDTH, 2.6), layout="constrained")
    plt.close(figure)
    for index, row in enumerate((LETTERS["a"], LETTERS["f"])):
        own = values[[name.startswith(f"{row}, core ") for name in values.index]] if len(values) else values
        if len(own):
            cores = [float(name.rsplit(" ", 1)[1]) for name in own.index]
            own = own.set_axis(cores).sort_index()
            axis.errorbar(own.index, own.mean(axis=1), own.std(axis=1).fillna(0), color=CYCLE[index],
                          marker=_MARKERS[index], linestyle=("-", "--")[index], capsize=3, label=row)
    if not axis.containers:
        axis.text(0.5, 0.5, NOT_RUN, ha="center", va="center", transform=axis.transAxes)
    else:
        axis.legend(fontsize=8)
    axis.set(xlabel="share of a region with its full texture", ylabel=NAMES.get(metric, metric))
    return figure
