# One job for each row whose record is missing or was made by other code or settings. The job writes the record
# itself, whole or not at all, so an interrupted study goes on where it stopped. Rows wait for a GPU of their own.

import json
import subprocess

NUCSEG = [PYTHON, "-m", "nucseg"]
GPUS = gpu_slot.devices()


# Asked only when the study is wanted: it imports the experiments.
def study_marks(wildcards):
    command = [*NUCSEG, "experiment", "list", "--json"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    marks = []
    for row in listed:
        mark = places.BUILD / "study" / row["chapter"] / f"{row['key']}.done"
        if row["state"] != "current":
            mark.unlink(missing_ok=True)
            marks.append(str(mark.relative_to(places.ROOT)))
    return marks


# The tables once more at the end: rows that finish at the same moment may each have missed the other.
rule study:
    input:
        study_marks,
    params:
        chapters=lambda wildcards, input: sorted({mark.split("/")[2] for mark in input}),
    run:
        for chapter in params.chapters:
            subprocess.run([*NUCSEG, "tables", chapter], check=True)


# On a machine with GPUs there are as many rows at a time as GPUs, and they share the cores.
def threads_of_a_row(wildcards):
    return max(1, workflow.cores // len(GPUS)) if GPUS else 1


rule row:
    output:
        touch("_build/study/{chapter}/{key}.done"),
    threads: threads_of_a_row
    resources:
        gpu=1,
    shell:
        "OMP_NUM_THREADS={threads} NUMBA_NUM_THREADS={threads}"
        " {PYTHON:q} workflow/gpu_slot.py {NUCSEG:q} experiment run {wildcards.chapter} --row {wildcards.key:q}"
