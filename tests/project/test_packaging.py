"""What a wheel will hold, read from pyproject.toml: every package and every file in it."""

import tomllib
from pathlib import Path

from support.looped import looped

ROOT = Path(__file__).resolve().parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "setuptools"
]
FOLDERS = {
    package: ROOT / SETUPTOOLS["package-dir"].get(package, package.replace(".", "/"))
    for package in SETUPTOOLS["packages"]
}
LINKS = {ROOT / "tinygrad_cupy" / name for name in ("nn", "datasets")}


def test_every_folder_with_sources_is_a_listed_package() -> None:
    folders = {
        path.parent
        for top in ("tinygrad_cupy", "nn", "datasets")
        for path in (ROOT / top).rglob("*.py")
        if not LINKS & set(path.parents)
    }
    assert folders == set(FOLDERS.values())


@looped("package", FOLDERS)
def test_every_data_file_is_named_by_a_pattern(package: str) -> None:
    patterns = SETUPTOOLS["package-data"].get(package, [])
    left_out = [
        path.name
        for path in FOLDERS[package].iterdir()
        if path.is_file()
        and path not in LINKS
        and path.suffix not in (".py", ".pyc")
        and not any(path.match(pattern) for pattern in patterns)
    ]
    assert left_out == []


def test_no_package_takes_a_name_at_the_top_but_our_own() -> None:
    assert {package.split(".")[0] for package in FOLDERS} == {"tinygrad_cupy"}
