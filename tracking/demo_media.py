"""Photos and photographic cut-outs for the demo tracker, taken from packages of Debian and Ubuntu.

Nothing of it is distributed with this project: it is read from where the packages put it and written to a folder of
the user's. Identities and places are split by name, so that what is tested was never trained on.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lib.synthetic.stable import shrink
from lib.utils.errors import DataError
from lib.utils.files import atomic_path
from lib.utils.image_io import IMAGE_SUFFIXES, read_image

SPLITS = ("train", "val")
PATCHES_PER_PHOTO = 3

_HELD_OUT = 0.2  # share of names that are kept from training
_PHOTO_SIDE = 640  # pixels of the longer side
_CLOSE_UPS = 3  # parts of a large photo that are backgrounds of their own
_MIN_PHOTO_SIDE = 240
_MIN_PHOTO_COLOURS = 1500  # of 32768; drawings and calibration patterns have fewer
_MIN_CUTOUT_COLOURS = 400
_MIN_CUTOUT_SIDE = 60
_OPAQUE_SHARE = (0.05, 0.97)
_MIN_PATCH_CONTRAST = 18.0  # grey levels


@dataclass(frozen=True)
class Source:
    """Images of one package.

    Attributes:
        package: its name in Debian.
        folder: where its images are.
        held_out: whether some of them are kept for testing.
        excluded: images whose path below ``folder`` matches are left out.
    """

    package: str
    folder: Path
    held_out: bool = True
    excluded: str = "$^"


CUTOUT_SOURCES = (Source("tuxpaint-stamps-default", Path("/usr/share/tuxpaint/stamps"), excluded="cartoon|symbols"),)
PHOTO_SOURCES = (
    Source("mate-backgrounds", Path("/usr/share/backgrounds/mate/nature")),
    Source("plasma-workspace-wallpapers", Path("/usr/share/wallpapers"), excluded="screenshot|1080x|720x|1622x|_dark"),
    Source("lomiri-wallpapers-16.04", Path("/usr/share/backgrounds"), excluded="/"),
    # Stills of one scene bear many names, so none of them is held out; the box is the target of a test clip.
    Source(
        "opencv-doc", Path("/usr/share/doc/opencv-doc/examples"), held_out=False, excluded=r"box|mask|matte|left|right"
    ),
)


def find_pictures(source: Source, root: Path = Path("/")) -> list[Path]:
    """Image files of a package, sorted; empty if the package is not installed.

    Args:
        source: the package.
        root: folder below which its absolute paths are looked up.
    """
    folder = root / source.folder.relative_to("/")
    if not folder.is_dir():
        return []
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    names = {path: path.relative_to(folder).as_posix() for path in paths}
    return sorted(path for path, name in names.items() if not re.search(source.excluded, name))


def split_of(name: str) -> str:
    """``train`` or ``val``, by name alone; a number or a one-letter suffix at the end makes no other identity."""
    identity = re.sub(r"[-_ ]*\d+$|[-_ ][a-z]$", "", Path(name).stem.lower())
    value = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:4], "big") / 2**32
    return "val" if value < _HELD_OUT else "train"


def is_photographic_cutout(image: np.ndarray) -> bool:
    """Whether an image (h, w, 4) uint8 is the photo of a thing, cut out: many colors, large, partly opaque."""
    if image.ndim != 3 or image.shape[2] != 4 or image.dtype != np.uint8 or min(image.shape[:2]) < _MIN_CUTOUT_SIDE:
        return False
    opaque = image[:, :, 3] > 127
    if not _OPAQUE_SHARE[0] <= opaque.mean() <= _OPAQUE_SHARE[1]:
        return False
    return len(np.unique(_packed(image[:, :, :3])[opaque])) >= _MIN_CUTOUT_COLOURS


def _packed(image: np.ndarray) -> np.ndarray:
    """(h, w) int32, one number for each color of an image (h, w, 3)."""
    return image.astype(np.int32) @ np.array([1, 256, 65536], dtype=np.int32)


def is_photo(image: np.ndarray) -> bool:
    """Whether an image (h, w, 3) uint8 is large and has the many colors of a photo."""
    if min(image.shape[:2]) < _MIN_PHOTO_SIDE:
        return False
    red, green, blue = np.moveaxis(image.astype(np.int32) >> 3, 2, 0)  # five bits of each
    return np.count_nonzero(np.bincount((red << 10 | green << 5 | blue).ravel())) >= _MIN_PHOTO_COLOURS


def photo_views(photo: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The whole of a photo (h, w, 3) uint8, and if it is large some close parts of it; at most 640 pixels long."""
    yield _fit(photo, _PHOTO_SIDE)
    height, width = photo.shape[:2]
    for _ in range(_CLOSE_UPS if max(height, width) >= 2 * _PHOTO_SIDE else 0):
        share = rng.uniform(0.25, 0.6)
        h, w = round(height * share), round(width * share)
        y, x = rng.integers(0, height - h), rng.integers(0, width - w)
        yield _fit(np.ascontiguousarray(photo[y : y + h, x : x + w]), _PHOTO_SIDE)


def _fit(image: np.ndarray, side: int) -> np.ndarray:
    scale = min(1.0, side / max(image.shape[:2]))
    return shrink(image, round(image.shape[1] * scale), round(image.shape[0] * scale))


