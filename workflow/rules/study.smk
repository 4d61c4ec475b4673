# One job for each row whose record is missing or out of date; a record is written by the job itself, whole or not
# at all, so an interrupted study goes on where it stopped. Rows go through the GPU slots one by one.

import json
import subprocess


# Asked only when the study is wanted: it imports the experiments.
def study_marks(wildcards):
    command = [PYTHON, "-m", "nucseg", "experiment", "list", "--profile", STUDY_PROFILE, "--json"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    wanted = [row for row in listed if not row["current"]]
    for row in wanted:
        mark = places.BUILD / "study" / STUDY_PROFILE / row["chapter"] / f"{row['key']}.done"
        mark.unlink(missing_ok=True)
    return [f"_build/study/{STUDY_PROFILE}/{row['chapter']}/{row['key']}.done" for row in wanted]


STUDY_PROFILE = config.get("study_profile", "full")


rule row:
    output:
        touch(f"_build/study/{STUDY_PROFILE}/{{chapter}}/{{key}}.done"),
    resources:
        gpu=1,
    shell:
        "{PYTHON:q} workflow/gpu_slot.py {PYTHON:q} -m nucseg experiment run {wildcards.chapter}"
        " --row {wildcards.key:q} --profile {STUDY_PROFILE}"


rule study:
    input:
        study_marks,
