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
from zellige.core.tensors import check_state, differences

if TYPE_CHECKING:
    from zellige.core.contract import Model

State = Mapping[str, Tensor]


class Adapter(ABC):
    """What is known of a family of official state dicts.

    Names are mapped by module: `modules` lists official modules and ours, and a tensor keeps the
    last part of its name (``weight``, ``bias``). `tensors` lists those whose whole name differs.

    Attributes:
        system: the slug of our system.
        ignored: beginnings of official keys that hold no part of the model: losses, counters.
        untold: fields of the configuration that no tensor tells, such as the number of heads; the preset that
            fits the rest does.
    """

    system: ClassVar[str]
    ignored: ClassVar[tuple[str, ...]] = ()
    untold: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def matches(self, state: State) -> bool:
        """Whether a state dict is of this family, by its keys alone."""

    @abstractmethod
    def config(self, state: State) -> dict[str, Any]:
        """Our configuration, read off the shapes; `KeyError` if a tensor that tells is missing."""

    @abstractmethod
    def modules(self, config: Any) -> Iterable[tuple[str, str]]:
        """Pairs of an official module and ours, for a config instance of the system."""

    def tensors(self, config: Any) -> Iterable[tuple[str, str]]:
        """Pairs of an official tensor and ours, for those that `modules` does not cover."""
        return ()

    def joined(self, config: Any) -> Iterable[tuple[str, Mapping[str, int]]]:
        """Modules of ours whose rows are those of several official ones in turn, with the number of parts of each."""
        return ()

    def rearranged(self, name: str, value: Tensor) -> Tensor:
        """An official tensor in our order of its rows; `name` is ours."""
        return value

    def holds(self, key: str) -> bool:
        """Whether an official key holds a part of the model."""
        return not key.startswith(self.ignored)

    def official_shapes(self, model: Model) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the official state dict that would fill `model`."""
        return {key: tuple(value.shape) for key, value in self._official_tensors(model).items()}

    def differences(self, state: State, model: Model) -> str:
        """Up to three official tensors that are others than those which would fill `model`; empty if none is."""
        return differences(self._official_tensors(model), {k: v for k, v in state.items() if self.holds(k)})

    def convert(self, state: State, config: Any) -> dict[str, Tensor]:
        """The part of an official state dict that we have, by our names and in float32."""
        modules, tensors = dict(self.modules(config)), dict(self.tensors(config))
        converted = {}
        for key, value in state.items():
            module, _, leaf = key.rpartition(".")
            name = tensors.get(key) or (f"{modules[module]}.{leaf}" if module in modules else None)
            if name is not None and self.holds(key):
                converted[name] = self.rearranged(name, value.float())
        for ours, parts in self.joined(config):
            for leaf in {key.rpartition(".")[2] for key in state if key.rpartition(".")[0] in parts}:
                converted[f"{ours}.{leaf}"] = torch.cat([state[f"{part}.{leaf}"].float() for part in parts])
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
        check_state(official, {k: v for k, v in state.items() if self.holds(k)}, source)
        model = model_class.from_config(settings)
        # Not strict: counters of our quantizers have no official counterpart and keep their start.
        model.load_state_dict(self.convert(state, model.config), strict=False)
        return model.eval()

    def _official_tensors(self, model: Model) -> dict[str, Tensor]:
        """The tensors of `model` by their official names, without those that only we have."""
        modules, names = (
            {ours: official for official, ours in pairs(model.config)} for pairs in (self.modules, self.tensors)
        )
        joined = dict(self.joined(model.config))
        official: dict[str, Tensor] = {}
        for key, value in model.state_dict().items():
            module, _, leaf = key.rpartition(".")
            if module in joined:
                unit = len(value) // sum(joined[module].values())
                rows = value.split([unit * parts for parts in joined[module].values()])
                official |= {f"{part}.{leaf}": part_rows for part, part_rows in zip(joined[module], rows, strict=True)}
            elif key in names:
                official[names[key]] = value
            elif module in modules:
                official[f"{modules[module]}.{leaf}"] = value
        return official


def count(state: State, template: str, start: int = 0) -> int:
    """How many keys ``template.format(start)``, ``template.format(start + 1)``, … follow one another."""
    return next(n for n in itertools.count() if template.format(start + n) not in state)
