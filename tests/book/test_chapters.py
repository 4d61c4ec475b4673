"""Every chapter follows the anatomy, and its notebook says what its text says."""

import re

import nbformat
import pytest
import yaml
from chapter_anatomy import CELL_LINES, HEADINGS, TAGS
from pair import notebook_from_text, notebook_text, pair
from places import ROOT, chapters
from student import without_solutions

TEMPLATE = ROOT / "workflow" / "chapter_template.py"
TEXTS = sorted((ROOT / "notebooks").glob("*.py"))
FENCE = re.compile(r"^(`{3,}|:{3,})\{(?P<name>[\w:-]+)\}(?P<argument>[^\n]*)\n(?P<body>.*?)^\1\s*$", re.M | re.S)


def cells(path, kind):
    return [cell for cell in notebook_from_text(path.read_text(encoding="utf-8")).cells if cell.cell_type == kind]


def prose(path):
    return "\n\n".join(cell.source for cell in cells(path, "markdown"))


def directives(text, name):
    """(argument, options, content, problem) of every directive of that name."""
    found = []
    for match in FENCE.finditer(text):
        if match["name"] != name:
            continue
        lines, options = match["body"].splitlines(), {}
        while lines and (option := re.match(r":([\w-]+):\s*(.*)", lines[0])):
            options[option[1]] = option[2].strip()
            lines.pop(0)
        problem = "an option runs over its line" if options and lines and lines[0].strip() else None
        found.append((match["argument"].strip(), options, "\n".join(lines).strip(), problem))
    return found


every_text = pytest.mark.parametrize("path", [*TEXTS, TEMPLATE], ids=lambda path: path.stem)
every_chapter = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)


def test_the_table_of_contents_lists_every_chapter_once():
    listed = chapters()
    assert sorted(listed) == [path.stem for path in TEXTS]
    assert len(set(listed)) == len(listed)


def test_profiles_name_chapters_that_exist():
    for path in (ROOT / "workflow" / "profiles").glob("*.yaml"):
        assert set(yaml.safe_load(path.read_text(encoding="utf-8"))) <= set(chapters()), path.name


@every_chapter
def test_notebook_equals_text(path):
    assert not pair(path, check=True), f"{path.stem}: run 'make pair'"


@every_chapter
def test_committed_notebook_holds_no_outputs_and_fixed_metadata(path):
    notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"


@every_text
def test_headings_follow_the_anatomy(path):
    lines = re.sub(r"^(`{3,}).*?^\1", "", prose(path), flags=re.M | re.S).splitlines()
    assert sum(line.startswith("# ") for line in lines) == 1
    assert next(line for line in lines if line.startswith("#")).startswith("# ")
    sections = [line.removeprefix("## ").strip() for line in lines if line.startswith("## ")]
    fixed = [section for section in sections if section in HEADINGS]
    assert fixed == list(HEADINGS)
    free = [number for number, section in enumerate(sections) if section not in HEADINGS]
    first, last = sections.index("The idea in one picture"), sections.index("Results")
    assert free, "the method has no section of its own"
    assert all(first < number < last for number in free), [sections[number] for number in free]


@every_text
def test_title_has_a_label_that_is_the_name(path):
    label = "my-chapter" if path == TEMPLATE else path.stem
    assert prose(path).startswith(f"({label})=\n# ")


@every_text
def test_only_known_tags_and_one_parameters_cell(path):
    tags = [tag for cell in cells(path, "code") for tag in cell.metadata.get("tags", [])]
    assert set(tags) <= TAGS
    assert tags.count("parameters") == 1


@every_text
def test_parameters_are_literals_and_the_profile_defaults_to_full(path):
    (cell,) = [cell for cell in cells(path, "code") if "parameters" in cell.metadata.get("tags", [])]
    found = {}
    for line in cell.source.splitlines():
        assert "#" in line, f"no comment says what this is: {line}"
    exec(compile(cell.source, str(path), "exec"), {"__builtins__": {}}, found)
    assert found["profile"] == "full"


