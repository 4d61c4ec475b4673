"""Every public package has its page in the book."""

from places import pages
from reference import page_name, public_modules, write_reference


def test_the_table_of_contents_lists_every_reference_page():
    listed = [page for page in pages() if page.startswith("book/api/")]
    assert sorted(listed) == sorted(page_name(module) for module in public_modules())


def test_each_module_gets_a_page_and_a_line(tmp_path):
    names = write_reference(tmp_path)
    overview = (tmp_path / "book" / "api.md").read_text(encoding="utf-8")
    for module, name in zip(public_modules(), names):
        assert f".. automodule:: {module}\n" in (tmp_path / f"{name}.md").read_text(encoding="utf-8")
        assert f"[`{module}`](api/" in overview


def test_a_name_that_a_package_passes_on_is_described_once(tmp_path):
    write_reference(tmp_path)
    inner = (tmp_path / "book" / "api" / "methods-partial-points.md").read_text(encoding="utf-8")
    (excluded,) = [line for line in inner.splitlines() if ":exclude-members:" in line]
    assert "PartialPoints," in excluded and "weak_labels" not in excluded
    assert "[`nucseg.methods`](methods.md)" in inner
    assert ":exclude-members:" not in (tmp_path / "book" / "api" / "methods.md").read_text(encoding="utf-8")
