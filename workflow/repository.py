"""The public address of this repository, for launch links: found or absent, never made up."""

import os
import re
import subprocess

from places import ROOT

from nucseg.errors import NucsegError

#: Hosting services whose page addresses the book's theme knows.
HOSTS = ("github.com", "gitlab.com", "bitbucket.org")
_ADDRESS = re.compile(
    r"(?:(?:https?|ssh|git)://(?:[^@/\s]+@)?(?P<host>[\w.-]+)(?::\d+)?/|(?:[\w.-]+@)(?P<scp>[\w.-]+):)"
    r"(?P<path>[\w.~-]+(?:/[\w.~-]+)+)/?"
)


def web_address(remote):
    """Return the https address of a repository on a hosting service, or None for anything else.

    Parameters
    ----------
    remote : str
        A git remote: https, ssh or ``user@host:path``. A user name or token in it is dropped.

    Examples
    --------
    >>> web_address("git@github.com:group/project.git")
    'https://github.com/group/project'
    >>> web_address("/srv/git/project.git") is None
    True
    """
    match = _ADDRESS.fullmatch(remote.strip())
    if match is None:
        return None
    host = (match["host"] or match["scp"]).lower().removeprefix("www.").replace("ssh.github.com", "github.com")
    return f"https://{host}/{match['path'].removesuffix('.git')}" if host in HOSTS else None


def repository(root=ROOT):
    """Return (address, branch) of the repository, or (None, None) where it has no public address.

    The environment variable NUCSEG_REPOSITORY_URL comes first (empty: no address), then git's ``origin``;
    NUCSEG_REPOSITORY_BRANCH first, then the branch or commit that is checked out.

    Raises
    ------
    NucsegError
        NUCSEG_REPOSITORY_URL is set to something that is not a repository on a known hosting service.
    """
    given = os.environ.get("NUCSEG_REPOSITORY_URL")
    address = web_address(given if given is not None else _git(root, "remote", "get-url", "origin"))
    if given and address is None:
        raise NucsegError(f"NUCSEG_REPOSITORY_URL={given}: not a repository on {', '.join(HOSTS)}")
    if address is None:
        return None, None
    branch = os.environ.get("NUCSEG_REPOSITORY_BRANCH") or _git(root, "symbolic-ref", "--short", "HEAD")
    return address, branch or _git(root, "rev-parse", "HEAD") or "main"


def _git(root, *arguments):
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
