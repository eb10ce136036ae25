"""An image file: decoded to `u8` pixels, or refused by name."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from harness.errors import DataError

Pixels = npt.NDArray[np.uint8]
"""An image: [height, width, 3], RGB, 0..255."""

SUFFIXES = frozenset(
    {".apng", ".avif", ".avifs", ".bmp", ".gif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg"}
    | {".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Of the kinds that both Pillow and OpenCV decode to 8 bits a channel, in lower case."""

_START_OF_IMAGE = b"\xff\xd8"
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_SCAN = 0xDA


class ImageError(DataError):
    """An image that cannot become a sample; `fault` is the reason in a few words, such as 'is truncated'."""

    def __init__(self, name: str, fault: str) -> None:
        super().__init__(f"The image {name} {fault}: replace it by a good copy.")
        self.fault = fault


def decode(data: bytes, name: str, exif_rotation: bool = True) -> Pixels:
    """Decode an image file's bytes to [height, width, 3] u8 RGB, pixel for pixel as `cv2.imread` does.

    Grey and CMYK images become RGB, alpha is dropped. The EXIF orientation is applied if `exif_rotation`.
    `name` is for messages.

    Raises:
        ImageError: the data is empty, truncated, too large for Pillow, or no image.
    """
    import cv2

    if not data:
        raise ImageError(name, "is empty")
    if not _is_whole_jpeg(data):
        _verify(data, name)
    flags = cv2.IMREAD_COLOR_RGB | (0 if exif_rotation else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        image: Pixels | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(name, f"cannot be decoded ({error.err})") from error
    if image is None:
        raise ImageError(name, "cannot be decoded")
    return image


def tool_versions() -> dict[str, str]:
    """Return the versions of the libraries that decide which pixels come out."""
    import cv2
    import PIL

    return {"opencv": cv2.__version__, "pillow": PIL.__version__}


@contextmanager
def one_thread_per_call() -> Iterator[None]:
    """Keep OpenCV from starting threads of its own while the caller's threads share out the images."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _is_whole_jpeg(data: bytes) -> bool:
    """Tell whether a JPEG holds an end-of-image marker after its first scan began.

    Compressed pixels never contain that marker; the headers may, inside a thumbnail.
    """
    if not data.startswith(_START_OF_IMAGE):
        return False
    at = len(_START_OF_IMAGE)
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == _START_OF_SCAN:
            return data.rfind(_END_OF_IMAGE, at) != -1
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def _verify(data: bytes, name: str) -> None:
    """Raise ImageError unless Pillow reads the image to its end; OpenCV may leave what is missing grey."""
    from PIL import Image, UnidentifiedImageError

    # Pillow warns from half its bound on, which is no fault; who loads images in threads cannot use
    # `warnings.catch_warnings`.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except UnidentifiedImageError as error:
        raise ImageError(name, "is not an image") from error
    except Image.DecompressionBombError as error:
        bound = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ImageError(name, f"has more than the {bound:,} pixels that Pillow opens") from error
    except Exception as error:  # Pillow's codecs raise many kinds for damaged data
        fault = "is truncated" if "truncated" in str(error) else f"is damaged ({error})"
        raise ImageError(name, fault) from error
