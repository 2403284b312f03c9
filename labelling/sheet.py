"""A contact sheet of what was chosen: one page, no script, beside the folder `images/`."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from shared.formatting import printable
from shared.html import load_template

TEMPLATE = Path(__file__).with_name("sheet.html.jinja")


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
    cards = [
        {
            "name": name,
            "link": quote(b"images/" + os.fsencode(name)),
            "guesses": list(zip(class_names, probabilities, strict=False)),
        }
        for name, probabilities in zip(names, expected, strict=True)
    ]
    template = load_template(TEMPLATE, _shown)
    return template.render(title=title, has_probabilities=any(expected), cards=cards)


def _shown(value: object) -> object:
    return printable(value) if isinstance(value, str) else value
