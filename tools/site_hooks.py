"""Hooks of mkdocs.yml: the home page is README.md, and links out of docs/ lead to the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from tools.site_markdown import map_targets, site_target, with_wide_lists, without_badges

ROOT = Path(__file__).resolve().parents[1]
# files outside of docs/ that are pages of the site
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
_SOURCES = {page: file for file, page in PAGES.items()}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made of files outside of docs/."""
    for file, page in PAGES.items():
        files.append(File.generated(config, page, content=without_badges((ROOT / file).read_text())))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn a page as GitHub reads it into one of the site."""
    name = page.file.src_uri
    source = _SOURCES.get(name, f"docs/{name}")

    def target(link: str) -> str:
        repository = config["extra"]["repository"]
        return site_target(link, source, pages=PAGES, repository=repository, is_folder=_is_folder)

    return with_wide_lists(map_targets(markdown, target))


def _is_folder(path: str) -> bool:
    return (ROOT / path).is_dir()
