"""The untimed preprocessing of an image, from file to `u8` pixels, as a model card states it."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import DataError

Pixels = npt.NDArray[np.uint8]
"""An image: [height, width, 3], RGB, 0..255."""

RESIZES = {
    "area": "OpenCV INTER_AREA, what MLPerf's reference does for the TF and ONNX ResNet-50",
    "linear": "OpenCV INTER_LINEAR",
    "pil_bilinear": "Pillow bilinear, what torchvision does",
    "pil_bicubic": "Pillow bicubic, what Hugging Face and timm do for most models",
    "none": "no resize: the images must have the model's size already",
}

# ImageNet's usual statistics, for pixels 0..255: what the trainer's networks take is (pixel - MEAN) / SCALE.
MEAN = (123.675, 116.28, 103.53)
SCALE = (58.395, 57.12, 57.375)

_START_OF_IMAGE = b"\xff\xd8"
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_SCAN = 0xDA


class ImageError(DataError):
    """An image that cannot become a sample; `fault` is the reason in a few words, such as 'is truncated'."""

    def __init__(self, name: str, fault: str) -> None:
        super().__init__(f"The image {name} {fault}: replace it by a good copy.")
        self.fault = fault


@dataclass(frozen=True)
class Recipe:
    """How an image becomes `size` x `size` RGB pixels.

    The short side is resized to int(size / crop_fraction), then the centre is cropped.
    """

    size: int
    resize: str
    crop_fraction: float

    @property
    def key(self) -> str:
        """The name of this recipe's file in a store, such as 'area-224-0.875'."""
        return f"{self.resize}-{self.size}-{self.crop_fraction:g}"

    @property
    def sample_bytes(self) -> int:
        return self.size * self.size * 3

    @property
    def short_side(self) -> int:
        """Pixels on the short side before the crop."""
        # The margin keeps fractions such as 224/232 from falling one pixel short.
        return int(self.size / self.crop_fraction + 1e-6)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def apply(self, image: Pixels, name: str = "given") -> Pixels:
        """Return `image` ([height, width, 3] u8 RGB) resized and cropped to [size, size, 3] u8 RGB.

        Raises:
            ImageError: the image has another size and the recipe does not resize; `name` is for its message.
        """
        if self.resize == "none":
            if image.shape != (self.size, self.size, 3):
                height, width = image.shape[:2]
                raise ImageError(name, f"is {width}x{height}, not {self.size}x{self.size}")
            return image
        if self.resize.startswith("pil_"):
            return self._apply_pillow(image)
        return self._apply_opencv(image)

    def _apply_opencv(self, image: Pixels) -> Pixels:
        import cv2

        interpolation = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}[self.resize]
        width, height = self._scaled(image)
        resized: Pixels = cv2.resize(image, (width, height), interpolation=interpolation)
        top, left = (height - self.size) // 2, (width - self.size) // 2
        return resized[top : top + self.size, left : left + self.size]

    def _apply_pillow(self, image: Pixels) -> Pixels:
        from PIL import Image

        filters = {"pil_bilinear": Image.Resampling.BILINEAR, "pil_bicubic": Image.Resampling.BICUBIC}
        width, height = self._scaled(image)
        resized = np.asarray(Image.fromarray(image).resize((width, height), filters[self.resize]))
        # torchvision rounds half offsets to even, where MLPerf's OpenCV code truncates them.
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return resized[top : top + self.size, left : left + self.size]

    def _scaled(self, image: Pixels) -> tuple[int, int]:
        height, width = image.shape[:2]
        short = self.short_side
        if height > width:
            return short, int(short * height / width)
        return int(short * width / height), short


def decode(data: bytes, name: str) -> Pixels:
    """Decode an image file's bytes to [height, width, 3] u8 RGB, pixel for pixel as `cv2.imread` does.

    The EXIF orientation is applied, grey and CMYK images become RGB, alpha is dropped.
    `name` is for messages.

    Raises:
        ImageError: the data is empty, truncated, or no image.
    """
    import cv2

    if not data:
        raise ImageError(name, "is empty")
    if not _is_whole_jpeg(data):
        _verify(data, name)
    try:
        image: Pixels | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
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

    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except UnidentifiedImageError as error:
        raise ImageError(name, "is not an image") from error
    except Exception as error:  # Pillow's codecs raise many kinds for damaged data
        fault = "is truncated" if "truncated" in str(error) else f"is damaged ({error})"
        raise ImageError(name, fault) from error
