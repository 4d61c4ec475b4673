"""Launch links come from the repository's own address or not at all."""

import doctest

import pytest
import repository as module
import yaml
from repository import repository, web_address
from stage import configuration

from nucseg.errors import NucsegError


@pytest.mark.parametrize(
    "remote",
    [
        "https://github.com/group/project",
        "https://github.com/group/project.git",
        "https://github.com/group/project/",
        "http://github.com/group/project",
        "https://token@github.com/group/project.git",
        "https://user:secret@github.com/group/project.git",
        "git@github.com:group/project.git",
        "ssh://git@github.com/group/project.git",
        "ssh://git@github.com:22/group/project",
        "git://GitHub.com/group/project.git\n",
        "ssh://git@ssh.github.com:443/group/project.git",
    ],
)
def test_all_spellings_of_one_repository(remote):
    assert web_address(remote) == "https://github.com/group/project"


def test_nested_groups():
    assert web_address("git@gitlab.com:group/part/project.git") == "https://gitlab.com/group/part/project"


@pytest.mark.parametrize(
    "remote",
    ["", "/srv/git/project.git", "../project", "file:" + "///srv/project.git", "https://127.0.0.1:3000/group/project",
     "git@internal.example:group/project.git", "https://github.com/", "https://github.com/project",
     "https://github.com.example.org/group/project", "https://github.com/group/project?x=1"],
)  # fmt: skip
def test_no_address_is_made_up(remote):
    assert web_address(remote) is None


def test_the_environment_comes_first(monkeypatch, tmp_path):
    monkeypatch.setenv("NUCSEG_REPOSITORY_URL", "git@gitlab.com:a/b.git")
    monkeypatch.setenv("NUCSEG_REPOSITORY_BRANCH", "trunk")
    assert repository(tmp_path) == ("https://gitlab.com/a/b", "trunk")
    monkeypatch.setenv("NUCSEG_REPOSITORY_URL", "")
    assert repository(tmp_path) == (None, None)
    monkeypatch.setenv("NUCSEG_REPOSITORY_URL", "https://example.org/a/b")
    with pytest.raises(NucsegError, match=r"https://example\.org/a/b"):
        repository(tmp_path)


def test_a_folder_that_is_no_repository_has_no_address(monkeypatch, tmp_path):
    monkeypatch.delenv("NUCSEG_REPOSITORY_URL", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert repository(tmp_path) == (None, None)


def test_links_only_with_an_address(root):
    text = (root / "_config.yml").read_text(encoding="utf-8")
    without = yaml.safe_load(configuration(text, None, None))
    assert without == yaml.safe_load(text)
    assert not without["launch_buttons"]["binderhub_url"] and not without["repository"]["url"]
    assert "://" not in text
    linked = yaml.safe_load(configuration(text, "https://github.com/a/b", "trunk"))
    assert linked["repository"] == {"url": "https://github.com/a/b", "branch": "trunk", "path_to_book": ""}
    assert linked["launch_buttons"]["colab_url"] and linked["html"]["use_repository_button"]


def test_examples_in_the_docstring():
    assert doctest.testmod(module).failed == 0
