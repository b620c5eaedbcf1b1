"""Families of sprites: all pictures of one thing, whatever its skin tone, gender or way of writing.

File names are code points in hexadecimal, joined by hyphens; a zero-width joiner (200d) joins the symbols of
a sequence. A family's name is the file name, with its extension, after these changes:

- skin tones (1f3fb..1f3ff) are left out: the same picture in another colour;
- the variation selector (fe0f) and leading zeros are left out: ways to write the same symbol, which occur in
  two spellings (``00a9-fe0f.webp`` and ``a9-fe0f.webp``);
- the signs of woman and man (2640, 2642) are left out where they follow a joiner, and women and men become
  persons, girls and boys children, old women and men older persons: the same dress, tool and pose.

A symbol that would have nothing left keeps its name. Hair, professions, flags and directions distinguish
families.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

LOOK_ALIKES = Path(__file__).parent / "asset_files" / "look_alikes.txt"
_SKIN_TONES = frozenset({"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"})
_SELECTOR, _JOINER = "fe0f", "200d"
_GENDER_SIGNS = ("2640", "2642")
_PERSONS = {
    **dict.fromkeys(("1f468", "1f469"), "1f9d1"),
    **dict.fromkeys(("1f466", "1f467"), "1f9d2"),
    **dict.fromkeys(("1f474", "1f475"), "1f9d3"),
}


def family_name(file_name: str) -> str:
    """Return the name of a sprite's family, with extension; a family's name is its own family's name."""
    stem, dot, extension = file_name.rpartition(".")
    codes = [code.lstrip("0") for code in stem.split("-")]
    symbols: list[list[str]] = [[]]
    for code in codes:
        if code == _JOINER:
            symbols.append([])
        elif code != _SELECTOR and code not in _SKIN_TONES:
            symbols[-1].append(_PERSONS.get(code, code))
    first, *others = symbols
    kept = [first, *(symbol for symbol in others if symbol not in ([], *([s] for s in _GENDER_SIGNS)))]
    name = f"-{_JOINER}-".join("-".join(symbol) for symbol in kept)
    return f"{name or '-'.join(codes)}{dot}{extension}"


@cache
def look_alike_families() -> frozenset[str]:
    """Read the names of the families that are in no split, because they look like one of a stricter split.

    ``synthetic.sprite_likeness`` computes them from the pictures: families of train that look like one of val
    or of the reserved split, and families of val that look like a reserved one.
    """
    lines = LOOK_ALIKES.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))
