"""What the catalog says, as text: the list of datasets and the page about one of them."""

from nucseg.data import roots
from nucseg.data.catalog import dataset_info, names


def list_text(root=None):
    """Return a table of all datasets, and which of them are here.

    Parameters
    ----------
    root : path-like, optional
        Data folder; see :func:`nucseg.data.roots.data_roots`.

    Returns
    -------
    str
    """
    rows = [("name", "here", "images", "splits", "what")]
    for info in map(dataset_info, names()):
        here = "made" if info.synthetic else "yes" if roots.find_archive(info, root) else "no"
        rows.append((info.name, here, str(info.images or "any"), ", ".join(info.schemes), info.title))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines.append(f"looked in: {', '.join(map(str, roots.data_roots(root)))}")
    return "\n".join(lines)


def info_text(name, root=None):
    """Return what is known about one dataset, and how to get it.

    Parameters
    ----------
    name : str
        The dataset.
    root : path-like, optional
        Data folder; see :func:`nucseg.data.roots.data_roots`.

    Returns
    -------
    str

    Raises
    ------
    UnknownNameError
        No such dataset.
    """
    info = dataset_info(name)
    path = None if info.synthetic else roots.find_archive(info, root)
    places = ", ".join(map(str, roots.data_roots(root)))
    rows = [
        ("what", info.content), ("images", f"{info.images or 'as many as asked for'}, {info.size} px"),
        ("nuclei", info.objects and f"{info.objects} in the copy described here"),
        ("magnification", info.magnification), ("classes", ", ".join(info.classes)),
        ("group", info.group), ("license", info.license), ("cite", ", ".join(info.cite)),
    ]
    rows += [(f"split {scheme}", f"{division.source} ({', '.join(division.splits)})")
             for scheme, division in info.schemes.items()]
    if not info.synthetic:
        rows += [("here", str(path) if path else f"no; looked for {' or '.join(info.files)} in {places}"),
                 ("get it", info.obtain), ("then", f"nucseg data prepare {name} PATH"),
                 ("layout", info.layout), ("differs", info.differs)]
    width = max(len(key) for key, _ in rows)
    lines = [f"  {key:<{width}}  {text}" for key, text in rows if text]
    return "\n".join([f"{info.name}: {info.title}", *lines])
