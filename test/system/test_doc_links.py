"""Links, anchors and pictures of all pages, and what other files say of pages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from helpers.documents import Link, anchors, files, links, pages
from helpers.process import ROOT
from tools.external_links import OWN, problem

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".svg")
CODE = (".py", ".yaml", ".yml", ".xml", ".toml", ".cff", ".msg", ".srv", ".txt", "Makefile", ".ci/run")
# history, which may name what is no more
HISTORY = ("CHANGELOG.rst", "experiments/", "test/")


def local() -> Iterator[tuple[Link, Path, str]]:
    """Yield all links within the checkout: link, what it names, anchor."""
    for page in pages():
        for link in links(page):
            if "://" not in link.target and not link.target.startswith("mailto:"):
                file, _, anchor = link.target.partition("#")
                yield link, (page.parent / file).resolve() if file else page, anchor


def external() -> Iterator[Link]:
    """Yield all links that lead elsewhere."""
    return (link for page in pages() for link in links(page) if "://" in link.target)


def test_links_lead_to_files_of_the_repository() -> None:
    known = files() | {str(parent) for name in files() for parent in Path(name).parents}
    wrong = [
        f"{link.place}: {link.target}"
        for link, path, _ in local()
        if not path.is_relative_to(ROOT) or str(path.relative_to(ROOT)) not in known
    ]
    assert not wrong, "\n".join(["no such file in the repository: mend the link, or git add:", *wrong])


def test_anchors_are_headings_of_their_page() -> None:
    wrong = [
        f"{link.place}: {link.target}: {path.relative_to(ROOT)} has {', '.join(sorted(anchors(path)))}"
        for link, path, anchor in local()
        if anchor and path.suffix == ".md" and path.is_file() and anchor not in anchors(path)
    ]
    assert not wrong, "\n".join(["no heading has that anchor:", *wrong])


def test_pictures_can_be_opened_have_a_text_and_are_all_shown() -> None:
    shown = Counter[str]()
    for link, path, _ in local():
        if link.kind == "picture":
            assert link.text, f"{link.place}: {link.target} has no alternative text: ![what it shows](...)"
        if path.suffix in PICTURES and path.is_relative_to(ROOT):
            shown[str(path.relative_to(ROOT))] += 1
    of_docs = {name for name in files() if name.startswith("docs/") and name.endswith(PICTURES)}
    assert of_docs - shown.keys() == set(), "no page shows it: remove the file, or show it"
    for name in of_docs:
        if not name.endswith(".svg"):
            with Image.open(ROOT / name) as picture:
                picture.verify()


def test_links_elsewhere_are_whole_addresses() -> None:
    found = list(external())
    assert len(found) > 10
    wrong = [f"{link.place}: {text}" for link in found if (text := problem(link.target))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "address",
    [
        "http://github.com/a/b",
        "https://github",
        "https://a.org/b c",
        "https://a.org/b.",
        f"{OWN}/blob/main/setup.py",
    ],
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    assert problem(address)


def test_pages_that_code_and_configuration_name_exist() -> None:
    wrong = []
    for name in sorted(files()):
        if name.startswith(HISTORY) or not name.endswith(CODE):
            continue
        for number, line in enumerate((ROOT / name).read_text(errors="ignore").splitlines(), 1):
            for page, anchor in re.findall(r"\b(docs/[\w/]+\.md)(?:#([\w-]+))?", line):
                path = ROOT / page
                if page not in files() or (anchor and anchor not in anchors(path)):
                    wrong.append(f"{name}:{number}: {page}{'#' * bool(anchor)}{anchor}")
    assert not wrong, "\n".join(["no such page or heading:", *wrong])