def cut_patch(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """A thing that does not exist: part of a photo in a random outline.

    Args:
        photo: (h, w, 3) uint8 RGB.
        rng: random stream.

    Returns:
        (h', w', 4) uint8 RGBA, 80 to 260 pixels long; None if that part of the photo shows nothing.
    """
    height, width = photo.shape[:2]
    side = rng.uniform(80, min(260, 0.9 * min(height, width)))
    aspect = np.exp(rng.uniform(-0.7, 0.7))
    w, h = (int(side * min(1.0, a)) for a in (aspect, 1 / aspect))
    y, x = rng.integers(0, height - h), rng.integers(0, width - w)
    patch = photo[y : y + h, x : x + w]
    if patch.std(axis=(0, 1)).mean() < _MIN_PATCH_CONTRAST:
        return None
    alpha = np.zeros((h, w), dtype=np.uint8)
    cv2.fillPoly(alpha, [(_outline(rng, w, h) * 16).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)
    gain = rng.uniform(0.6, 1.4) * rng.uniform(0.8, 1.2, size=3)  # not the light of its own photo
    colors = np.clip((patch.astype(np.float32) - 128) * rng.uniform(0.8, 1.3) + 128 * gain, 0, 255).astype(np.uint8)
    return np.dstack([colors[:, :, rng.permutation(3)] if rng.random() < 0.4 else colors, alpha])


def _outline(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Corners (N, 2) of a box seen at an angle, an oval, or a lumpy shape that fits into ``(width, height)``."""
    kind = rng.random()
    if kind < 0.4:
        low, high = rng.uniform(0, 0.12, (4, 2)), np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
        unit = np.abs(high - low)
    else:
        angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        radius = np.ones_like(angle)
        if kind > 0.6:
            for wave in range(1, 6):
                radius = radius + rng.uniform(0, 0.35 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
        corners = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        low, high = corners.min(axis=0), corners.max(axis=0)
        unit = (corners - low) / (high - low)
    return 1 + unit * (np.array([width, height]) - 2)


@dataclass
class Gathered:
    """What was written.

    Attributes:
        missing: packages that are not installed.
        backgrounds: images by split.
        cutouts: images by split, patches included.
        patches: patches of photos by split.
    """

    missing: list[str]
    backgrounds: dict[str, int]
    cutouts: dict[str, int]
    patches: dict[str, int]


def gather(output: Path, root: Path = Path("/"), patches_per_photo: int = PATCHES_PER_PHOTO) -> Gathered:
    """Write ``OUTPUT/{train,val}/{backgrounds,cutouts}``; the same packages give the same files.

    Patches of photos are cut for training only: the test shows photographed things.

    Args:
        output: the folder.
        root: folder below which the packages' absolute paths are looked up.
        patches_per_photo: how many things are cut out of each training background.

    Raises:
        DataError: if no package with cut-outs, or none with photos, is installed.
    """
    found = {source: find_pictures(source, root) for source in (*CUTOUT_SOURCES, *PHOTO_SOURCES)}
    result = Gathered(
        [source.package for source, paths in found.items() if not paths], *({s: 0 for s in SPLITS} for _ in range(3))
    )
    for sources, what in ((CUTOUT_SOURCES, "cut-outs"), (PHOTO_SOURCES, "photos")):
        if not any(found[source] for source in sources):
            packages = " ".join(source.package for source in sources)
            raise DataError(f"no {what}: none of these packages is installed: {packages}")
    for split in SPLITS:
        for kind in ("backgrounds", "cutouts"):
            (output / split / kind).mkdir(parents=True, exist_ok=True)
    for source in CUTOUT_SOURCES:
        _gather_cutouts(source, found[source], output, result)
    for source in PHOTO_SOURCES:
        _gather_photos(source, found[source], output, result, patches_per_photo)
    return result


def _gather_cutouts(source: Source, paths: list[Path], output: Path, result: Gathered) -> None:
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None or not is_photographic_cutout(image):
            continue
        split = split_of(path.name) if source.held_out else "train"
        with atomic_path(output / split / "cutouts" / f"{path.parent.name}-{path.stem}.png") as temporary:
            temporary.write_bytes(path.read_bytes())
        result.cutouts[split] += 1


def _gather_photos(source: Source, paths: list[Path], output: Path, result: Gathered, patches_per_photo: int) -> None:
    sizes: dict[str, list[Path]] = {}
    for path in paths:
        # Wallpapers are named by their size, in a folder that bears the name.
        name = path.parents[2].name if path.parent.name.startswith("images") else path.stem
        sizes.setdefault(name, []).append(path)
    for name, same in sizes.items():
        photo = max((photo for photo in map(read_image, same) if is_photo(photo)), key=np.size, default=None)
        if photo is None:
            continue
        split = split_of(name) if source.held_out else "train"
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
        for number, view in enumerate(photo_views(photo, rng)):
            stem = f"{source.package}-{name}-{number}"
            _write(output / split / "backgrounds" / f"{stem}.jpg", view[:, :, ::-1])
            result.backgrounds[split] += 1
            for piece in range(patches_per_photo if split == "train" else 0):
                patch = cut_patch(view, rng)
                if patch is not None:
                    _write(output / split / "cutouts" / f"patch-{stem}-{piece:02d}.png", patch[:, :, [2, 1, 0, 3]])
                    result.patches[split] += 1
                    result.cutouts[split] += 1


def _write(path: Path, image: np.ndarray) -> None:
    """Write an image, blue first as OpenCV has it."""
    with atomic_path(path) as temporary:
        done, data = cv2.imencode(path.suffix, image, [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix == ".jpg" else [])
        if not done:
            raise DataError(f"{path}: the image cannot be encoded")
        temporary.write_bytes(data.tobytes())
