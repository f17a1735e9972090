"""A page read back with the standard library's parser: its elements, attributes and text."""

from __future__ import annotations

import base64
import re
import zlib
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "input", "br", "hr", "img", "link", "source", "col", "wbr"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parent: Element | None
    content: list[Element | str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    @property
    def text(self) -> str:
        return " ".join(" ".join(one if isinstance(one, str) else one.text for one in self.content).split())

    @property
    def children(self) -> list[Element]:
        return [one for one in self.content if isinstance(one, Element)]

    def walk(self) -> list[Element]:
        return [self, *(one for child in self.children for one in child.walk())]

    def find(self, tag: str = "", cls: str = "", **attributes: str) -> list[Element]:
        return [
            e
            for e in self.walk()
            if (not tag or e.tag == tag)
            and (not cls or cls in e.classes)
            and all(e.attributes.get(k) == v for k, v in attributes.items())
        ]

    def inside(self, tag: str) -> bool:
        return self.parent is not None and (self.parent.tag == tag or self.parent.inside(tag))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = self.here = Element("", {}, None)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in <{tag}>: {names}"
        element = Element(tag, {k: v or "" for k, v in attrs}, self.here)
        self.here.content.append(element)
        if tag not in VOID:
            self.here = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.here.content.append(Element(tag, {k: v or "" for k, v in attrs}, self.here))

    def handle_endtag(self, tag: str) -> None:
        assert self.here.tag == tag, f"</{tag}> closes <{self.here.tag}>"
        assert self.here.parent is not None
        self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        self.here.content.append(data)


def unpacked(page: str) -> str:
    """Return the page with its packed sections as they are once they were opened."""

    def opened(found: re.Match[str]) -> str:
        return f"<template>{zlib.decompress(base64.b64decode(found[1])).decode()}</template>"

    return re.sub(r"<template>([\w+/=]+)</template>", opened, page)


def read(page: str) -> Element:
    """Return the root of the page, sections opened; every tag that was opened must be closed, in order."""
    page = unpacked(page)
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.here is reader.root, f"<{reader.here.tag}> is never closed"
    return reader.root
