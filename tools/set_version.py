"""A new version in every file that has one: package.xml, CITATION.cff and the heading in CHANGELOG.rst.

    python -m tools.set_version 0.3.0

package.xml is the source: setup.py and ``panosam2_ros.__version__`` read it. Run it from the checkout, look
at ``git diff``, and commit.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from pathlib import Path

from catkin_pkg.changelog import get_changelog_from_path
from catkin_pkg.package import parse_package
from catkin_pkg.package_version import get_forthcoming_label, update_changelog_sections, update_versions

ROOT = Path(__file__).resolve().parents[1]


def set_version(root: Path, version: str) -> None:
    """Write a version and the day of today to the files of a checkout.

    Raises ValueError, before anything is written, where the version is not ``1.2.3`` or not newer than the
    present one, or CHANGELOG.rst has no section *Forthcoming*.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(f"the version must be three numbers as in 0.3.0, got {version!r}")
    package = parse_package(str(root))
    if _numbers(version) <= _numbers(package.version):
        raise ValueError(f"the version must be newer than {package.version} of package.xml, got {version}")
    changelog = get_changelog_from_path(str(root), package.name)
    label = get_forthcoming_label(changelog.rst)
    if label is None:
        raise ValueError("CHANGELOG.rst needs a section Forthcoming that says what is new in this version")
    citation = root / "CITATION.cff"
    text = _replace_line(citation.read_text(), "version", version)
    citation.write_text(_replace_line(text, "date-released", datetime.date.today().isoformat()))
    update_versions({str(root): package}, version)
    update_changelog_sections({package.name: (root / "CHANGELOG.rst", changelog, label)}, version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _replace_line(text: str, key: str, value: str) -> str:
    """Replace the value of a key in the first column of a YAML text."""
    new, count = re.subn(rf"^{key}: .*$", f"{key}: {value}", text, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"CITATION.cff needs one line {key!r}, has {count}")
    return new


def main() -> None:
    """Set the version that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("version", help="the new version, as 0.3.0")
    options = parser.parse_args()
    try:
        set_version(ROOT, options.version)
    except ValueError as error:
        sys.exit(f"set_version: {error}")


if __name__ == "__main__":
    main()
