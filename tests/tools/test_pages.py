"""A page's Python runs as a reader would run it, and what it prints stands below it."""

from __future__ import annotations

import traceback

import pytest

from tools.pages import blocks, run, with_outputs

PAGE = """# A page

```python
x = 20
print("twice", x)
```

Words.

```python title="Not run here: fetches weights"
fetch(x)
```

```python
import warnings
from fdgpu.errors import FdgpuWarning

warnings.warn("look twice", FdgpuWarning)
print(2 * x)
```

```bash
exit 1
```
"""


def test_blocks_share_a_namespace_and_give_what_they_print_and_doubt() -> None:
    outputs = [printed for _, printed in run(PAGE, "page.md")]
    assert outputs == ["twice 20\n", "FdgpuWarning: look twice\n40\n"]


def test_a_block_that_is_not_run_says_why() -> None:
    assert [block.not_run for block in blocks(PAGE)] == ["", "fetches weights", ""]


def test_what_a_block_prints_stands_below_it() -> None:
    page = with_outputs(PAGE, list(run(PAGE, "page.md")))
    assert 'print("twice", x)\n```\n\n```text\ntwice 20\n```\n\n\nWords.' in page
    assert "print(2 * x)\n```\n\n```text\nFdgpuWarning: look twice\n40\n```\n" in page
    assert page.replace("\n\n```text\ntwice 20\n```\n", "").replace(
        "\n\n```text\nFdgpuWarning: look twice\n40\n```\n", ""
    ) == PAGE  # fmt: skip


def test_an_error_names_the_line_of_the_page() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(run("Words.\n\n```python\nx = 0\n1 / x\n```\n", "docs/page.md"))
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno) == ("docs/page.md", 5)


def test_a_warning_of_another_library_is_an_error() -> None:
    with pytest.raises(DeprecationWarning, match="old"):
        list(run("```python\nimport warnings\nwarnings.warn('old', DeprecationWarning)\n```\n", "page.md"))
