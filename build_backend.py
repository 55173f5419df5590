"""Build backend that refuses: the project is an application that runs in its own folder, not a package.

pip, uv and build call these hooks (PEP 517, PEP 660). Without them, `pip install .` makes setuptools copy
conf/, src/ and experiments/ into site-packages, under these names.
"""

import sys


def refuse(*_: object) -> None:
    sys.exit("expected `make setup` in a clone, got a request for a package: the project is an application")


get_requires_for_build_wheel = get_requires_for_build_sdist = get_requires_for_build_editable = refuse
build_wheel = build_sdist = build_editable = refuse
