"""The documents name tests, files and links that exist."""

import re

import pytest

from lib.config.paths import PROJECT_ROOT

DOCUMENTS = sorted([*PROJECT_ROOT.glob("*.md"), *(PROJECT_ROOT / "docs").glob("*.md"), PROJECT_ROOT / "data/README.md"])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_named_tests_exist(path) -> None:
    text = path.read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{path.name}: broken link {target}"
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert f"def {name}(" in (PROJECT_ROOT / file).read_text(), f"{path.name}: no test {file}::{name}"
    for file in re.findall(r"`((?:lib|tracking|tests|benchmarks|experiments)/[\w/]+\.\w+)`", text):
        assert (PROJECT_ROOT / file).exists() or file.endswith("/local.py"), f"{path.name}: no file {file}"


def test_every_faithful_mark_has_its_file_in_the_numerics_page() -> None:
    page = (PROJECT_ROOT / "docs/numerics.md").read_text()
    marked = [path for path in (PROJECT_ROOT / "lib").rglob("*.py") if "Faithful" in path.read_text()]
    missing = [
        str(path.relative_to(PROJECT_ROOT)) for path in marked if path.relative_to(PROJECT_ROOT).as_posix() not in page
    ]
    assert not missing, f"docs/numerics.md has no row for {missing}"
