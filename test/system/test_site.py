"""The documentation as a site: it builds strictly, looks as on GitHub, and asks nothing of other hosts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import panosam2_ros
from helpers.documents import pages
from helpers.process import ROOT
from tools.site_markdown import parse, site_target, with_wide_lists, without_badges

pytest.importorskip("mkdocs", reason='needs the extra "docs": make, or pip install ".[docs]"')

from tools.site_hooks import PAGES

SOURCES = {path.stem: path for path in pages() if path.parent == ROOT / "docs"} | {
    Path(page).stem: ROOT / file for file, page in PAGES.items()
}
# what a page has of each on both sides
COUNTED = ("li", "pre", "table", "img", "h2", "h3")


def build(out: Path, checkout: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    quiet = {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        command, cwd=checkout, env={**os.environ, **quiet}, capture_output=True, text=True, timeout=280
    )


class Page(HTMLParser):
    """What a page of the site has within its article, and what it asks others for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.counts = dict.fromkeys(COUNTED, 0)
        self.links: list[str] = []
        self.asked: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._inside |= tag == "article"
        if self._inside and tag in self.counts:
            self.counts[tag] += 1
        if self._inside and tag == "a":
            self.links.append(given.get("href") or "")
        asks = given.get("src") or (given.get("href") if tag == "link" else "") or given.get("srcset") or ""
        if re.match(r"(https?:)?//", asks) and given.get("rel") not in ("canonical", "next", "prev"):
            self.asked.append(asks)

    def handle_endtag(self, tag: str) -> None:
        self._inside &= tag != "article"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    out = tmp_path_factory.mktemp("site")
    return out, build(out)


@pytest.fixture
def site(built: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    out, done = built
    if done.returncode != 0:
        pytest.skip("the site does not build, see test_site_builds_strictly")
    return out


def test_site_builds_strictly(built: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    _, done = built
    assert done.returncode == 0, f"make docs:\n{done.stderr}"


def test_every_page_is_there(site: Path) -> None:
    assert SOURCES.keys() <= {path.stem for path in site.glob("*.html")}
    assert (site / "search" / "search_index.json").stat().st_size > 100_000


def counts(markdown: str) -> dict[str, int]:
    """Return how many of each a page has, as GitHub reads it."""
    kinds = {"list_item_open": "li", "fence": "pre", "code_block": "pre", "table_open": "table"}
    found = dict.fromkeys(COUNTED, 0)
    for token in parse(markdown):
        name = token.tag if token.type == "heading_open" else kinds.get(token.type, "")
        for kind in [name, *("img" for child in token.children or [] if child.type == "image")]:
            if kind in found:
                found[kind] += 1
    return found


@pytest.mark.parametrize("name", sorted(SOURCES.keys() - {"python_reference"}))
def test_a_page_has_the_same_parts_as_on_github(name: str, site: Path) -> None:
    text = SOURCES[name].read_text()
    text = without_badges(text) if SOURCES[name].parent == ROOT else text
    page = Page((site / f"{name}.html").read_text())
    html = Page(f"<article>{''.join(re.findall(r'<img[^>]*>', text))}</article>").counts["img"]
    expected = counts(text)
    assert page.counts == {**expected, "img": expected["img"] + html}, (
        "Python-Markdown reads the page in another way than GitHub: see its lists and blocks on the site"
    )


def test_nothing_is_asked_of_another_host(site: Path) -> None:
    asked = {path.name: Page(path.read_text()).asked for path in site.glob("*.html")}
    assert {name: found for name, found in asked.items() if found} == {}
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)\"']+", styles) == []
    # what asks the repository's host for stars and releases
    assert not any('data-md-component="source"' in path.read_text() for path in site.glob("*.html"))


