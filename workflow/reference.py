"""The reference of the library as pages: one for each package with public names, written by Sphinx from docstrings."""

import importlib
import inspect
import pkgutil

import nucseg.methods

#: Modules that are no package but that chapters use.
EXTRA = ("nucseg.arrays", "nucseg.errors", "nucseg.seeding", "nucseg.study.chapter")


def public_modules():
    """Return the modules the reference covers: packages of nucseg and of its methods with ``__all__``, and EXTRA."""
    packages = [f"{inside.__name__}.{info.name}" for inside in (nucseg, nucseg.methods)
                for info in pkgutil.iter_modules(inside.__path__) if info.ispkg]
    return sorted([name for name in packages if getattr(importlib.import_module(name), "__all__", None)] + [*EXTRA])


def page_name(module):
    """Return the page of a module, without suffix, relative to the repository."""
    return f"book/api/{module.removeprefix('nucseg.').replace('_', '-').replace('.', '-')}"


def _passed_on(module):
    """Return the names of a package that the package around it lists too: each thing is described once."""
    around = importlib.import_module(module.rpartition(".")[0])
    listed = set(getattr(around, "__all__", ())) if module not in EXTRA else set()
    return sorted(listed & set(getattr(importlib.import_module(module), "__all__", ())))


def _elsewhere(module):
    """Return the lines that say where the names that are passed on are described."""
    names, around = _passed_on(module), module.rpartition(".")[0]
    if not names:
        return []
    page = page_name(around).removeprefix("book/api/")
    return [f"Described at [`{around}`]({page}.md): {', '.join(f'`{name}`' for name in names)}.", ""]


def write_reference(target):
    """Write the reference pages into a staged tree.

    Parameters
    ----------
    target : pathlib.Path
        The tree; pages go to ``book/api.md`` and ``book/api/``.

    Returns
    -------
    list of str
        Names of the pages below ``book/api``, without suffix.
    """
    modules = public_modules()
    (target / "book" / "api").mkdir(parents=True, exist_ok=True)
    lines = [
        "# Library",
        "",
        "What chapters import, package by package; every name links to its source of truth, the docstring.",
        "",
    ]
    for module in modules:
        summary = (inspect.getdoc(importlib.import_module(module)) or "").splitlines()[0]
        lines.append(f"- [`{module}`]({page_name(module).removeprefix('book/')}.md): {summary}")
        text = [f"# {module}", "", *_elsewhere(module), "```{eval-rst}", f".. automodule:: {module}", "   :members:"]
        text += ["   :imported-members:"] * (module not in EXTRA)
        text += [f"   :exclude-members: {', '.join(names)}" for names in [_passed_on(module)] if names]
        (target / f"{page_name(module)}.md").write_text("\n".join([*text, "```", ""]), encoding="utf-8")
    (target / "book" / "api.md").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return [page_name(module) for module in modules]
