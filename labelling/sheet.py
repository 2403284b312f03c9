"""A contact sheet of what was chosen: one page, no script, beside the folder `images/`."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import jinja2

from shared.formatting import printable

TEMPLATE = "sheet.html.jinja"


def contact_sheet(
    title: str,
    names: Sequence[str],
    class_names: Sequence[str],
    expected: Sequence[Sequence[float]],
) -> str:
    """The page as text.

    names : the images' paths below `images/`, in the order of choice.
    expected : for each of them one probability per class, or none.
    """
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cards = [
        {
            "name": name,
            "link": quote(b"images/" + os.fsencode(name)),
            "guesses": list(zip(class_names, probabilities, strict=False)),
        }
        for name, probabilities in zip(names, expected, strict=True)
    ]
    return templates.get_template(TEMPLATE).render(
        title=title, has_probabilities=any(expected), cards=cards
    )


def _clean(value: object) -> object:
    return printable(value) if isinstance(value, str) else value
