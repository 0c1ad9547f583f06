"""Image files in, uint8 RGB arrays out, and back.

Whatever the file holds, the result is sRGB with 8 bits a channel, upright (EXIF orientation is
applied), (H, W, 3):

===================  =====================================================================
in the file          becomes
===================  =====================================================================
alpha, transparency  composited on white
palette, 1 bit, grey RGB
16-bit grey          divided by 257 and rounded (65,535 is white)
16-bit RGB           the high byte of each sample, which is all that Pillow gives
32-bit integers      as 16-bit if they fit in it, else the full int32 range is scaled
float                white is 1, 255 or 65,535: the smallest that no pixel exceeds
CMYK, YCCK, Lab      converted by the embedded ICC profile, or by the standard formula
other RGB or grey    an embedded ICC profile other than sRGB is converted to sRGB
several frames       the first one (GIF, APNG, WebP, multi-page TIFF)
===================  =====================================================================

A truncated or damaged file is a `DataError`; half a picture is never returned.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from zellige.core.errors import DataError, UsageError, ZelligeError, reason
from zellige.core.files import reading, replacing

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k"),
    "TGA": (".tga",),
}
"""Pillow's decoders that may run, with their suffixes: none that starts another program, as EPS does."""

IMAGE_SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)

MAX_PIXELS = 178_956_970
"""Pixels above which a file is taken for a decompression bomb: 0.5 GiB as RGB, twice Pillow's warning."""

# Pillow warns from half of MAX_PIXELS on; such images are large, not wrong, so nothing is said about them.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

ImageFile = str | Path | bytes | BinaryIO


@dataclass(frozen=True)
class LoadedImage:
    """One decoded picture.

    Attributes:
        pixels: uint8 (H, W, 3), sRGB.
        several_frames: the file holds more than this frame, which is its first.
    """

    pixels: np.ndarray
    several_frames: bool


def load_image(source: ImageFile, *, name: str | None = None) -> np.ndarray:
    """The picture in a file, as uint8 (H, W, 3); see the module for how each kind is converted.

    Args:
        source: a path, the bytes of a file, or a file opened for reading.
        name: what errors call it, where it is not a path.

    Raises:
        UsageError: the path leads to no file.
        DataError: it cannot be read, is not an image, is damaged or larger than `MAX_PIXELS`.
    """
    return read_image(source, name=name).pixels