def test_links_out_of_docs_lead_to_the_repository(site: Path) -> None:
    links = {link for path in site.glob("*.html") for link in Page(path.read_text()).links}
    repository = "https://github.com/panosam2-ros/panosam2_ros"
    assert f"{repository}/blob/main/config/panosam2.yaml" in links
    outside = [link for link in links if link.startswith("../") or link.startswith("docs/")]
    assert outside == []
    for link in links:
        if kind := re.match(rf"{repository}/(blob|tree)/main/([^#]+)", link):
            assert (ROOT / kind[2]).is_dir() == (kind[1] == "tree") and (ROOT / kind[2]).exists(), link


def test_reference_has_the_public_names_with_their_texts(site: Path) -> None:
    text = (site / "python_reference.html").read_text()
    for name in panosam2_ros.__all__:
        module = panosam2_ros._MODULES[name]
        assert f'id="panosam2_ros.{module}.{name}"' in text, f"docs/python_reference.md lacks {name}"
    guide = (ROOT / "docs" / "python_api.md").read_text()
    for name in re.findall(r"^\| `(\w+)\(", guide, re.M):  # methods of PanoTracker
        assert f'id="panosam2_ros.tracking.tracker.PanoTracker.{name}"' in text, name


# a page that is missing from nav, a broken link, a broken anchor, a name that does not exist
FAULTS = {  # file: text, what is told
    "extra.md": ("# A page\n", "extra.md"),
    "qos.md": ("# QoS\n[x](nope.md)\n", "nope.md"),
    "tuning.md": ("# Tuning\n[x](qos.md#nowhere)\n", "#nowhere"),
}
NO_NAME = {"reference.md": ("# Reference\n::: panosam2_ros.nothing\n", "panosam2_ros.nothing")}


@pytest.mark.parametrize("faults", [FAULTS, NO_NAME])
def test_strict_build_refuses(faults: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("tools", "panosam2_ros"):
        (tmp_path / name).symlink_to(ROOT / name)
    nav = "".join(f"  - {name}\n" for name in faults if name != "extra.md")
    (tmp_path / "mkdocs.yml").write_text(f"INHERIT: {ROOT}/mkdocs.yml\nnav:\n{nav}")
    for name, (text, _) in faults.items():
        (tmp_path / "docs" / name).write_text(text)
    done = build(tmp_path / "site", tmp_path)
    assert done.returncode != 0
    assert [told for _, told in faults.values() if told not in done.stderr] == [], done.stderr


def test_lists_are_indented_as_python_markdown_wants_them() -> None:
    text = "Text:\n- a\n  more\n  - b\n\n    ```\n    code\n    ```\n1. one\n\n   two\nlazy\n"
    expected = "Text:\n\n- a\n    more\n\n    - b\n\n        ```\n        code\n        ```\n\n"
    expected += "1. one\n\n    two\n    lazy\n"
    assert with_wide_lists(text) == expected


@pytest.mark.parametrize(
    ("target", "page", "expected"),
    [
        ("docs/qos.md#middleware", "README.md", "qos.md#middleware"),
        ("docs/pictures/rviz_window.jpg", "README.md", "pictures/rviz_window.jpg"),
        ("../README.md#interface", "docs/interface.md", "index.md#interface"),
        ("../config/sros2/", "docs/deployment.md", "R/tree/main/config/sros2"),
        ("../msg/PromptResult.msg", "docs/planner.md", "R/blob/main/msg/PromptResult.msg"),
        ("qos.md", "docs/tuning.md", "qos.md"),
        ("#here", "docs/tuning.md", "#here"),
        ("https://a.org/x", "docs/tuning.md", "https://a.org/x"),
    ],
)
def test_targets_of_links(target: str, page: str, expected: str) -> None:
    found = site_target(
        target, page, pages=PAGES, repository="R", is_folder=lambda path: (ROOT / path).is_dir()
    )
    assert found == expected


def test_pictures_of_other_hosts_are_left_out() -> None:
    text = "# Name\n[![CI](https://a.org/b.svg)](https://a.org)\n![own](docs/demo.jpg)\n"
    assert without_badges(text) == "# Name\n![own](docs/demo.jpg)\n"
