"""The untimed preprocessing of an image, from its pixels to a sample, as a model card states it."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from harness.dataset.image_file import ImageError, Pixels, decode

RESIZES = {
    "area": "OpenCV INTER_AREA, what MLPerf's reference does for the TF and ONNX ResNet-50",
    "linear": "OpenCV INTER_LINEAR",
    "cubic": "OpenCV INTER_CUBIC",
    "nearest": "OpenCV INTER_NEAREST",
    "pil_bilinear": "Pillow bilinear, torchvision's choice for most models",
    "pil_bicubic": "Pillow bicubic, Hugging Face's and timm's choice for most models",
    "pil_lanczos": "Pillow Lanczos",
    "pil_hamming": "Pillow Hamming",
    "pil_box": "Pillow box",
    "pil_nearest": "Pillow nearest",
    "none": "no resize: the images must have the model's size already",
}
"""How pixels are interpolated."""

# ImageNet's usual statistics, for pixels 0..255: what the trainer's networks take is (pixel - MEAN) / SCALE.
MEAN = (123.675, 116.28, 103.53)
SCALE = (58.395, 57.12, 57.375)

# Keeps fractions such as 224/232 from falling one pixel short.
_MARGIN = 1e-6


@dataclass(frozen=True)
class Recipe:
    """How an image becomes `size` x `size` RGB pixels.

    The short side is resized to int(size / crop_fraction), or to `resize_to`, then the centre is cropped.
    Exactly one of the two is given; `resize` is one of RESIZES.
    """

    size: int
    resize: str
    crop_fraction: float | None = None
    resize_to: int | None = None
    """Pixels on the short side before the crop."""
    squash: bool = False
    """Both sides are resized to that many pixels, whatever the image's aspect ratio."""
    crop_first: bool = False
    """The crop comes first, at its share size / short_side of the image, and is resized to `size`."""
    exif_rotation: bool = True
    """Images are turned as EXIF says, as cv2.imread does; torchvision and timm leave them as they lie."""

    def __post_init__(self) -> None:
        if (self.crop_fraction is None) == (self.resize_to is None):
            raise ValueError("a recipe has either a crop_fraction or a resize_to")

    @property
    def key(self) -> str:
        """The name of this recipe in a store, such as 'area-224-0.875'; no two recipes share one."""
        share = f"to{self.resize_to}" if self.crop_fraction is None else _exact(self.crop_fraction)
        words = [self.resize, str(self.size), share]
        words += ["squash"] if self.squash else []
        words += ["cropfirst"] if self.crop_first else []
        words += [] if self.exif_rotation else ["unrotated"]
        return "-".join(words)

    @property
    def sample_bytes(self) -> int:
        return self.size * self.size * 3

    @property
    def short_side(self) -> int:
        """Pixels on the short side before the crop."""
        if self.crop_fraction is None:
            assert self.resize_to is not None
            return self.resize_to
        return int(self.size / self.crop_fraction + _MARGIN)

    @property
    def words(self) -> str:
        """The recipe in words, such as 'area, centre crop 0.875'."""
        if self.crop_fraction is None:
            crop = f"short side to {self.resize_to}, centre crop to {self.size}"
        else:
            crop = f"centre crop {_exact(self.crop_fraction)}"
        words = [self.resize] if self.resize == "none" else [self.resize, crop]
        words += ["squashed to a square"] if self.squash else []
        words += ["cropped before the resize"] if self.crop_first else []
        words += [] if self.exif_rotation else ["EXIF rotation ignored"]
        return ", ".join(words)

    @property
    def share(self) -> float:
        """What the crop keeps of the short side, 0..1."""
        return self.size / self.short_side if self.crop_fraction is None else self.crop_fraction

    def at(self, size: int) -> "Recipe":
        """Return the recipe for another input size, with the same share of the image."""
        if self.resize_to is None:
            return replace(self, size=size)
        return replace(self, size=size, resize_to=max(size, round(self.resize_to * size / self.size)))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that say something: those of 0.1.0's recipes are the same as then."""
        values = {item.name: (getattr(self, item.name), item.default) for item in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}

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
        if self.crop_first:
            return self._resized(self._first_crop(image), self.size, self.size)
        return self._last_crop(self._resized(image, *self._scaled(image)))

    def read(self, data: bytes, name: str) -> Pixels:
        """Return the sample, [size, size, 3] u8 RGB, of an image file's bytes.

        Raises:
            ImageError: the data is no whole image, or of another size where the recipe does not resize.
        """
        return self.apply(decode(data, name, self.exif_rotation), name)

    @property
    def _uses_pillow(self) -> bool:
        return self.resize.startswith("pil_")

    def _resized(self, image: Pixels, width: int, height: int) -> Pixels:
        method = self.resize.removeprefix("pil_").upper()
        if self._uses_pillow:
            from PIL import Image

            filtered = Image.fromarray(image).resize((width, height), Image.Resampling[method])
            return np.asarray(filtered)
        import cv2

        resized: Pixels = cv2.resize(image, (width, height), interpolation=getattr(cv2, f"INTER_{method}"))
        return resized

    def _scaled(self, image: Pixels) -> tuple[int, int]:
        """Return width and height before the crop."""
        height, width = image.shape[:2]
        short = self.short_side
        if self.squash:
            return short, short
        if height > width:
            return short, int(short * height / width)
        return int(short * width / height), short

    def _last_crop(self, image: Pixels) -> Pixels:
        above, beside = (length - self.size for length in image.shape[:2])
        # torchvision rounds half offsets to even, where MLPerf's OpenCV code truncates them.
        top, left = (round(above / 2), round(beside / 2)) if self._uses_pillow else (above // 2, beside // 2)
        return image[top : top + self.size, left : left + self.size]

    def _first_crop(self, image: Pixels) -> Pixels:
        height, width = image.shape[:2]
        if self.squash:
            # tf.image.central_crop: the share of each side, the same number of pixels off both ends.
            top, left = (int((length - length * self.share) / 2) for length in (height, width))
            return image[top : height - top, left : width - left]
        # TensorFlow's EfficientNet (_decode_and_center_crop): a square, an odd pixel off the top and left.
        side = max(1, int(self.share * min(height, width) + _MARGIN))
        top, left = (height - side + 1) // 2, (width - side + 1) // 2
        return image[top : top + side, left : left + side]


def _exact(number: float) -> str:
    """Return the shortest text that gives `number` again."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)
