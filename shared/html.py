"""Pages made from Jinja templates: what a file or a class is called is shown as text."""

from collections.abc import Callable, Mapping
from pathlib import Path

import jinja2


def load_template(
    file: Path,
    finalize: Callable[[object], object],
    filters: Mapping[str, Callable[..., object]] | None = None,
) -> jinja2.Template:
    """The template in `file`: values are escaped, and one that is not given is an error.

    finalize : makes of each value what is shown.
    """
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(file.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(filters or {})
    return templates.get_template(file.name)
