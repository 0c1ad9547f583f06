"""Every kind of image file becomes upright 8-bit sRGB, or a clear error."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from zellige.core.errors import DataError, UsageError, ZelligeError
from zellige.core.images import image_size, load_image, read_image, save_image, to_rgb

HEIGHT, WIDTH = 6, 10
RED, GREY = (200, 30, 60), 120


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def filled(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (WIDTH, HEIGHT), colour)  # type: ignore[arg-type]


def palette() -> Image.Image:
    image = filled("P", 1)
    image.putpalette([0, 0, 0, *RED])
    return image


# What is in the image, and the one colour it should become.
MODES = {
    "1": (filled("1", 1), (255, 255, 255)),
    "L": (filled("L", GREY), (GREY,) * 3),
    "LA": (filled("LA", (GREY, 255)), (GREY,) * 3),
    "LA, half transparent": (filled("LA", (0, 128)), (127,) * 3),
    "La": (filled("LA", (GREY, 255)).convert("La"), (GREY,) * 3),
    "P": (palette(), RED),
    "RGB": (filled("RGB", RED), RED),
    "RGBA": (filled("RGBA", (*RED, 255)), RED),
    "RGBA, transparent": (filled("RGBA", (*RED, 0)), (255, 255, 255)),
    "RGBa": (filled("RGBA", (*RED, 255)).convert("RGBa"), RED),
    "RGBX": (filled("RGBX", (*RED, 0)), RED),
    "CMYK": (filled("CMYK", (0, 255, 255, 0)), (255, 0, 0)),
    "YCbCr": (filled("YCbCr", (GREY, 128, 128)), (GREY,) * 3),
    "HSV": (filled("HSV", (0, 255, 255)), (255, 0, 0)),
    "I;16": (Image.fromarray(np.full((HEIGHT, WIDTH), 257 * GREY + 100, np.uint16)), (GREY,) * 3),
    "I;16, rounded up": (Image.fromarray(np.full((HEIGHT, WIDTH), 257 * GREY + 129, np.uint16)), (GREY + 1,) * 3),
    "I;16B": (Image.frombytes("I;16B", (WIDTH, HEIGHT), (257 * GREY).to_bytes(2, "big") * 60), (GREY,) * 3),
    "I, 16 bit": (filled("I", 257 * GREY), (GREY,) * 3),
    "I, negative": (filled("I", -5), (0, 0, 0)),
    "I, 32 bit": (filled("I", 2**31 - 1), (255, 255, 255)),
    "F, to 1": (filled("F", 0.4), (102,) * 3),
    "F, to 255": (filled("F", 120.2), (120,) * 3),
    "F, to 65,535": (filled("F", 65_535.0), (255,) * 3),
    "F, not a number": (filled("F", float("nan")), (0, 0, 0)),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_8_bit_rgb(name: str) -> None:
    image, colour = MODES[name]
    pixels = to_rgb(image)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.broadcast_to(np.uint8(colour), (HEIGHT, WIDTH, 3)))


@pytest.mark.parametrize(
    ("image", "image_format", "options", "colour"),
    [
        (palette(), "GIF", {}, RED),
        (palette(), "PNG", {"transparency": 1}, (255, 255, 255)),
        (filled("L", GREY), "PNG", {"transparency": GREY}, (255, 255, 255)),
        (filled("RGB", RED), "PNG", {"transparency": RED}, (255, 255, 255)),
        (MODES["I;16"][0], "PNG", {}, (GREY,) * 3),
        (MODES["I;16"][0], "TIFF", {}, (GREY,) * 3),
        (MODES["F, to 1"][0], "TIFF", {}, (102,) * 3),
        (filled("CMYK", (0, 255, 255, 0)), "TIFF", {}, (255, 0, 0)),
        (filled("RGBA", (0, 0, 0, 128)), "WEBP", {"lossless": True}, (127,) * 3),
        (filled("1", 0), "BMP", {}, (0, 0, 0)),
        (filled("RGB", RED), "PPM", {}, RED),
    ],
)
def test_files_of_odd_kinds(image: Image.Image, image_format: str, options: dict, colour: tuple) -> None:
    pixels = load_image(encoded(image, image_format, **options))
    np.testing.assert_array_equal(pixels, np.broadcast_to(np.uint8(colour), (HEIGHT, WIDTH, 3)))


def test_cmyk_jpeg_has_its_colours_the_right_way_round() -> None:
    pixels = load_image(encoded(filled("CMYK", (0, 255, 255, 0)), "JPEG", quality=100))
    assert np.abs(pixels.astype(int) - (255, 0, 0)).max() < 8


def test_lab_is_converted_by_its_definition() -> None:
    white, red = to_rgb(filled("LAB", (255, 128, 128))), to_rgb(filled("LAB", (138, 209, 198)))
    assert np.abs(white.astype(int) - 255).max() <= 1
    assert np.abs(red.astype(int) - (255, 0, 0)).max() <= 12


def test_icc_profile_is_converted_to_srgb(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile with red and blue exchanged would show; Lab is the one Pillow can make beside sRGB."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"tmp!", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tmp!", b"bXYZ", 1)
    swapped = swapped.replace(*(text.encode("utf-16-be") for text in ("sRGB built-in", "swap built-in")))
    data = encoded(filled("RGB", (255, 0, 0)), "PNG", icc_profile=swapped)
    assert load_image(data)[0, 0, 2] > 240 > load_image(data)[0, 0, 0]
    np.testing.assert_array_equal(load_image(encoded(filled("RGB", RED), "PNG", icc_profile=srgb))[0, 0], RED)


@pytest.mark.parametrize("profile", [b"nonsense", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()])
def test_profile_that_does_not_fit_is_passed_over(profile: bytes) -> None:
    data = encoded(filled("RGB", RED), "PNG", icc_profile=profile)
    np.testing.assert_array_equal(load_image(data)[0, 0], RED)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, image_format: str) -> None:
    upright = np.zeros((32, 64, 3), np.uint8)
    upright[:16, :32] = 255  # white at the top left
    undo = {1: (), 2: ("h",), 3: ("h", "v"), 4: ("v",), 5: ("t",), 6: ("r",), 7: ("t", "h", "v"), 8: ("l",)}
    stored = upright
    for step in undo[orientation]:
        stored = {
            "h": lambda x: x[:, ::-1],
            "v": lambda x: x[::-1],
            "t": lambda x: x.swapaxes(0, 1),
            "r": lambda x: np.rot90(x, 1),
            "l": lambda x: np.rot90(x, -1),
        }[step](stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), image_format, exif=exif)
    pixels = load_image(data)
    assert pixels.shape == (32, 64, 3)
    assert image_size(data) == (64, 32)
    assert np.abs(pixels.astype(int) - upright).mean() < 8


def test_damaged_exif_does_not_hurt_the_picture() -> None:
    data = encoded(filled("RGB", RED), "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert load_image(data).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animation_gives_its_first_frame_and_says_so(image_format: str) -> None:
    first, second = filled("RGB", (255, 0, 0)), filled("RGB", (0, 0, 255))
    loaded = read_image(encoded(first, image_format, save_all=True, append_images=[second]))
    assert loaded.several_frames
    assert loaded.pixels[0, 0, 0] > 240 > 20 > loaded.pixels[0, 0, 2]
    assert not read_image(encoded(first, image_format)).several_frames


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_truncated_file_is_an_error(image_format: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encoded(noise, image_format)
    with pytest.raises(DataError, match=r"cut\.jpg is (a damaged or truncated|not an) image"):
        load_image(data[: int(len(data) * share)], name="cut.jpg")


@pytest.mark.parametrize(
    "image_format", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "AVIF", "BMP", "PPM", "TGA", "JPEG2000"]
)
def test_every_single_byte_flipped_gives_an_image_or_a_clear_error(image_format: str) -> None:
    data = encoded(Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)), image_format)
    refused = []
    for place in range(min(len(data), 400)):
        damaged = bytes(data[:place]) + bytes([data[place] ^ 0xFF]) + bytes(data[place + 1 :])
        try:
            assert load_image(damaged).shape[-1] == 3
        except DataError as error:
            refused.append(str(error))
    assert refused
    assert not any("\n" in message for message in refused)


def test_pillow_is_not_told_to_accept_truncated_files() -> None:
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"only text\n" * 30, "no known image format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", "no known image format"),  # no Ghostscript
    ],
)
def test_file_that_is_no_image(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    for read in (load_image, image_size):
        with pytest.raises(DataError) as caught:
            read(path)
        assert str(caught.value) == f"{path} is not an image ({reason})"


def test_path_that_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.jpg does not exist"):
        load_image(tmp_path / "nothing.jpg")
    with pytest.raises(UsageError, match="is a folder"):
        load_image(tmp_path)


def test_decompression_bomb_is_refused_with_its_size_and_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("1", (20_000, 18_000)), "PNG")
    with pytest.raises(DataError, match=r"360000000 pixels.*shrink it below 178 megapixels"):
        load_image(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # lifted by someone else
    with pytest.raises(DataError, match=r"20000×18000 pixels"):
        load_image(data)


@pytest.mark.parametrize("size", [(1, 1), (20_000, 20), (20, 20_000)])
def test_extreme_shapes(size: tuple[int, int]) -> None:
    data = encoded(Image.new("RGB", size), "PNG")
    assert image_size(data) == size
    assert load_image(data).shape == (size[1], size[0], 3)


def test_sources_may_be_paths_bytes_and_open_files(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    data = encoded(filled("RGB", RED), "PNG")
    path.write_bytes(data)
    with path.open("rb") as file:
        for source in (path, str(path), data, file):
            assert load_image(source).shape == (HEIGHT, WIDTH, 3)
        assert not file.closed


def test_short_side_lets_a_jpeg_be_decoded_smaller_but_never_below() -> None:
    data = encoded(Image.new("RGB", (400, 300)), "JPEG")
    assert read_image(data, short_side=150).pixels.shape == (150, 200, 3)
    assert read_image(data, short_side=151).pixels.shape == (300, 400, 3)
    assert read_image(data, short_side=1).pixels.shape == (38, 50, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".bmp", ".avif"])
def test_saved_images_come_back(tmp_path: Path, suffix: str) -> None:
    pixels = np.broadcast_to(np.linspace(40, 200, 32, dtype=np.uint8)[:, None, None], (32, 48, 3))
    save_image(tmp_path / f"a{suffix}", pixels)
    assert np.abs(load_image(tmp_path / f"a{suffix}").astype(int) - pixels).max() < 12
    assert os.listdir(tmp_path) == [f"a{suffix}"]


def test_saving_where_it_cannot_be_done(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(UsageError, match="cannot tell an image format"):
        save_image(tmp_path / "a.txt", pixels)
    with pytest.raises(ZelligeError, match=r"the folder .*missing does not exist") as caught:
        save_image(tmp_path / "missing" / "a.png", pixels)
    assert caught.value.exit_code == 1
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ZelligeError, match="cannot write"):
        save_image(tmp_path / "a.png", pixels)
    assert os.listdir(tmp_path) == ["a.png"]


def test_full_disk_leaves_the_old_file_and_no_half_of_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    before = (tmp_path / "a.png").read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ZelligeError, match=r"a\.png: no space left on device; free some") as caught:
        save_image(tmp_path / "a.png", np.ones((4, 4, 3), np.uint8))
    assert caught.value.exit_code == 1
    assert os.listdir(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before
