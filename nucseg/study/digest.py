"""A fingerprint of the library code that a result depends on."""

import ast
import hashlib
import io
import tokenize
from functools import cache, lru_cache
from pathlib import Path

import nucseg

PACKAGE = Path(nucseg.__file__).resolve().parent


def module_path(name):
    """Return the source file of a nucseg module, or None if there is no such module."""
    base = PACKAGE.parent / Path(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def imported_modules(name):
    """Return the nucseg modules whose code one module uses by its imports, anywhere in its code.

    A package that only passes names on is looked through: of ``from nucseg.metrics import aji`` the module that
    defines ``aji`` counts, not the package, so that a new neighbor changes nothing.

    Parameters
    ----------
    name : str
        Dotted name, for example ``"nucseg.metrics.detection"``.

    Returns
    -------
    set of str
        Dotted names of modules, and of packages that hold code of their own.
    """
    found = set()
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found |= _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                found |= _defining(node.module, alias.name)
    return found - {name}


def _defining(module, attribute):
    """Return the modules behind ``from module import attribute``."""
    if module.split(".")[0] != "nucseg":
        return set()
    inner = f"{module}.{attribute}"
    if module_path(inner) is not None:
        return _with_parents(inner)
    if _passes_on(module):
        for node in _tree(module).body:
            for alias in node.names if isinstance(node, ast.ImportFrom) else ():
                if (alias.asname or alias.name) == attribute:
                    return _defining(node.module, alias.name)
    return _with_parents(module)


def _with_parents(dotted):
    """Return a nucseg module and those packages around it that hold code of their own."""
    parts = dotted.split(".")
    if parts[0] != "nucseg" or module_path(dotted) is None:
        return set()
    parents = (".".join(parts[:n]) for n in range(1, len(parts)))
    return {dotted, *(parent for parent in parents if not _passes_on(parent))}


def _tree(name):
    return _parsed(module_path(name).read_text(encoding="utf-8"))


@cache
def _parsed(source):
    return ast.parse(source)


def _passes_on(name):
    """Tell whether a package holds nothing but a docstring, imports and names like ``__all__``."""
    if module_path(name).name != "__init__.py":
        return False
    return all(
        isinstance(node, (ast.ImportFrom, ast.Import))
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "").startswith("__"))
        for node in _tree(name).body
    )


def import_closure(name, without=()):
    """Return a module and all nucseg modules it depends on, directly or not, sorted.

    Parameters
    ----------
    name : str
        Dotted name of the module to start from.
    without : tuple of str
        Packages or modules not to enter.

    Returns
    -------
    list of str
    """
    seen, todo = set(), [name]
    while todo:
        current = todo.pop()
        if current not in seen:
            seen.add(current)
            todo.extend(m for m in imported_modules(current) - seen if not _inside(m, without))
    return sorted(seen)


def _inside(module, packages):
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@lru_cache
def library_digest(name, without=()):
    """Return a SHA-256 over the code that a module depends on, blind to comments, docstrings and blank lines.

    Parameters
    ----------
    name : str
        Dotted name of the module that makes the result (an experiment, usually).
    without : tuple of str
        Packages or modules that cannot change the result and are left out.

    Returns
    -------
    str
        64 hexadecimal digits, the same on every supported Python version.
    """
    digest = hashlib.sha256()
    for module in import_closure(name, without):
        digest.update(module.encode() + b"\0")
        digest.update(bare_code(module_path(module).read_text(encoding="utf-8")).encode() + b"\0")
    return digest.hexdigest()


def bare_code(source):
    """Return source text without comments, docstrings, blank lines and trailing spaces."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
            continue
        if isinstance(body[0].value, ast.Constant) and isinstance(body[0].value.value, str):
            for row in range(body[0].lineno - 1, body[0].end_lineno):
                lines[row] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())