def read_image(source: ImageFile, *, name: str | None = None, short_side: int | None = None) -> LoadedImage:
    """As `load_image`, and tells whether the file holds more frames.

    Args:
        source: a path, the bytes of a file, or a file opened for reading.
        name: what errors call it, where it is not a path.
        short_side: enough pixels on the short side. A larger JPEG may be decoded at 1/2, 1/4 or 1/8 of its
            size, never below `short_side`; it saves time where the image is shrunk afterwards.
    """
    name = _name_of(source, name)
    try:
        with _open(source, name) as image:
            if short_side is not None:
                shrink = max(1, min(image.size) // short_side)
                image.draft(None, (image.width // shrink, image.height // shrink))
            image.load()
            pixels = to_rgb(image)
            return LoadedImage(pixels, bool(getattr(image, "is_animated", False)))
    except ZelligeError:
        raise
    except Exception as error:  # a damaged file can raise anything inside a decoder
        raise DataError(f"{name} is a damaged or truncated image ({reason(error)})") from error


def image_size(source: ImageFile, *, name: str | None = None) -> tuple[int, int]:
    """Width and height of the upright picture, from the header alone: nothing is decoded."""
    name = _name_of(source, name)
    with _open(source, name) as image:
        # Asking a PNG for its EXIF would decode it when the header has none; TIFF sizes are upright already.
        turned = "exif" in image.info and _orientation(image) >= 5
        return (image.height, image.width) if turned else image.size


def to_rgb(image: Image.Image) -> np.ndarray:
    """A PIL image in any mode as upright sRGB, uint8 (H, W, 3)."""
    image.load()
    orientation = _orientation(image)  # after loading: TIFF and late PNG chunks are settled then
    icc = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    alpha = None
    if image.has_transparency_data:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("RGB")
    image = _to_srgb(image, icc)
    if alpha is not None:
        image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    return np.array(image)


def save_image(path: str | Path, pixels: np.ndarray) -> None:
    """Write uint8 (H, W, 3) in the format that the suffix names; JPEG, WebP and AVIF at quality 95.

    The file appears whole or not at all.

    Raises:
        UsageError: the suffix names no format.
        ZelligeError: the folder does not exist or takes no files, or the format takes no image of this size.
    """
    path = Path(path)
    image_format = next((name for name, suffixes in FORMATS.items() if path.suffix.lower() in suffixes), None)
    if image_format is None:
        raise UsageError(f"cannot tell an image format from '{path.name}'; use one of {', '.join(IMAGE_SUFFIXES)}")
    buffer = io.BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, image_format, quality=95)
    except OSError as error:
        raise ZelligeError(f"cannot encode {path.name} as {image_format} ({reason(error)})") from error
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def tile(images: np.ndarray, columns: int) -> np.ndarray:
    """Images uint8 (B, H, W, 3) side by side in rows of `columns`, the last row filled up with white."""
    count, height, width = images.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    blank = np.full((rows * columns - count, height, width, 3), 255, np.uint8)
    grid = np.concatenate([images, blank]).reshape(rows, columns, height, width, 3)
    return np.ascontiguousarray(grid.swapaxes(1, 2)).reshape(rows * height, columns * width, 3)


def _name_of(source: ImageFile, name: str | None) -> str:
    if name is not None:
        return name
    if isinstance(source, (str, Path)):
        return str(source)
    return str(getattr(source, "name", "the image"))


def _open(source: ImageFile, name: str) -> Image.Image:
    """The image with its header read."""
    if isinstance(source, (str, Path)):
        with reading(Path(source), name):
            file: BinaryIO = open(source, "rb")  # noqa: SIM115  # the image closes it
    else:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        # Image.open closes only what it opened itself; `exclusive` hands our file over to it.
        image = Image.open(file, formats=_decoders())
        image._exclusive_fp = file is not source
    except Exception as error:
        if file is not source:
            empty = file.seek(0, io.SEEK_END) == 0
            file.close()
        else:
            empty = False
        if isinstance(error, Image.DecompressionBombError):
            raise _too_large(name, str(error).partition(" exceeds")[0].lower()) from error
        if isinstance(error, UnidentifiedImageError):
            why = "the file is empty" if empty else "no known image format"
            raise DataError(f"{name} is not an image ({why})") from error
        raise DataError(f"{name} is a damaged or truncated image ({reason(error)})") from error
    if image.width * image.height > MAX_PIXELS:  # where someone lifted Pillow's own limit
        image.close()
        raise _too_large(name, f"{image.width}×{image.height} pixels")
    return image


@lru_cache(maxsize=1)
def _decoders() -> tuple[str, ...]:
    """Those of `FORMATS` that this build of Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _too_large(name: str, size: str) -> DataError:
    limit = MAX_PIXELS // 10**6
    return DataError(f"{name} is too large to decode safely ({size}); shrink it below {limit} megapixels first")


_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) when there is none or it cannot be read."""
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # damaged metadata beside a sound picture
        return 1
    return value if isinstance(value, int) else 1


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Integer samples of more than 8 bits, or floats, (H, W) as uint8."""
    if np.issubdtype(values.dtype, np.integer):
        white = 65_535 if values.max(initial=0) <= 65_535 else 2**31 - 1
    else:
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        peak = values.max(initial=0.0)
        white = next((white for white in (1, 255) if peak <= white), 65_535)
    return np.rint(values.astype(np.float64).clip(0, white) * (255 / white)).astype(np.uint8)


def _to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Colour without alpha to sRGB, by the embedded profile where it is one for this kind of image."""
    if image.mode in ("P", "1"):
        image = image.convert("RGB" if image.mode == "P" else "L")
    if image.mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        image, icc = ImageCms.profileToProfile(image, lab, _SRGB, outputMode="RGB") or image, None
    if icc and image.mode in ("RGB", "L", "CMYK"):
        try:
            transform = _profile_to_srgb(icc, image.mode)
            if transform is not None:
                return ImageCms.applyTransform(image, transform) or image
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a damaged profile, or one for another kind of image: the colours are taken as they are
    return image.convert("RGB")


_SRGB = ImageCms.createProfile("sRGB")


@lru_cache(maxsize=16)
def _profile_to_srgb(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform to sRGB, None when the profile is sRGB already."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    if mode == "RGB" and ImageCms.getProfileDescription(profile).startswith("sRGB"):
        return None
    return ImageCms.buildTransform(profile, _SRGB, mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
