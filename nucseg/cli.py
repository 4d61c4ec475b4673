"""The command line: each command calls one function of the library and prints what it returns."""

import argparse
import json
import sys

from nucseg.errors import NucsegError


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process if not given.

    Returns
    -------
    int
        0 for success, 1 where a check found something wrong, 2 for an error, 130 when interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except NucsegError as error:
        print(f"nucseg: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("nucseg: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) went away; keep Python from complaining once more while it shuts down.
        sys.stdout = None
        return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="nucseg", description="Weakly supervised segmentation in pathology.", allow_abbrev=False)
    groups = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    # One function for each group of commands; each imports what it needs only when it runs.
    _add_doctor(groups)
    _add_data(groups)
    _add_experiment(groups)
    _add_predict(groups)
    _add_tables(groups)
    return parser


def _add_doctor(groups):
    text = "look at this machine: versions, device, memory, data, one forward pass"
    command = groups.add_parser("doctor", help=text, description=text)
    command.add_argument("--root", metavar="FOLDER", help="data folder (default: see 'data list')")
    command.set_defaults(run=_doctor)


def _doctor(arguments):
    from nucseg.study.doctor import examine, format_report

    print(format_report(examine(arguments.root)))


def _add_experiment(groups):
    group = groups.add_parser("experiment", help="list and run the rows of the book's tables")
    commands = group.add_subparsers(title="commands", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="list rows and whether their records are current")
    listing.add_argument("chapter", nargs="?", help="a chapter; all if left out")
    listing.add_argument("--json", action="store_true", help="print JSON instead of text")
    listing.set_defaults(run=_experiment_list)
    running = commands.add_parser("run", help="run rows that have no current record")
    running.add_argument("chapter", help="the chapter")
    running.add_argument("--row", metavar="TEXT", help="only rows whose key contains this text")
    running.add_argument("--profile", default="full", help="'full' (default) writes to results/, others to runs/")
    running.add_argument("--images", type=int, metavar="N", help="only the first N images (not with 'full')")
    running.add_argument("--force", action="store_true", help="run even if the record is current")
    running.add_argument("--root", metavar="FOLDER", help="data folder (default: see 'data list')")
    running.set_defaults(run=_experiment_run)


def _experiment_list(arguments):
    from nucseg.study.experiment import list_text, listing

    lines = listing(arguments.chapter)
    print(json.dumps(lines, indent=2) if arguments.json else list_text(lines))


def _experiment_run(arguments):
    from nucseg.study.experiment import run_row, select
    from nucseg.study.tables import collect

    for row in select(arguments.chapter, arguments.row):
        record = run_row(arguments.chapter, row, arguments.profile, images=arguments.images, root=arguments.root,
                         force=arguments.force)
        print(f"{row.key}: {len(record['metrics'])} images, {record['seconds']:.1f} s", flush=True)
    collect(arguments.chapter, arguments.profile)


def _add_predict(groups):
    text = "find the nuclei, or the tissue classes, of image files with a saved method"
    command = groups.add_parser("predict", help=text, description=text)
    command.add_argument("method", help="folder that a method's save() wrote")
    command.add_argument("images", nargs="+", metavar="image", help="image files")
    receives = "receives NAME.labels.tif, or NAME.classes.png of tissue (default: here)"
    command.add_argument("--to", metavar="FOLDER", default=".", help=receives)
    command.set_defaults(run=_predict)


def _predict(arguments):
    from nucseg.methods.saved import load_method, predict_class_files, predict_files, predicts_classes

    method = load_method(arguments.method)
    if predicts_classes(method):
        for path, shares in predict_class_files(method, arguments.images, arguments.to):
            print(f"{path}: {', '.join(f'{share:.1%} {name}' for name, share in shares.items())}", flush=True)
        return
    for path, count in predict_files(method, arguments.images, arguments.to):
        print(f"{path}: {count} nuclei", flush=True)


def _add_tables(groups):
    text = "rebuild a chapter's runs.csv from its records"
    command = groups.add_parser("tables", help=text, description=text)
    command.add_argument("chapter", help="the chapter")
    command.add_argument("--profile", default="full", help="whose records (default: full)")
    command.set_defaults(run=_tables)


def _tables(arguments):
    from nucseg.study.experiment import rows
    from nucseg.study.tables import collect

    rows(arguments.chapter)
    table = collect(arguments.chapter, arguments.profile)
    print(f"{arguments.chapter}: {table.record.nunique()} records, {len(table)} values")


def _add_data(groups):
    group = groups.add_parser("data", help="list, describe, prepare, check and download datasets")
    commands = group.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name, run, text, *arguments):
        command = commands.add_parser(name, help=text, description=text)
        for argument, explanation in arguments:
            command.add_argument(argument, help=explanation)
        command.add_argument("--root", metavar="FOLDER", help="data folder (default: see list)")
        command.set_defaults(run=run)

    name = ("name", "name of a dataset; 'nucseg data list' shows them")
    add("list", _data_list, "list the datasets and which of them are here")
    add("info", _data_info, "describe a dataset and how to get it", name)
    add("prepare", _data_prepare, "convert an official release (folder or zip) into a packed dataset", name,
        ("path", "the release: a folder or a zip archive"))
    add("check", _data_check, "look at every image and say what can be used",
        ("name", "name of a dataset, or a folder of your own images"))
    add("download", _data_download, "fetch and prepare a dataset that has a public address", name)


def _data_list(arguments):
    from nucseg.data.describe import list_text

    print(list_text(arguments.root))


def _data_info(arguments):
    from nucseg.data.describe import info_text

    print(info_text(arguments.name, arguments.root))


def _data_prepare(arguments):
    from nucseg.data.prepare import prepare

    print(prepare(arguments.name, arguments.path, arguments.root))


def _data_check(arguments):
    from nucseg.data.check import check_dataset

    report = check_dataset(arguments.name, arguments.root, progress=True)
    print(report)
    return 1 if report.dropped else 0


def _data_download(arguments):
    from nucseg.data.download import download

    print(download(arguments.name, arguments.root))


if __name__ == "__main__":
    sys.exit(main())
