"""What ``mkdocs build`` does beside its own: runs the gallery, writes the reference, follows links out of ``docs``."""

from __future__ import annotations

import inspect
import logging
import os
import re
import sys
import tempfile
import time
from contextlib import chdir
from importlib import import_module
from pathlib import Path
from types import ModuleType

from griffe import Extension, Object
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tools.pages import run, with_outputs

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
GALLERY = "gallery/"
BESIDE = "repository/"  # where the site keeps files that the documents link to and that are not in docs
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`(~?)([\w.]+)`")
REFERENCE = (
    "auditing", "embedding", "directions", "captions", "index", "decoding", "store", "cluster", "repair", "networks",
    "errors", "plotting", "demo.miniature",
)  # fmt: skip
NAMES = {  # of modules without __all__
    "cluster": ["Cluster"],
    "demo.miniature": ["miniature"],
    "networks": ["class_scores", "penultimate"],
    "plotting": ["decisions", "accuracy", "pictures", "class_map"],
}
log = logging.getLogger("mkdocs.hooks.site")

_sources: dict[str, Path] = {}  # page of the site → its file in the repository


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the front page, the reference, the gallery's pictures, and what the documents link to outside ``docs``."""
    _sources.clear()
    _sources.update({file.src_uri: DOCS / file.src_uri for file in files.documentation_pages()})
    files.append(File.generated(config, "index.md", content=(ROOT / "README.md").read_text("utf-8")))
    _sources["index.md"] = ROOT / "README.md"
    for name in REFERENCE:
        files.append(File.generated(config, f"reference/{name}.md", content=_reference(name)))
    for source in list(_sources.values()):
        _follow(source, files, config)
    pages = [file for file in files.documentation_pages() if file.src_uri.startswith(GALLERY)]
    _run_gallery(sorted(pages, key=lambda file: file.src_uri), files, config)
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links that lead out of ``docs`` lead to the copies that the site has."""
    source = _sources.get(page.file.src_uri)
    if source is None:
        return markdown
    start = Path(page.file.src_uri).parent

    def led(link: re.Match[str]) -> str:
        target = _target(source, link[2])
        return link[0] if target is None else f"{link[1]}{os.path.relpath(_uri(target), start)}{link[3]}"

    return LINK.sub(led, markdown)


# --- the gallery ------------------------------------------------------------------------------------------------------


def _run_gallery(pages: list[File], files: Files, config: MkDocsConfig) -> None:
    """Run the pages one after the other in one folder; each gets what it printed, and the site its pictures."""
    os.environ["MPLBACKEND"] = "Agg"
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for page in pages:
            text, start = page.content_string, time.perf_counter()
            if config.extra["run"]:
                text = with_outputs(text, list(run(text, page.src_uri)))
                log.info("ran %s in %.0f s", page.src_uri, time.perf_counter() - start)
            page.content_string = text
            for name in re.findall(r"!\[[^]]*\]\(([\w-]+\.(?:png|svg))\)", text):
                drawn = Path(name).read_bytes() if config.extra["run"] else b""
                files.append(File.generated(config, GALLERY + name, content=drawn))


# --- the reference ----------------------------------------------------------------------------------------------------


def _reference(name: str) -> str:
    """Return the page of a part of the package: one directive of mkdocstrings a public name."""
    import fdgpu

    module = import_module(f"fdgpu.{name}")
    names = NAMES.get(name) or getattr(module, "__all__", None) or _classes(module)
    at_top = set(dir(fdgpu))
    said = (module.__doc__ or "").strip()
    lines = [f"# fdgpu.{name}", ROLE.sub(_as_code, said)]
    lines += [f"::: fdgpu.{own if own in at_top else f'{name}.{own}'}" for own in names]
    return "\n\n".join(lines) + "\n"


def _classes(module: ModuleType) -> list[str]:
    return [name for name, one in vars(module).items() if isinstance(one, type) and one.__module__ == module.__name__]


def _as_code(role: re.Match[str]) -> str:
    return f"`{role[2].rpartition('.')[2] if role[1] else role[2]}`"


def _computed(obj: Object) -> str:
    """Return the docstring that a class has at run time: records document themselves by their fields."""
    owner = getattr(sys.modules.get(obj.module.path), obj.name, None)  # what the reference names is imported by now
    return inspect.getdoc(owner) or "" if isinstance(owner, type) else obj.docstring.value if obj.docstring else ""


class Docstrings(Extension):
    """Reads ``:class:`~fdgpu.Classifier``` of docstrings as the name in code letters, and one example as examples."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        """Change the docstring of one object; that of a class may be one that the class has computed."""
        if obj.docstring is not None:
            said = _computed(obj) if obj.is_class else obj.docstring.value
            said = ROLE.sub(_as_code, said)
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", said, flags=re.MULTILINE)


# --- what lies beside docs --------------------------------------------------------------------------------------------


def _target(source: Path, link: str) -> Path | None:
    """Return the file that a link of a document leads to; None for addresses and for pictures that a run makes."""
    if re.match(r"\w+:", link):
        return None
    target = (source.parent / link).resolve()
    return target if target.is_file() else None


def _uri(target: Path) -> str:
    if target == ROOT / "README.md":
        return "index.md"
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    return BESIDE + target.relative_to(ROOT).as_posix()


def _follow(source: Path, files: Files, config: MkDocsConfig) -> None:
    """Add what a document links to and the site lacks; a document of these is followed too."""
    for _, link, _ in LINK.findall(source.read_text("utf-8")):
        target = _target(source, link)
        if target is None or files.get_file_from_path(_uri(target)) is not None:
            continue
        files.append(File.generated(config, _uri(target), abs_src_path=str(target)))
        if target.suffix == ".md":
            _sources[_uri(target)] = target
            _follow(target, files, config)
