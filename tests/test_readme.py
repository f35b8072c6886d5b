"""What the README tells a newcomer to type is what continuous integration runs."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_ci_installs_and_tests_with_the_readmes_commands() -> None:
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    search, tests = re.findall(r"```bash\n(.*)\n```", readme)
    venv, install, run = search.split(" && ")
    assert run == ".venv/bin/python -m tuner.search search_spaces/gp.yaml"
    for command in (venv, install, tests):
        assert command in ci, f"the README says `{command}`, and CI does otherwise"


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
