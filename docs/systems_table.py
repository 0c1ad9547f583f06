"""Tables of systems, written from their cards: for the site, and for the README.

`python docs/systems_table.py` brings the README's tables up to date; a test holds them in step.
As a Sphinx extension it gives the directives `systems-table` and `system-card`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from zellige.core.card import Card, Preset
from zellige.core.registry import cards

README = Path(__file__).resolve().parents[1] / "README.md"


def available_table(all_cards: Iterable[Card]) -> str:
    """One row a system that stands; its presets are on its page."""
    rows = [
        (f"`{c.name}`", c.tokens, _presets(c), _sizes(c), _sources(c), ", ".join(c.missing) or "–", _paper(c))
        for c in all_cards
        if c.status == "available"
    ]
    head = ("system", "tokens", "presets", "parameters", "weights", "not yet", "origin")
    return _table(head, rows, right=(3,))


def planned_table(all_cards: Iterable[Card]) -> str:
    """One row a system that is still to come."""
    rows = [
        (f"`{card.name}`", card.title, card.kind, card.tokens, _paper(card))
        for card in all_cards
        if card.status == "planned"
    ]
    return _table(("name", "system", "kind", "tokens", "origin"), rows)


def card_text(card: Card) -> str:
    """What a card knows, as a list and a table of presets."""
    facts = [f"Paper: *{card.paper}*" + (f", {card.year}, {_paper(card)}." if card.arxiv else f", {card.year}.")]
    parts = ", ".join(f"`{part}`" for part in card.parts)
    facts += [
        f"Tokens: {card.tokens}.",
        *([f"Parts: {parts}."] if parts else []),
        f"Licence of the origin: {card.licence}.",
    ]
    facts += [f"Differs: {point}." for point in card.differs]
    facts += [f"Not yet: {', '.join(card.missing)}."] if card.missing else []
    if card.entry:
        module, _, name = card.entry.partition(":")
        facts.append(f"Class: `{module}.{name}`.")
    rows = [(f"`{p.name}`", p.tokens, _count(p.parameters), _weights(p)) for p in card.presets.values()]
    return "\n".join(f"- {fact}" for fact in facts) + "\n\n" + _table(_PRESET_HEAD, rows, right=(2,))


_PRESET_HEAD = ("preset", "tokens", "parameters", "weights")


def splice(text: str, name: str, block: str) -> str:
    """`text` with what stands between the markers of `name` replaced by `block`."""
    pattern = rf"(<!-- {name}: made by docs/systems_table.py -->\n).*?(<!-- end of {name} -->)"
    found, count = re.subn(pattern, lambda match: f"{match[1]}{block}\n{match[2]}", text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"the text has {count} places marked '{name}', not 1")
    return found


def renew(readme: str) -> str:
    """The README with its two tables as the cards have them now."""
    known = list(cards().values())
    planned = sum(card.status == "planned" for card in known)
    readme = splice(readme, "available", available_table(known))
    summary = f"<summary>{planned} systems are planned</summary>"
    return splice(readme, "planned", f"<details>\n{summary}\n\n{planned_table(known)}\n\n</details>")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> str:
    rule = ["---:" if column in right else "---" for column in range(len(head))]
    lines = [head, rule, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _count(parameters: int) -> str:
    return f"{parameters / 1e6:.1f} M"


def _presets(card: Card) -> str:
    names = [f"`{name}`" for name in card.presets]
    return ", ".join(names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"])


def _sizes(card: Card) -> str:
    counts = sorted(preset.parameters for preset in card.presets.values())
    return _count(counts[0]) if len(counts) == 1 else f"{_count(counts[0])} – {_count(counts[-1])}"


def _sources(card: Card) -> str:
    """Who has weights of any of its presets, and on what terms."""
    weights = [preset.weights for preset in card.presets.values() if preset.weights]
    terms = [f"{_owner(w.source)}: {w.licence}" for w in weights]
    return "; ".join(dict.fromkeys(terms)) or "train your own"


def _owner(source: str) -> str:
    return "in the package" if source == "bundled" else f"{source.partition('/')[0]}/…"


def _weights(preset: Preset) -> str:
    if preset.weights is None:
        return "train your own"
    where = "in the package" if preset.weights.source == "bundled" else preset.weights.source
    return f"{where}: {preset.weights.licence}"


def _paper(card: Card) -> str:
    return f"[{card.arxiv}](https://arxiv.org/abs/{card.arxiv})" if card.arxiv else "this project"


def setup(app: Any) -> dict[str, Any]:
    """Register the directives with Sphinx."""
    from docutils import nodes
    from docutils.parsers.rst import Directive
    from docutils.statemachine import StringList

    class Markdown(Directive):
        def text(self) -> str:
            raise NotImplementedError

        def run(self) -> list[nodes.Node]:
            parent = nodes.container()
            self.state.nested_parse(StringList(self.text().splitlines()), self.content_offset, parent)
            return parent.children

    class SystemsTable(Markdown):
        required_arguments = 1

        def text(self) -> str:
            table = {"available": available_table, "planned": planned_table}[self.arguments[0]]
            return table(cards().values())

    class SystemCard(Markdown):
        required_arguments = 1

        def text(self) -> str:
            return card_text(cards()[self.arguments[0]])

    app.add_directive("systems-table", SystemsTable)
    app.add_directive("system-card", SystemCard)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    README.write_text(renew(README.read_text("utf-8")), "utf-8")
