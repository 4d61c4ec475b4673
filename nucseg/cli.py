"""The command line: each command calls one function of the library and prints what it returns."""

import argparse
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
    _add_data(groups)
    return parser


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
