"""Photos and cut-outs are found where packages put them, filtered, split by name, and written the same every time."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.synthetic.media import load_cutout
from lib.utils.errors import DataError
from tracking import prepare_demo_data
from tracking.demo_media import (
    CUTOUT_SOURCES,
    PHOTO_SOURCES,
    cut_patch,
    gather,
    is_photo,
    is_photographic_cutout,
    split_of,
)

THINGS = ("owl", "otter", "cat", "dog", "bee", "ant", "fox", "elk", "yak", "emu", "cow", "ram")


def photo(height=300, width=400, seed=0):
    """An image with many colors."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def cutout(height=80, width=90, seed=0):
    alpha = np.zeros((height, width), dtype=np.uint8)
    cv2.ellipse(alpha, (width // 2, height // 2), (width // 3, height // 3), 0, 0, 360, 255, -1)
    return np.dstack([photo(height, width, seed), alpha])


@pytest.fixture
def root(tmp_path):
    """A machine with some of the packages."""
    root = tmp_path / "machine"
    stamps = root / "usr/share/tuxpaint/stamps"
    nature = root / "usr/share/backgrounds/mate/nature"
    for folder in (stamps / "animals", stamps / "cartoon", nature, root / "usr/share/wallpapers/Path/contents/images"):
        folder.mkdir(parents=True)
    for number, name in enumerate(THINGS):
        cv2.imwrite(str(stamps / "animals" / f"{name}.png"), cutout(seed=number))
        cv2.imwrite(str(nature / f"{name}.jpg"), photo(seed=number))
    cv2.imwrite(str(stamps / "cartoon" / "duck.png"), cutout())
    cv2.imwrite(str(stamps / "animals" / "tiny.png"), cutout(40, 40))
    flat = cutout()
    flat[:, :, :3] = 200
    cv2.imwrite(str(stamps / "animals" / "flat.png"), flat)
    cv2.imwrite(str(root / "usr/share/wallpapers/Path/contents/images/2560x1600.png"), photo(1300, 2000))
    for size in ((300, 400), (600, 900)):  # the same picture, smaller
        cv2.imwrite(str(root / f"usr/share/wallpapers/Path/contents/images/{size[0]}.png"), photo(*size))
    cv2.imwrite(str(root / "usr/share/wallpapers/Path/contents/screenshot.png"), photo())
    return root


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_gathers_filters_and_splits(root, tmp_path):
    out = tmp_path / "out"
    gathered = gather(out, root)
    cutouts = {split: names(out / split / "cutouts") for split in ("train", "val")}
    backgrounds = {split: names(out / split / "backgrounds") for split in ("train", "val")}
    things = {split: [name for name in cutouts[split] if not name.startswith("patch-")] for split in cutouts}
    assert len(things["train"]) + len(things["val"]) == 12  # neither cartoon, tiny nor flat
    for split in ("train", "val"):
        assert things[split], "the names of the test should fall into both splits"
        assert {name.split("-")[-1] for name in things[split]} == {
            f"{name}.png" for name in THINGS if split_of(name) == split
        }
        assert gathered.cutouts[split] == len(cutouts[split])
        assert gathered.backgrounds[split] == len(backgrounds[split])
    assert not [name for name in cutouts["val"] if name.startswith("patch-")]
    wallpaper = [name for part in backgrounds.values() for name in part if "wallpapers-Path" in name]
    assert len(wallpaper) == 4, "a large photo gives close parts as well, and the screenshot is left out"
    assert "opencv-doc" in gathered.missing and "tuxpaint-stamps-default" not in gathered.missing


def test_the_largest_of_a_picture_in_several_sizes_is_taken(root, tmp_path):
    gather(tmp_path / "several", root)
    for path in (root / "usr/share/wallpapers/Path/contents/images").glob("?00.png"):
        path.unlink()
    gather(tmp_path / "one", root)
    several, one = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*wallpapers-Path*")}
        for name in ("several", "one")
    )
    assert several == one and one


def test_same_files_every_time(root, tmp_path):
    for name in ("first", "second"):
        gather(tmp_path / name, root)
    first, second = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("first", "second")
    )
    assert first == second and first


def test_what_is_written_can_be_rendered(root, tmp_path):
    gather(tmp_path / "out", root)
    for path in (tmp_path / "out").rglob("cutouts/*.png"):
        assert load_cutout(path, 50).shape[2] == 4


def test_without_any_package(tmp_path):
    with pytest.raises(DataError, match="no cut-outs: none of these packages is installed: tuxpaint-stamps-default"):
        gather(tmp_path / "out", tmp_path / "empty")
    assert not (tmp_path / "out").exists()


def test_numbers_and_letters_make_no_identity():
    assert len({split_of(name) for name in ("bird1.png", "bird2.png", "bird_a.png", "bird-3.jpg", "Bird.png")}) == 1
    share = np.mean([split_of(f"thing{chr(97 + k % 26)}x{k}y.png") == "val" for k in range(2000)])
    assert 0.15 < share < 0.25


def test_filters():
    assert is_photo(photo()) and not is_photo(photo(100, 400))
    assert not is_photo(np.full((300, 400, 3), 90, dtype=np.uint8))
    assert is_photographic_cutout(cutout())
    assert not is_photographic_cutout(photo())
    opaque = cutout()
    opaque[:, :, 3] = 255
    assert not is_photographic_cutout(opaque)


def test_patches_show_something():
    rng = np.random.default_rng(3)
    patches = [patch for patch in (cut_patch(photo(seed=5), rng) for _ in range(20)) if patch is not None]
    assert len(patches) > 10
    for patch in patches:
        assert patch.shape[2] == 4 and 40 <= max(patch.shape[:2]) <= 260
        assert 0.2 < (patch[:, :, 3] > 127).mean() < 1
    assert cut_patch(np.full((300, 400, 3), 90, dtype=np.uint8), rng) is None


def test_script_says_what_is_missing(root, tmp_path, capsys):
    out = tmp_path / "out"
    assert prepare_demo_data.main(["--output", str(out), "--root", str(root)]) == 0
    printed = capsys.readouterr().out
    assert "missing: opencv-doc (apt install opencv-doc)" in printed
    assert f"written to {out}" in printed
    assert Path(CUTOUT_SOURCES[0].folder).is_absolute() and len(PHOTO_SOURCES) == 4
