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
        text = [f"# {module}", "", "```{eval-rst}", f".. automodule:: {module}", "   :members:"]
        text += ["   :imported-members:"] * (module not in EXTRA)
        (target / f"{page_name(module)}.md").write_text("\n".join([*text, "```", ""]), encoding="utf-8")
    (target / "book" / "api.md").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return [page_name(module) for module in modules]
