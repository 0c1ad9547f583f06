"""What recipes and configurations name is built from settings that people wrote: names and types are checked first."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from zellige.core.errors import UsageError

Built = TypeVar("Built")


def build_from(build: Callable[..., Built], what: str, settings: Mapping[str, Any], **given: Any) -> Built:
    """``build(**given, **settings)``, with the settings in the types that its annotations ask for.

    Args:
        build: a class or function with an annotation for each of its parameters.
        what: names the thing in errors: ``quantizer 'vq'``.
        settings: plain JSON or YAML values.
        given: arguments that are no settings.

    Raises:
        UsageError: naming a setting that is unknown, missing, of another type, or out of its range.
    """
    from pydantic import ConfigDict, Field, ValidationError, create_model

    parameters = inspect.signature(build, eval_str=True).parameters
    known = {key: p for key, p in parameters.items() if key not in given and p.kind is not p.VAR_KEYWORD}
    names = {key: f"setting_{key}" for key in known}  # pydantic keeps some names for itself
    fields: dict[str, Any] = {
        names[key]: (p.annotation, Field(... if p.default is p.empty else p.default, alias=key))
        for key, p in known.items()
    }
    open_ended = len(known) + sum(key in parameters for key in given) < len(parameters)  # it takes **others
    model = create_model("Settings", __config__=ConfigDict(extra="allow" if open_ended else "forbid"), **fields)
    try:
        checked = model.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        got = "" if first["type"] in ("missing", "extra_forbidden") else f" ({first['input']!r})"
        said = "there is no such setting" if first["type"] == "extra_forbidden" else first["msg"].lower()
        raise UsageError(f"{what}: '{where}': {said}{got}; its settings are {', '.join(known)}") from None
    typed = {key: getattr(checked, names[key]) for key in known if key in settings}
    try:
        return build(**given, **{**settings, **typed})
    except (TypeError, ValueError) as error:  # settings of which each is right, but not all together
        raise UsageError(f"{what} with {dict(settings)}: {error}") from error
