"""HTML and SVG from Python calls; text is escaped unless it was made here."""

from __future__ import annotations

import html

_VOID = frozenset(("br", "img", "input", "link", "meta"))


class Markup(str):
    """Text that is markup already."""


def h(name: str, /, *children: object, **attributes: object) -> Markup:
    """The element `name`: ``h("p", "a < b", class_="note")`` is ``<p class="note">a &lt; b</p>``.

    Children may be nested in lists; None is left out. Attributes lose a trailing underscore, other
    underscores become hyphens; True gives a bare attribute, None and False leave it out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None and value is not False:
            word = key.rstrip("_").replace("_", "-")
            words.append(word if value is True else f'{word}="{html.escape(str(value))}"')
    opening = f"<{' '.join(words)}>"
    return Markup(opening if name in _VOID else f"{opening}{text(children)}</{name}>")


def text(children: object) -> Markup:
    """Children of an element as markup."""
    if isinstance(children, (list, tuple)):
        return Markup("".join(text(child) for child in children))
    if children is None:
        return Markup("")
    return children if isinstance(children, Markup) else Markup(html.escape(str(children)))
