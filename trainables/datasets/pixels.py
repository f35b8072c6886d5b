"""One image file as pixels of a fixed size, whatever its format."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps


def read_pixels(path: Path, side: int, channels: int) -> UInt8[np.ndarray, "channels side side"]:
    """Read an image: its shorter side is resized to ``side`` (Lanczos), its centre cut out.

    It is turned as its EXIF orientation says, and what is transparent is white. 16 bits become the
    nearest 8, grey (one channel) is ITU-R 601's luma, and of several frames the first is read.

    Args:
        path: The file.
        side: Pixels of the result's side.
        channels: 1 for grey, 3 for colour.

    Raises:
        Exception: whatever Pillow's decoders raise for a file that is no whole image, or so large
            that it looks like a decompression bomb (under :func:`strict_pillow`).
    """
    with Image.open(path) as image:
        # A large JPEG is decoded at a fraction of its size, still four times what is needed.
        image.draft(None, (4 * side, 4 * side))
        turned = ImageOps.exif_transpose(_eight_bits(image))
    mode = "L" if channels == 1 else "RGB"
    square = ImageOps.fit(_opaque(turned).convert(mode), (side, side), Image.Resampling.LANCZOS)
    return np.asarray(square).reshape(side, side, channels).transpose(2, 0, 1)


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Refuse suspiciously large images, and keep Pillow's other warnings to itself.

    Warnings are the whole process's, so this goes around all threads that read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _eight_bits(image: Image.Image) -> Image.Image:
    if not image.mode.startswith("I"):
        if image.mode == "F":
            raise ValueError("floating-point pixels have no known range")
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("32-bit pixels have no known range")
    result = Image.fromarray(np.rint(values / 257).astype(np.uint8))  # 65535 = 255 * 257
    result.info = {key: image.info[key] for key in ("exif",) if key in image.info}
    return result


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA"))
