# The site is built from the staged tree, as a whole, and only when that tree has changed.


rule site:
    input:
        "_build/stage.json",
    output:
        "_build/site.json",
    shell:
        "{PYTHON:q} workflow/build_site.py"
