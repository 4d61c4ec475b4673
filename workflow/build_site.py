"""Build the site from the staged tree, check it, and put it in place of the old one.

The build executes nothing; its warnings are errors. A site that fails stays in ``_build/site`` for a look.
"""

import os
import re
import shutil
import subprocess
import sys

from check_site import check
from places import BUILD, ROOT, shown

from nucseg.atomic import write_text

#: Lines of Jupyter Book's output that say something is wrong.
_PROBLEM = ("WARNING", "ERROR", "Error", "error:", "Traceback")


def build(stage=BUILD / "stage", target=BUILD / "site"):
    """Run Jupyter Book from a clean slate.

    Parameters
    ----------
    stage : pathlib.Path
        The staged tree.
    target : pathlib.Path
        Replaced; the pages come to ``target/_build/html``.

    Returns
    -------
    list of str
        Problems; empty if the build succeeded.
    """
    # Old doctrees keep old figures and references alive.
    shutil.rmtree(target, ignore_errors=True)
    command = [
        sys.executable,
        "-c",
        "from jupyter_book.cli.main import main; main()",
        "build",
        str(stage),
        "--path-output",
        str(target),
        "--nitpick",
        "--warningiserror",
        "--keep-going",
        "--quiet",
    ]
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr).replace(f"{stage}{os.sep}", "")
    (target / "build.log").write_text(output, encoding="utf-8")
    problems = [line.strip() for line in output.splitlines() if any(word in line for word in _PROBLEM)]
    if done.returncode and not problems:
        problems = output.strip().splitlines()[-5:]
    return problems if done.returncode else []


def main():
    """Build, check and replace the site unless it shows the staged tree already; returns the exit status."""
    wanted, made = BUILD / "stage.json", BUILD / "site.json"
    if (BUILD / "html" / "index.html").is_file() and made.is_file() and made.read_bytes() == wanted.read_bytes():
        return 0
    print("building the pages", flush=True)
    problems = build()
    pages = BUILD / "site" / "_build" / "html"
    if not problems:
        problems = check(pages)
    if problems:
        print("\n".join(f"  {problem}" for problem in problems), file=sys.stderr)
        print(
            f"The book has {len(problems)} problems; log: {shown(BUILD / 'site' / 'build.log')}, pages: {shown(pages)}",
            file=sys.stderr,
        )
        return 1
    made.unlink(missing_ok=True)
    shutil.rmtree(BUILD / "html", ignore_errors=True)
    pages.rename(BUILD / "html")
    write_text(made, wanted.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
