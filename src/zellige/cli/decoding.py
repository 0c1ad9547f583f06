"""Token files to images: whose tokens they are, and the loop of `zellige decode`.

Legend: B images, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from zellige.cli.console import progress
from zellige.cli.names import FileNames
from zellige.cli.runtime import Session
from zellige.codec import TokenBatch, TokenSet, file_kind, info_zel, read_zel
from zellige.core.errors import DataError, UsageError
from zellige.core.hub import bundled
from zellige.core.images import save_image
from zellige.core.pixels import to_uint8
from zellige.core.registry import cards
from zellige.data.batches import BATCH_PIXELS


@dataclass(frozen=True)
class TokenFile:
    """A `.zel` file or a token set.

    Attributes:
        tokenizer: name of the tokenizer that made it; ``fingerprint`` identifies its weights.
        token_set: the opened set; None for a `.zel` file.
    """

    path: Path
    tokenizer: str
    fingerprint: str
    token_set: TokenSet | None = None

    @classmethod
    def open(cls, path: Path) -> TokenFile:
        """Read the header. Raises `UsageError` for what is no token file, `DataError` for a damaged one."""
        try:
            kind = file_kind(path)
        except UsageError as error:
            if path.is_file() and path.suffix in (".zel", ".parquet"):
                raise DataError(f"{path} is damaged: it does not begin as a {path.suffix} file does") from error
            raise
        if kind == "zel":
            facts = info_zel(path)
            return cls(path, facts["tokenizer"], facts["fingerprint"])
        tokens = TokenSet(path)
        return cls(path, tokens.info.name, tokens.info.fingerprint, tokens)

    def known_tokenizer(self) -> str:
        """The name in the file, if it is one of the library's own: a file does not choose what is downloaded."""
        system = self.tokenizer.partition("/")[0]
        card = cards().get(system)
        preset = card.presets.get(self.tokenizer.partition("/")[2]) if card else None
        if system in bundled() or (preset is not None and preset.weights is not None):
            return self.tokenizer
        raise UsageError(
            f"{self.path} was made by '{self.tokenizer}' with weights {self.fingerprint}, which are not in the "
            "library; name their folder or hub id with --tokenizer"
        )

    def check_made_by(self, session: Session, name: str | None) -> None:
        """Raise `UsageError` unless the tokens were made by these weights; `name` is what the user called them."""
        if session.fingerprint != self.fingerprint:
            raise UsageError(
                f"{self.path} holds tokens of {self.tokenizer} with weights {self.fingerprint}; "
                f"{name or session.tokenizer.name} has weights {session.fingerprint}: "
                "name the tokenizer that made the file with --tokenizer"
            )

    def batches(self, session: Session, size: int) -> Iterator[TokenBatch]:
        """All tokens, in batches of one layout."""
        if self.token_set is not None:
            yield from self.token_set.batches(size)
            return
        image = read_zel(self.path, session.tables)
        yield TokenBatch([self.path.name], image.tokens, [(image.width, image.height)], [None], [None])

    def __len__(self) -> int:
        return 1 if self.token_set is None else len(self.token_set)


def decode_images(
    tokens: TokenFile, session: Session, folder: Path, suffix: str, batch_size: int
) -> Iterator[tuple[Path, int, int]]:
    """Write every image of a token file below `folder`; gives path, width and height of each."""
    names = FileNames(folder, suffix)
    with progress("decoding", len(tokens)) as bar:
        for batch in tokens.batches(session, batch_size):
            width, height = batch.sizes[0]
            together = max(1, BATCH_PIXELS // (width * height))
            for start in range(0, len(batch.keys), together):
                some = slice(start, start + together)
                pixels = session.decode(batch.tokens[some])
                for key, (width, height), picture in zip(batch.keys[some], batch.sizes[some], pixels, strict=True):
                    path = names.path(key)
                    if path.exists() and path.parent.samefile(tokens.path.parent):
                        raise UsageError(
                            f"{path} is there already, beside {tokens.path.name}, and may be the original; "
                            "choose another --output"
                        )
                    path.parent.mkdir(parents=True, exist_ok=True)
                    save_image(path, to_uint8(_crop(picture, width, height, session, tokens.path))[0])
                    yield path, width, height
                bar.advance(len(pixels))


def _crop(picture: Tensor, width: int, height: int, session: Session, file: Path) -> Tensor:
    """(1, 3, height, width) of a padded picture (3, H, W); `DataError` if padding does not explain its size."""
    stride = session.tokenizer.stride
    padded = (-(-height // stride) * stride, -(-width // stride) * stride)
    if tuple(picture.shape[-2:]) != padded:
        raise DataError(
            f"{file} is damaged: it claims an image of {width}×{height} pixels, and tokens "
            f"for {picture.shape[-1]}×{picture.shape[-2]}"
        )
    return picture[None, :, :height, :width]