@every_text
def test_code_cells_are_short_portable_and_install_nothing(path):
    for cell in cells(path, "code"):
        assert len(cell.source.splitlines()) < CELL_LINES, cell.source[:80]
        assert not re.search(r"^\s*[!%]|\bpip install\b|\bget_ipython\b", cell.source, re.M), cell.source[:80]
        assert not re.search(r"[\"'](/|~/|[A-Z]:\\)", cell.source), f"absolute path: {cell.source[:80]}"


@every_text
def test_every_figure_is_numbered_described_and_captioned(path):
    text = prose(path)
    unnumbered = re.search(r"!\[[^\]]*\]\(|<img|^[`:]{3,}\{image\}|\{glue:\}", text, re.M)
    assert not unnumbered, "a picture outside glue:figure has no number"
    glued = set(re.findall(r"glue\(\s*[\"']([^\"']+)", "\n".join(cell.source for cell in cells(path, "code"))))
    figures = directives(text, "glue:figure")
    assert figures
    for key, options, caption, problem in figures:
        assert problem is None, f"{key}: {problem}"
        assert options.get("name", "").startswith("fig-"), f"{key}: no name"
        assert len(options.get("alt", "").split()) >= 5, f"{key}: what does the picture show, in words?"
        assert len(caption.split()) >= 3, f"{key}: no caption"
        assert key in glued, f"{key}: glued nowhere on this page"
    names = [options["name"] for _, options, _, _ in figures]
    assert len(set(names)) == len(names)


@every_text
def test_every_table_is_captioned_and_named(path):
    for kind in ("list-table", "csv-table", "table"):
        for caption, options, _, _ in directives(prose(path), kind):
            assert caption, f"{options.get('name')}: no caption"
            assert options.get("name", "").startswith("tab-"), f"{caption}: no name"


@every_chapter
def test_chapter_teaches(path):
    text = prose(path)
    predictions = re.findall(r"\{admonition\} Predict, then run", text)
    assert len(predictions) >= 2
    exercises = [options["label"] for _, options, _, _ in directives(text, "exercise-start")]
    solved = [target for target, *_ in directives(text, "solution-start")]
    assert len(exercises) >= 3
    assert sorted(exercises) == sorted(solved)
    assert len(directives(text, "exercise-end")) == len(directives(text, "solution-end")) == len(exercises)
    assert all(options.get("class") == "dropdown" for _, options, _, _ in directives(text, "solution-start"))


@every_chapter
def test_quiz_has_five_questions_and_every_option_explains_itself(path):
    quiz = re.split(r"^## ", prose(path), flags=re.M)
    quiz = next(section for section in quiz if section.startswith("Quiz"))
    questions = re.split(r"\*\*Question \d+\.\*\*", quiz)[1:]
    assert len(questions) >= 5
    for number, question in enumerate(questions, 1):
        answers = [content for _, _, content, _ in directives(question, "dropdown")]
        assert len(answers) >= 2, f"question {number}"
        assert all(len(answer.split()) > 3 for answer in answers), f"question {number}: an option says too little"
        assert sum(answer.startswith("Yes.") for answer in answers) == 1, f"question {number}"


@every_text
def test_student_notebook_has_no_solution(path):
    student = notebook_text(without_solutions(notebook_from_text(path.read_text(encoding="utf-8"))))
    assert "solution-start" not in student and "solution-end" not in student
    for cell in cells(path, "code"):
        if "solution" in cell.metadata.get("tags", []):
            assert notebook_text(cell.source)[1:-2] not in student
    assert "exercise-start" in student


def test_the_figure_check_sees_a_description_that_runs_over_its_line():
    text = "```{glue:figure} a\n:name: fig-a\n:alt: first line\nsecond line\n\nCaption.\n```\n"
    assert directives(text, "glue:figure")[0][3] == "an option runs over its line"
