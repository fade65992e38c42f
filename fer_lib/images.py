"""Pictures in and out: any common file to an upright RGB array, and back."""

from __future__ import annotations

import os
import tempfile
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fer_lib.errors import InputError
from fer_lib.files import replacing
from fer_lib.quiet import quiet_stderr

SUFFIXES = frozenset(".jpg .jpeg .jpe .jfif .png .webp .bmp .tif .tiff .gif .ppm .pgm .pbm .avif .jp2".split())
Image.MAX_IMAGE_PIXELS = (
    200_000_000  # Pillow refuses above twice that: 1.2 GB as RGB, more likely an attack than a photo
)
JPEG_QUALITY = 95
# what annotated pictures are written as, and the longest side in pixels that each format can hold
WRITABLE = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383} | dict.fromkeys(
    (".png", ".bmp", ".tif", ".tiff"), 1 << 30
)


class UnreadableImage(InputError):
    """A file that is not a complete picture."""


def read_image(path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned upright by its EXIF tag; the first frame of an animation.

    Grey, palette, CMYK, 16-bit and transparent pictures (over white) are converted. UnreadableImage when the file is
    missing, no file, empty, cut off, no picture, or a PNG whose checksums are wrong. Damage inside a JPEG does not stop
    it: see jpeg_complaint.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise UnreadableImage(f"{path}: no such file")
        if not path.is_file():  # opening a pipe would wait for its writer
            raise UnreadableImage(f"{path}: is {'a folder' if path.is_dir() else 'not a file'}; give a picture file")
        if path.stat().st_size == 0:
            raise UnreadableImage(f"{path}: the file is empty (0 bytes); copy it again from its source")
        open(path, "rb").close()
    except OSError as error:
        raise UnreadableImage(
            f"{path}: {str(error.strerror or error).lower()}; give a file that you can read"
        ) from None
    try:
        with warnings.catch_warnings(action="ignore"):  # it warns of what is merely odd
            with Image.open(path) as image:
                image.verify()  # a PNG's checksums, which decoding does not compare; it must be opened again
                libtiff = image.format == "TIFF"  # which tells its troubles on stderr too
            with Image.open(path) as image, quiet_stderr() if libtiff else nullcontext():
                return _to_rgb(ImageOps.exif_transpose(image))
    except MemoryError:
        raise UnreadableImage(f"{path}: not enough memory to decode it; shrink it first") from None
    except Exception as error:  # Pillow's decoders raise a dozen types on damaged data
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        reason = "not a picture" if type(error).__name__ == "UnidentifiedImageError" else reason
        raise UnreadableImage(f"{path}: cannot be read as a picture ({reason}); open and save it again") from None


def jpeg_complaint(path) -> str:
    """What libjpeg says of a JPEG whose inside is damaged; "" when nothing, or for another format.

    Pillow keeps silent about it and fills in grey or shifted blocks. OpenCV's libjpeg prints it to stderr, where a file
    stands meanwhile: not for use in threads. Some cameras' sound pictures have "extraneous bytes" too.
    """
    import cv2

    with open(path, "rb") as file:
        if file.read(2) != b"\xff\xd8":
            return ""
    with tempfile.TemporaryFile() as said:
        kept = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)  # a tenth of Pillow's time
        except cv2.error:  # larger than OpenCV takes
            return ""
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        said.seek(0)
        lines = said.read().decode(errors="replace").splitlines()
    return next((line for line in lines if line.startswith(("Corrupt JPEG data", "Premature end"))), "")


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith(("I", "F")):  # more than 8 bits of grey
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        grey = np.clip(values * (255.0 / top), 0, 255).round().astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def writable_suffix(image: np.ndarray, suffix: str) -> str:
    """`suffix` in lower case when that format can be written and holds (H, W, 3) `image`, otherwise ".png"."""
    suffix = suffix.lower()
    return suffix if max(image.shape[:2]) <= WRITABLE.get(suffix, 0) else ".png"


def write_image(path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB in the format of the suffix; complete or not at all. InputError when it cannot be."""
    path = Path(path)
    suffix, (height, width) = path.suffix.lower(), image.shape[:2]
    if max(height, width) > WRITABLE.get(suffix, max(height, width)):  # libjpeg would also print to the terminal
        raise InputError(f"{path}: {suffix} holds no {width}x{height} pixels; write a .png")
    with replacing(path) as temporary:
        options = {"quality": JPEG_QUALITY} if suffix in (".jpg", ".jpeg") else {}
        try:
            Image.fromarray(image).save(temporary, **options)
        except (ValueError, OverflowError, OSError) as error:
            if getattr(error, "errno", None) is not None:  # the disk's fault, not the format's
                raise
            raise InputError(f"{path}: cannot be written as {suffix} ({error}); write a .png") from None


def find_images(folder) -> list[Path]:
    """The picture files directly in a folder, by name. InputError when there are none."""
    folder = Path(folder)
    found = sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in SUFFIXES and p.name[0] != ".")
    if not found:
        raise InputError(
            f"{folder}: no pictures in this folder; give a folder with {', '.join(sorted(SUFFIXES)[:6])} ..."
        )
    return found
