"""A contact sheet of what was chosen: one page, no script, beside the folder `images/`."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from evaluator.report.templates import templates_in
from evaluator.report.words import printable

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
    templates = templates_in(Path(__file__).parent, _clean)
    cards = [
        {
            "name": name,
            "link": quote(b"images/" + os.fsencode(name)),
            "guesses": list(zip(class_names, probabilities, strict=False)),
        }
        for name, probabilities in zip(names, expected, strict=True)
    ]
    return templates.get_template(TEMPLATE).render(title=title, told=any(expected), cards=cards)


def _clean(value: object) -> object:
    return printable(value) if isinstance(value, str) else value
