"""The untimed preprocessing of an image, from its pixels to a sample, as a model card states it."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.dataset.image_file import ImageError, Pixels, decode
from harness.dataset.placement import Frames, Placement

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
FITS = {
    "crop": "the short side is resized, then the centre is cropped",
    "stretch": "both sides are resized to the model's size, whatever the image's aspect ratio",
    "letterbox": "the long side is resized to the model's size, and the rest is border",
    "warp": "as letterbox, but not in whole pixels: OpenCV's warpPerspective, as NanoDet's authors do",
}
"""How an image comes to fill a square."""
PLACES = ("centre", "top-left")
"""Where a smaller image lies in the square."""
ROUNDINGS = ("truncate", "round")
"""How the sides of a letterboxed image become whole numbers: as in YOLOX, or as in Ultralytics' YOLO."""
ONLY_FOR = {
    "crop_fraction": ("crop",),
    "resize_to": ("crop",),
    "crop_first": ("crop",),
    "squash": ("crop", "warp"),
    "place": ("letterbox", "warp"),
    "border": ("letterbox", "warp"),
    "rounding": ("letterbox",),
}
"""Fields of a recipe that say something only about some fits."""
WARPS = ("linear", "cubic", "nearest")
"""The ways to interpolate that a warp has."""

# ImageNet's usual statistics, for pixels 0..255: what the trainer's networks take is (pixel - MEAN) / SCALE.
MEAN = (123.675, 116.28, 103.53)
SCALE = (58.395, 57.12, 57.375)

# Keeps fractions such as 224/232 from falling one pixel short.
_MARGIN = 1e-6


