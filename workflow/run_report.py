"""What each page took to make, as Markdown: a section for the page itself, and one report over all."""

#: Packages named in a chapter's run record; the run report has them all.
NAMED = ("python", "nucseg", "numpy", "torch")


def run_record(record):
    """Return the section that a chapter's page ends with.

    Parameters
    ----------
    record : dict
        The record of the chapter's execution.

    Returns
    -------
    str
        MyST Markdown with one numbered table.
    """
    slow = max(record["cells"], default=0.0)
    lines = [
        ("Profile", record["profile"]),
        ("Time", f"{_seconds(record['seconds'])}, of which the slowest cell took {_seconds(slow)}"),
        ("Peak memory", _memory(record)),
        ("Device", _device(record)),
        (
            "Versions",
            ", ".join(f"{name} {record['versions'][name]}" for name in NAMED if name in record["versions"]),
        ),
        ("Real data present", ", ".join(record["data"]) or "none: synthetic images only"),
    ]
    return "\n".join(
        [
            f"(run-record-{record['chapter']})=",
            "## Run record",
            "",
            "Executed from top to bottom; [the run report](../book/run-report.md) has all pages.",
            "",
            *_table("What it took to make this page.", f"tab-run-{record['chapter']}", ("", "This page"), lines),
        ]
    )


def run_report(records):
    """Return the page ``run-report.md``.

    Parameters
    ----------
    records : list of dict
        The records of all chapters, in reading order.

    Returns
    -------
    str
        MyST Markdown.
    """
    text = [
        "# Run report",
        "",
        "Every chapter was executed, from top to bottom, to make this book. What that took is written down by the "
        "machine that did it.",
        "",
    ]
    if not records:
        return "\n".join([*text, "There are no chapters yet.", ""])
    rows = [
        (
            f"[](../notebooks/{record['chapter']}.ipynb)",
            record["profile"],
            _seconds(record["seconds"]),
            _seconds(max(record["cells"], default=0.0)),
            _memory(record),
            _device(record),
            len(record["cells"]),
        )
        for record in records
    ]
    head = ("Chapter", "Profile", "Time", "Slowest cell", "Peak memory", "Device", "Code cells")
    text += _table("Time and memory of every chapter.", "tab-run-report", head, rows)
    total = sum(record["seconds"] for record in records)
    text += ["", f"All chapters together: {_seconds(total)} of execution.", "", "## Versions", ""]
    names = sorted({name for record in records for name in record["versions"]})
    versions = [(name, ", ".join(sorted({r["versions"].get(name, "none") for r in records}))) for name in names]
    text += _table("Versions that can change a number.", "tab-run-versions", ("Package", "Version"), versions)
    data = sorted({name for record in records for name in record["data"]})
    text += [
        "",
        "## Data",
        "",
        f"Real datasets that were present: {', '.join(data)}."
        if data
        else "No real dataset was present: all images in the chapters are synthetic.",
        "",
    ]
    return "\n".join(text)


def _table(caption, name, head, rows):
    """Return the lines of a MyST list table."""
    lines = [f"```{{list-table}} {caption}", f":name: {name}", ":header-rows: 1", ""]
    for row in [head, *rows]:
        lines += [f"{'*' if not number else ' '} - {cell}".rstrip() for number, cell in enumerate(row)]
    return [*lines, "```"]


def _seconds(value):
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _memory(record):
    own = f"{record['peak_memory_mib']} MiB"
    return f"{own}, {record['gpu_memory_mib']} MiB on the GPU" if record["gpu_memory_mib"] else own


def _device(record):
    threads = record["threads"]
    return record["device"] if record["device"] != "CPU" else f"CPU, {threads} thread{'s' * (threads != 1)}"
