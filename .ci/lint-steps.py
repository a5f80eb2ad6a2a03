"""Checks the scripts of a composite action, which actionlint does not read: lint-steps.py SHELLCHECK ACTION_YML

A step of it has to map under `env:` what its script reads of the action's inputs, ref and repository: on GitHub the variables
that are named after them are not set there. act sets them.
"""

import re
import subprocess
import sys

from ruamel.yaml import YAML

shellcheck, path = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    steps = YAML(typ="safe").load(file)["runs"]["steps"]
findings = []
for number, step in enumerate(steps, 1):
    script, shell = step.get("run"), step.get("shell", "")
    if script is None:
        continue
    # Where an expression chooses among shells, the script has to suit the one that can least.
    shells = re.findall(r"\b(?:sh|dash|bash)\b", shell)
    if shells:
        dialect = "sh" if "sh" in shells else shells[0]
        text = f"set -e; {script}"  # as runners start each of these
        if subprocess.run([shellcheck, f"--shell={dialect}", "-"], input=text, encoding="utf-8", check=False).returncode:
            findings.append(f"step {number}: shellcheck found what is above, as {dialect}")
    else:
        findings.append(f"step {number}: shellcheck knows no shell in {shell!r}")
    read = re.findall(r"\b(?:INPUT_\w+|GITHUB_ACTION_REF|GITHUB_ACTION_REPOSITORY)\b", script)
    for name in sorted({*read} - {*step.get("env", {})}):
        findings.append(f"step {number}: GitHub does not set {name} in a composite action: map it under env:")
    for name in re.findall(r"\$\{\{[^}]*\b(action_ref|action_repository)\b", script):
        findings.append(f"step {number}: github.{name} is empty in a script of a composite action: map it under env:")
sys.exit("\n".join(f"{path}: {finding}" for finding in findings) or None)
