"""Slides out of Markdown: one file, formulas as MathML, figures drawn by the code on the slides."""

import importlib
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("latex2mathml", reason="the site's tools are not installed: make docs installs them")
pytest.importorskip("mdit_py_plugins", reason="the site's tools are not installed: make docs installs them")

DOCS = Path(__file__).parents[2] / "docs"
sys.path[:0] = [str(DOCS / "_extensions"), str(DOCS / "teaching")]
slides = importlib.import_module("slides")

SOURCE = """# Title

---

## Formulas $a < b$

$$ \\|x\\|^2 $$

---

## A figure

```{figure} A line that "rises"
from matplotlib.figure import Figure

figure = Figure(figsize=(2, 1))
figure.subplots().plot([0, 1], [0, 1])
```

```python
print("shown")
```
"""


def test_slides_are_one_file_with_formulas_and_figures(tmp_path: Path) -> None:
    (tmp_path / "slides.md").write_text(SOURCE, encoding="utf-8")
    page = slides.page(tmp_path / "slides.md")
    assert page.count("<section>") == 3
    assert page.count("<math") == 2
    assert "$" not in page.split("<script>")[0].replace("${", "")
    assert page.count('<img alt="A line that &quot;rises&quot;" src="data:image/svg+xml;base64,') == 1
    assert "print(&quot;shown&quot;)" in page
    assert "subplots" not in page
    assert re.findall(r'(?:src|href)="(?!data:)[^"]*"', page) == []
    assert page == slides.page(tmp_path / "slides.md")


def test_the_slides_of_the_lesson_are_about_fifteen_and_each_has_a_title() -> None:
    parts = (DOCS / "teaching" / "slides.md").read_text(encoding="utf-8").split("\n---\n")
    assert 12 <= len(parts) <= 20
    for part in parts:
        assert re.match(r"\n?#{1,2} \S", part)