@dataclass(frozen=True)
class Recipe:
    """How an image becomes `size` x `size` RGB pixels.

    With the fit "crop" the short side is resized to int(size / crop_fraction), or to `resize_to`, then the
    centre is cropped; exactly one of the two is given, and with other fits neither.
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
    fit: str = "crop"
    """One of FITS."""
    place: str = "centre"
    """One of PLACES, of a letterbox or a warp."""
    border: int = 0
    """Value, 0..255, of the pixels around the image in a letterbox or a warp."""
    rounding: str = "truncate"
    """One of ROUNDINGS, of a letterbox."""

    def __post_init__(self) -> None:
        given = (self.crop_fraction is not None) + (self.resize_to is not None)
        if given != (self.fit == "crop"):
            raise ValueError("a recipe that crops has either a crop_fraction or a resize_to, another neither")

    @property
    def key(self) -> str:
        """The name of this recipe in a store, such as 'area-224-0.875'; no two recipes share one."""
        words = [self.resize, str(self.size)]
        if self.fit == "crop":
            words += [f"to{self.resize_to}" if self.crop_fraction is None else _exact(self.crop_fraction)]
        else:
            words += [self.fit]
        words += [self.place] if self.place != "centre" else []
        words += [str(self.border)] if self._has_border else []
        words += [self.rounding] if self.rounding != "truncate" else []
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
        if self.resize_to is not None:
            return self.resize_to
        return int(self.size / (self.crop_fraction or 1.0) + _MARGIN)

    @property
    def words(self) -> str:
        """The recipe in words, such as 'area, centre crop 0.875'."""
        if self.fit != "crop":
            way = self.fit
        elif self.crop_fraction is None:
            way = f"short side to {self.resize_to}, centre crop to {self.size}"
        else:
            way = f"centre crop {_exact(self.crop_fraction)}"
        words = [self.resize] if self.resize == "none" else [self.resize, way]
        words += [f"{self.place}, border {self.border}"] if self._has_border else []
        words += ["sides rounded"] if self.rounding == "round" else []
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
        height, width = image.shape[:2]
        if self.fit == "warp":
            return self._warped(image, self.placement(width, height))
        scaled = self._scaled(width, height)
        resized = self._resized(image, *scaled)
        left, top = self._offset(*scaled)
        if not self._has_border:
            return resized[-top : self.size - top, -left : self.size - left]
        sample: Pixels = np.full((self.size, self.size, 3), self.border, np.uint8)
        sample[top : top + scaled[1], left : left + scaled[0]] = resized
        return sample

    def placement(self, width: int, height: int) -> Placement:
        """Return where an image of `width` x `height` pixels lies in its sample.

        A warp takes the centres of pixels for their corners, as NanoDet's authors do, who map boxes back in
        the same way; what it shows is up to half a pixel off. All else is exact.
        """
        if self.crop_first:
            x, y, right, bottom = self._crop_box(width, height)
            across, down = self.size / (right - x), self.size / (bottom - y)
            return Placement(across, down, -x * across, -y * down)
        if self.fit == "warp":
            across, down = self.size / width, self.size / height
            if not self.squash:
                across = down = min(across, down)
            share = 0.5 if self.place == "centre" else 0.0
            left, top = (share * (self.size - length) for length in (width * across, height * down))
            return Placement(across, down, left, top)
        scaled = self._scaled(width, height)
        return Placement(scaled[0] / width, scaled[1] / height, *self._offset(*scaled))

    def frames(self, sizes: npt.NDArray[np.int64]) -> Frames:
        """Return where images of these widths and heights, i64 [count, 2], lie in their samples."""
        return Frames([self.placement(width, height) for width, height in sizes.tolist()], sizes)

    def read(self, data: bytes, name: str, stated: tuple[int, int] | None = None) -> Pixels:
        """Return the sample, [size, size, 3] u8 RGB, of an image file's bytes.

        Raises:
            ImageError: the data is no whole image, of another width and height than are `stated`, or of
                another size than the model's where the recipe does not resize.
        """
        image = decode(data, name, self.exif_rotation)
        height, width = image.shape[:2]
        if stated is not None and stated != (width, height):
            raise ImageError(name, f"is {width}x{height}, not {stated[0]}x{stated[1]} as its annotations say")
        return self.apply(image, name)

    @property
    def _has_border(self) -> bool:
        return self.fit in ("letterbox", "warp")

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

    def _warped(self, image: Pixels, at: Placement) -> Pixels:
        import cv2

        matrix = np.array([[at.scale_x, 0, at.left], [0, at.scale_y, at.top], [0, 0, 1]])
        size, flags = (self.size, self.size), getattr(cv2, f"INTER_{self.resize.upper()}")
        warped: Pixels = cv2.warpPerspective(image, matrix, size, flags=flags, borderValue=(self.border,) * 3)
        return warped

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of an image after the resize, before a crop or a border."""
        short = self.short_side
        if self.resize == "none":
            return width, height
        if self.fit == "stretch" or self.squash:
            return short, short
        if self.fit == "letterbox":
            # In floats as the authors compute it, so that a product may fall a pixel short.
            ratio = min(self.size / width, self.size / height)
            whole = round if self.rounding == "round" else int
            return max(1, whole(width * ratio)), max(1, whole(height * ratio))
        if height > width:
            return short, int(short * height / width)
        return int(short * width / height), short

    def _offset(self, width: int, height: int) -> tuple[int, int]:
        """Return how many pixels a resized image lies from the sample's left and top, negative in a crop."""
        if self.place != "centre":
            return 0, 0
        # torchvision rounds half offsets to even, where MLPerf's OpenCV code truncates them.
        whole = round if self._uses_pillow and not self._has_border else int
        return whole((self.size - width) / 2), whole((self.size - height) / 2)

    def _first_crop(self, image: Pixels) -> Pixels:
        height, width = image.shape[:2]
        left, top, right, bottom = self._crop_box(width, height)
        return image[top:bottom, left:right]

    def _crop_box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of what is cropped before the resize."""
        if self.squash:
            # tf.image.central_crop: the share of each side, the same number of pixels off both ends.
            left, top = (int((length - length * self.share) / 2) for length in (width, height))
            return left, top, width - left, height - top
        # TensorFlow's EfficientNet (_decode_and_center_crop): a square, an odd pixel off the top and left.
        side = max(1, int(self.share * min(height, width) + _MARGIN))
        top, left = (height - side + 1) // 2, (width - side + 1) // 2
        return left, top, left + side, top + side


def _exact(number: float) -> str:
    """Return the shortest text that gives `number` again."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)
