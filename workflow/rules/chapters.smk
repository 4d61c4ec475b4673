# One notebook, one process. A chapter's only input is its state file: everything the last execution used, as
# digests (workflow/chapter_state.py), so that times of source files play no part.

CHAPTERS = places.chapters()


# Notebooks run side by side and share the cores: two trainings on a core each are done earlier than one after the
# other on both.
def threads_each(wildcards):
    return max(1, workflow.cores // max(1, len(CHAPTERS)))


rule chapters:
    input:
        expand(f"_build/executed/{PROFILE}/notebooks/{{slug}}.ipynb", slug=CHAPTERS),


rule execute:
    input:
        f"_build/executed/{PROFILE}/state/{{slug}}.json",
    output:
        notebook=f"_build/executed/{PROFILE}/notebooks/{{slug}}.ipynb",
        record=f"_build/executed/{PROFILE}/notebooks/{{slug}}.record.json",
    threads: threads_each
    resources:
        gpu=1 if PROFILE == "full" else 0,
    shell:
        "{PYTHON:q} workflow/execute.py {wildcards.slug} --profile {PROFILE} --threads {threads}"
