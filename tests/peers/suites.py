"""Running the test suites of other libraries, as they stand in a checkout, on this one.

A shim is a plugin of pytest that puts modules of ours under the names that the tests import.
Nothing of theirs is copied: the checkout is found by an environment variable.
"""

from __future__ import annotations

import collections
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

HERE = Path(__file__).resolve().parents[1]

# Why a test fails that says nothing against what is here, by the text of its error.
REASONS = {
    "complex": r"complex|1j|could not convert string",
    "not there": r"no operation of tensors does it|expected arrays, got a Tensor"
    r"|module '[\w.]*' has no attribute|cannot import name|unexpected keyword",
    "theirs alone": r"No module named|has no attribute '(_ops|base|creator|misc|make_diagonal)'"
    r"|writeable|argument count|nan_to_num=",
    "by design": r"a leaf that wants a gradient|holds no gradient|written in place after it was"
    r"|None \(ACTUAL\)|array\(None|assert None is not None|'NoneType' and 'float'"
    r"|no elements to reduce|is made of a value that carries a gradient",
}


@dataclass
class Report:
    """What became of a suite's tests; of a failed one, the error."""

    passed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def reasons(self) -> dict[str, list[str]]:
        """The tests that fail, by why."""
        found: dict[str, list[str]] = collections.defaultdict(list)
        for test, text in self.failed.items():
            fits = (why for why, pattern in REASONS.items() if re.search(pattern, text))
            found[next(fits, "different")].append(test)
        return found

    def __str__(self) -> str:
        why = "".join(f", {len(tests)} {why}" for why, tests in sorted(self.reasons().items()))
        return f"{len(self.passed)} passed, {len(self.skipped)} skipped{why}"


def checkout(variable: str) -> Path:
    """The folder that an environment variable names, or a skip."""
    if not (folder := os.environ.get(variable)):
        pytest.skip(f"needs a checkout of the other library: set {variable} to its folder")
    return Path(folder)


def run(shim: str, files: list[Path], *options: str) -> Report:
    """Run files of tests with a shim, in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        results, settings = Path(folder, "results.xml"), Path(folder, "pytest.ini")
        settings.write_text("[pytest]\n")
        command = [sys.executable, "-m", "pytest", "-q", "-c", settings, "-p", shim]
        command += ["-p", "no:cacheprovider", "--continue-on-collection-errors"]
        command += [f"--junitxml={results}", *options, *files]
        paths = os.pathsep.join([str(HERE.parent), str(HERE)])
        environment = os.environ | {"PYTHONPATH": paths, "HYPOTHESIS_PROFILE": "default"}
        output = subprocess.run(
            [*map(str, command)], env=environment, cwd=folder, capture_output=True, text=True
        )
        if not results.exists():
            raise RuntimeError(output.stdout + output.stderr)
        return _report(ElementTree.parse(results))


def _error(problem: ElementTree.Element) -> str:
    """What went wrong, in a few lines."""
    lines = str(problem.get("message")).strip().splitlines()[:12]
    if lines[0] == "collection failure" or lines[0].startswith("ExceptionGroup"):
        errors = r"^[\s|E]*(\w*(?:Error|Exception)\b.*)$"
        lines = re.findall(errors, problem.text or "", re.M)[-1:] or lines
    return "\n".join(lines)


def _report(tree: Any) -> Report:
    report = Report()
    for case in tree.iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        problems = [node for node in case if node.tag in ("failure", "error")]
        if problems:
            report.failed[name] = _error(problems[0])
        elif any(node.tag == "skipped" for node in case):
            report.skipped.append(name)
        else:
            report.passed.append(name)
    return report
