"""The digest sees code and nothing else."""

from nucseg.study import digest


def test_comments_docstrings_and_blank_lines_do_not_count():
    bare = "def f(x):\n    return x + 1\n"
    dressed = '"""Module."""\n\n# a comment\ndef f(x):\n    """Say.\n\n    More.\n    """\n\n    return x + 1  # add\n'
    assert digest.bare_code(dressed) == digest.bare_code(bare)


def test_code_and_strings_do_count():
    base = digest.bare_code("x = '# not a comment'\ny = 1\n")
    assert "# not a comment" in base
    assert digest.bare_code("x = '# not a comment'\ny = 2\n") != base
    assert digest.bare_code("x = '# other'\ny = 1\n") != base


def test_closure_follows_imports_to_the_ground():
    closure = digest.import_closure("nucseg.study.records")
    assert {"nucseg.study.records", "nucseg.atomic", "nucseg.errors"} <= set(closure)
    assert "nucseg.study.tables" not in closure


def test_digest_changes_with_a_dependency(monkeypatch, tmp_path):
    package = tmp_path / "nucseg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from nucseg import b\n")
    (package / "b.py").write_text("x = 1\n")
    monkeypatch.setattr(digest, "PACKAGE", package)

    def now():
        digest.library_digest.cache_clear()
        return digest.library_digest("nucseg.a")

    first = now()
    (package / "b.py").write_text("x = 1  # the same\n")
    assert now() == first
    (package / "c.py").write_text("y = 1\n")
    assert now() == first
    (package / "b.py").write_text("x = 2\n")
    assert now() != first
    digest.library_digest.cache_clear()


def test_packages_that_pass_names_on_are_looked_through(monkeypatch, tmp_path):
    package = tmp_path / "nucseg"
    (package / "parts").mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '1'\n")
    (package / "parts" / "__init__.py").write_text('"""Parts."""\nfrom nucseg.parts.one import f\n__all__ = ["f"]\n')
    (package / "parts" / "one.py").write_text("f = 1\n")
    (package / "parts" / "two.py").write_text("g = 2\n")
    (package / "user.py").write_text("from nucseg.parts import f\nfrom nucseg.parts.two import g\n")
    (package / "module_user.py").write_text("from nucseg.parts import two\nimport nucseg.parts.one\n")
    monkeypatch.setattr(digest, "PACKAGE", package)
    assert digest.import_closure("nucseg.user") == ["nucseg.parts.one", "nucseg.parts.two", "nucseg.user"]
    assert digest.import_closure("nucseg.module_user") == [
        "nucseg.module_user", "nucseg.parts.one", "nucseg.parts.two"
    ]
    # A package with code of its own counts itself, whichever of its names is used.
    (package / "parts" / "__init__.py").write_text("from nucseg.parts.one import f\nf = f + 1\n")
    assert digest.import_closure("nucseg.user") == [
        "nucseg.parts", "nucseg.parts.one", "nucseg.parts.two", "nucseg.user"
    ]


def test_packages_left_out_are_not_entered():
    full = digest.import_closure("nucseg.data.loading")
    part = digest.import_closure("nucseg.data.loading", ("nucseg.data.synthetic",))
    assert "nucseg.data.synthetic.dataset" in full and set(part) < set(full)
    assert not any(module.startswith("nucseg.data.synthetic") for module in part)
    assert digest.library_digest("nucseg.data.loading") != digest.library_digest(
        "nucseg.data.loading", ("nucseg.data.synthetic",)
    )
