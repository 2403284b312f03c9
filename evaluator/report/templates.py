"""Templates of pages that strangers' words go into."""

from collections.abc import Callable
from pathlib import Path

import jinja2


def templates_in(folder: Path, finalize: Callable[[object], object]) -> jinja2.Environment:
    """The templates in `folder`; what is put in passes `finalize`, is escaped and must be there."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
