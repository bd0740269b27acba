"""The site shows every public name, and neither a dead link nor code that nobody ran can get into it."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ulpm
import ulpm.plotting

pytest.importorskip("myst_nb", reason="the site's tools are not installed: make docs installs them")

DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS / "_extensions"))

from docstring_mathematics import convert  # noqa: E402

# Characters of a line of code that the site shows without scrolling.
_WIDEST = 100
CONF = f"""
import sys
sys.path.insert(0, {str(DOCS / "_extensions")!r})
extensions = ["myst_nb", "executed_blocks", "mathml"]
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "off"
"""
NOTEBOOK = "---\nfile_format: mystnb\nkernelspec: {name: python3, language: python}\n---\n\n"
PAGES = {
    "index": "# Index\n\n```{toctree}\nright\nwrong\n```\n",
    "right": f"{NOTEBOOK}# Right\n\n```{{code-cell}} bash\n%%bash\nls\n```\n\n```text\nno code\n```\n\n$a < b$\n",
    "wrong": "# Wrong\n\n```python\nprint(1)\n```\n\nsee [there](nowhere.md)\n\n    bare\n",
}


def test_the_api_has_every_public_name() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    for name in ulpm.__all__:
        assert f":: ulpm.{name}\n" in text, name
    for name in ulpm.plotting.__all__:
        assert f":: ulpm.plotting.{name}\n" in text, name


def test_code_on_the_pages_fits_into_its_frame() -> None:
    for page in [*DOCS.glob("*.md"), *DOCS.glob("gallery/*.md")]:
        for cell in re.findall(r"```\{code-cell\}.*?\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in cell.splitlines():
                assert len(line) <= _WIDEST, f"{page.name}: {line}"


def test_results_have_titles_of_their_own_in_the_contents() -> None:
    listed = re.findall(r"^(.+) <(/\w+_experiments/results/.+)>$", (DOCS / "index.md").read_text(), re.MULTILINE)
    pages = {
        f"/{page.relative_to(DOCS.parent).with_suffix('')}"
        for page in DOCS.parent.glob("*_experiments/results/**/*.md")
    }
    assert {page for _, page in listed} == pages
    assert len({title for title, _ in listed}) == len(pages)


def test_no_two_pages_have_one_title() -> None:
    pages = [*DOCS.glob("*.md"), *DOCS.glob("gallery/*.md"), *DOCS.parent.glob("*_experiments/results/**/*.md")]
    titles = [re.findall(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)[0] for page in pages]
    assert len(titles) > 25
    assert sorted(set(titles)) == sorted(titles)


def test_each_example_of_the_gallery_starts_with_the_claim_that_the_index_lists_and_checks_it() -> None:
    gallery = DOCS / "gallery"
    listed = " ".join((gallery / "index.md").read_text(encoding="utf-8").split())
    pages = [page for page in sorted(gallery.glob("*.md")) if page.name != "index.md"]
    assert len(pages) >= 8
    for page in pages:
        text = page.read_text(encoding="utf-8")
        found = re.search(r"^# (.+)\n\n\*\*([^*]+)\*\*", text, re.MULTILINE)
        assert found, f"{page.name} does not start with a claim"
        title, claim = found[1], " ".join(found[2].split())
        assert f"[{title}]({page.name}) : {claim}" in listed, page.name
        cells = re.findall(r"```\{code-cell\}.*?\n(.*?)```", text, re.DOTALL)
        assert any(re.search(r"^ *assert ", cell, re.MULTILINE) for cell in cells), f"{page.name} checks nothing"


def test_dead_links_and_code_that_is_not_run_fail_the_build(tmp_path: Path) -> None:
    pages, site = tmp_path / "pages", tmp_path / "site"
    pages.mkdir()
    (pages / "conf.py").write_text(CONF)
    for name, text in PAGES.items():
        (pages / f"{name}.md").write_text(text)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", pages, site]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode != 0
    complaints = [line for line in built.stderr.splitlines() if "WARNING" in line]
    assert [complaint.split(":")[0].rpartition("/")[2] for complaint in complaints] == ["wrong.md"] * 3
    assert sum("is not executed" in complaint for complaint in complaints) == 2
    assert sum("nowhere.md" in complaint for complaint in complaints) == 1
    page = (site / "right.html").read_text(encoding="utf-8")
    assert "%%bash" not in page
    assert "<math" in page


def test_docstrings_keep_formulas_and_escape_mathematics_in_prose() -> None:
    lines = ["L* is |x|_2, see ``a_b`` and :func:`f`:", "", "    a  =  b", "      c", "", "Raises: ValueError."]
    assert convert(lines) == [
        r"L\* is \|x\|\_2, see ``a_b`` and :func:`f`:",
        "",
        "",
        ".. code-block:: text",
        "",
        "    a  =  b",
        "      c",
        "",
        "",
        "**Raises.** ValueError.",
        "",
    ]


def test_sections_stay_for_napoleon_with_their_mathematics_escaped() -> None:
    lines = [
        "Finds v*.",
        "",
        "Args:",
        "    n_k: Of c*, |c|.",
        "        and ``d_1``",
        "",
        "Raises:",
        "    ValueError: n*",
    ]
    assert convert(lines) == [
        r"Finds v\*.",
        "",
        "Args:",
        r"    n_k: Of c\*, \|c\|.",
        "        and ``d_1``",
        "",
        "Raises:",
        r"    ValueError: n\*",
        "",
    ]


def test_a_formula_after_a_section_is_a_formula_again() -> None:
    lines = ["Args:", "    a: One.", "", "Source: b.", "", "    c = d"]
    assert convert(lines)[3:] == ["**Source.** b.", "", "", ".. code-block:: text", "", "    c = d", ""]


def test_public_docstrings_have_google_sections() -> None:
    """One-line "Raises: …" paragraphs are no sections, which napoleon would not render."""
    for name in ulpm.__all__:
        thing = getattr(ulpm, name)
        text = inspect.getdoc(thing) or ""
        assert not re.search(r"^(Raises|Errors|Returns|Shapes?|Arguments): ", text, re.MULTILINE), name
        # napoleon takes what stands before a colon in the first line for a type.
        assert not re.search(r"^Returns:\n.*:( |$)", text, re.MULTILINE), name
        if inspect.isfunction(thing) and inspect.signature(thing).parameters:
            documented = re.findall(r"^    (\w+): ", text.partition("Args:\n")[2].partition("\n\n")[0], re.MULTILINE)
            assert documented == list(inspect.signature(thing).parameters), name


def test_names_with_explanations_become_a_list_and_examples_stay() -> None:
    lines = ["``a``  first,", "       more.", "``b``  second.", "", ">>> 1 + 1", "2"]
    assert convert(lines) == [
        "* ``a``  first,",
        "  more.",
        "* ``b``  second.",
        "",
        "",
        ">>> 1 + 1",
        "2",
        "",
    ]
