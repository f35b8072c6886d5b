"""Read one image file of any format as pixels of a fixed size."""

import ctypes
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, _imaging

#: Formats of which Pillow decodes no pixels itself: for EPS it runs Ghostscript, a program.
_NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})


@cache
def formats() -> tuple[str, ...]:
    """Return the names of all formats that are read, as Pillow calls them."""
    Image.init()  # else it knows five formats until it meets another
    return tuple(name for name in Image.OPEN if name not in _NOT_DECODED)


@cache
def suffixes() -> frozenset[str]:
    """Return the suffixes of all formats that are read, in lower case, such as ``.png``."""
    known = set(formats())
    return frozenset(
        suffix for suffix, name in Image.registered_extensions().items() if name in known
    )


def read_pixels(path: Path, side: int, channels: int) -> UInt8[np.ndarray, "channels side side"]:
    """Read an image, resize its shorter side to ``side`` (Lanczos) and cut out its centre.

    The image is rotated by its EXIF orientation, and transparent pixels become white. 16-bit pixels
    are rounded to 8 bits, grey is the luma of ITU-R 601, and of several frames the first is read.

    Args:
        path: The file.
        side: Height and width of the result in pixels.
        channels: 1 for grey, 3 for colour.

    Raises:
        Exception: of any type that Pillow's decoders raise for a damaged image, or, under
            :func:`strict_pillow`, for one so large that it may be a decompression bomb.
    """
    with Image.open(path, formats=formats()) as image:
        # Decode a large JPEG at a fraction of its size, but at least four times the result's.
        image.draft(None, (4 * side, 4 * side))
        turned = ImageOps.exif_transpose(_eight_bits(image))
    mode = "L" if channels == 1 else "RGB"
    square = ImageOps.fit(_opaque(turned).convert(mode), (side, side), Image.Resampling.LANCZOS)
    return np.asarray(square).reshape(side, side, channels).transpose(2, 0, 1)


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Refuse suspiciously large images, and hide all other warnings of Pillow and of libtiff.

    Filters of warnings are global: enter this once, around all threads that read.
    """
    with warnings.catch_warnings(), _quiet_libtiff():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextmanager
def _quiet_libtiff() -> Iterator[None]:
    """Let libtiff print nothing about damaged files: hundreds of lines that name no file.

    Pillow raises for each anyway. A Pillow that was built without libtiff has no such functions.
    """
    library = ctypes.CDLL(_imaging.__file__)
    names = ("TIFFSetErrorHandler", "TIFFSetWarningHandler")
    setters = [getattr(library, name) for name in names if hasattr(library, name)]
    for setter in setters:
        setter.restype, setter.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    handlers = [setter(None) for setter in setters]
    try:
        yield
    finally:
        for setter, handler in zip(setters, handlers, strict=True):
            setter(handler)


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
