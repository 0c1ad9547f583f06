"""`Adapter`: one released family of checkpoints, its official names against ours, both ways."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from zellige.core.errors import DataError
from zellige.core.registry import system_class
from zellige.core.tensors import check_state

if TYPE_CHECKING:
    from zellige.core.contract import Model

State = Mapping[str, Tensor]


class Adapter(ABC):
    """What is known of a family of official state dicts.

    Names are mapped by module: `modules` lists official modules and ours, and a tensor keeps the
    last part of its name (``weight``, ``bias``).

    Attributes:
        system: the slug of our system.
        ignored: beginnings of official keys that hold no part of the model: losses, counters.
    """

    system: ClassVar[str]
    ignored: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def matches(self, state: State) -> bool:
        """Whether a state dict is of this family, by its keys alone."""

    @abstractmethod
    def config(self, state: State) -> dict[str, Any]:
        """Our configuration, read off the shapes; `KeyError` if a tensor that tells is missing."""

    @abstractmethod
    def modules(self, config: Any) -> Iterable[tuple[str, str]]:
        """Pairs of an official module and ours, for a config instance of the system."""

    def official_shapes(self, model: Model) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the official state dict that would fill `model`."""
        return {key: tuple(value.shape) for key, value in self._official_tensors(model).items()}

    def convert(self, state: State, config: Any) -> dict[str, Tensor]:
        """The part of an official state dict that we have, by our names and in float32."""
        names = dict(self.modules(config))
        converted = {}
        for key, value in state.items():
            module, _, leaf = key.rpartition(".")
            if module in names and not key.startswith(self.ignored):
                converted[f"{names[module]}.{leaf}"] = value.float()
        return converted

    def build(self, state: State, source: str = "this state dict", **settings: Any) -> Model:
        """A model with the configuration and the weights of an official state dict, in float32.

        Args:
            state: the official tensors.
            source: what to call them in errors.
            settings: parts of the configuration that shapes cannot tell, or that they must agree with.

        Raises:
            DataError: naming up to three keys that are missing, unexpected or of another shape.
        """
        model_class = system_class(self.system)
        try:
            settings = {**self.config(state), **settings}
            with torch.device("meta"):  # compares shapes before any memory is taken
                expected = model_class.from_config(settings)
        except KeyError as error:
            raise DataError(f"{source} is no complete {self.system} checkpoint: {error.args[0]} is missing") from None
        except (IndexError, ValueError, ZeroDivisionError) as error:
            raise DataError(f"{source} has shapes that no {self.system} can have: {error}") from None
        official = self._official_tensors(expected)
        check_state(official, {k: v for k, v in state.items() if not k.startswith(self.ignored)}, source)
        model = model_class.from_config(settings)
        # Not strict: counters of our quantizers have no official counterpart and keep their start.
        model.load_state_dict(self.convert(state, model.config), strict=False)
        return model.eval()

    def _official_tensors(self, model: Model) -> dict[str, Tensor]:
        """The tensors of `model` by their official names, without those that only we have."""
        names = {ours: official for official, ours in self.modules(model.config)}
        tensors = {}
        for key, value in model.state_dict().items():
            module, _, leaf = key.rpartition(".")
            if module in names:
                tensors[f"{names[module]}.{leaf}"] = value
        return tensors


def count(state: State, template: str, start: int = 0) -> int:
    """How many keys ``template.format(start)``, ``template.format(start + 1)``, … follow one another."""
    return next(n for n in itertools.count() if template.format(start + n) not in state)
