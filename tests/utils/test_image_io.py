"""Images come out as RGB uint8 whatever the file holds; damaged ones are named."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.utils import image_io
from lib.utils.crop import sample_reduced, sample_target
from lib.utils.errors import DataError, InputError
from lib.utils.image_io import (
    REDUCTIONS,
    DecodedImage,
    EncodedImage,
    decode_image,
    encode_image,
    read_image,
    read_jpeg_header,
    to_rgb,
    write_image,
)
from lib.utils.storage import DirectoryStorage, open_storage

RED = np.full((8, 12, 3), (250, 10, 30), dtype=np.uint8)


def test_png_round_trip_keeps_the_channel_order(tmp_path: Path) -> None:
    write_image(tmp_path / "a" / "red.png", RED)
    np.testing.assert_array_equal(read_image(tmp_path / "a" / "red.png"), RED)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["red.png"]


def test_jpeg_is_rgb(tmp_path: Path) -> None:
    write_image(tmp_path / "red.jpg", RED)
    assert np.abs(read_image(tmp_path / "red.jpg").astype(int) - RED).max() < 8


def test_grey_and_rgba_files(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), RED[:, :, 0])
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(RED[:, :, :1], 3, axis=2))
    rgba = np.dstack([RED[:, :, ::-1], np.full(RED.shape[:2], 128, np.uint8)])
    cv2.imwrite(str(tmp_path / "rgba.png"), rgba)
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), RED)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_empty_and_truncated_files_are_named(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"cut{suffix}"
    write_image(path, np.random.RandomState(0).randint(0, 255, (64, 64, 3)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=f"cut{suffix}: .*(empty|truncated)"):
        read_image(path)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jpg: cannot read the image: No such file"):
        read_image(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(DataError, match=r"text\.jpg: cannot decode"):
        read_image(tmp_path / "text.jpg")


def test_to_rgb() -> None:
    grey = RED[:, :, 0]
    for image in (grey, grey[:, :, None]):
        np.testing.assert_array_equal(to_rgb(image), np.repeat(RED[:, :, :1], 3, axis=2))
    np.testing.assert_array_equal(to_rgb(np.dstack([RED, grey])), RED)
    assert to_rgb(RED).base is RED  # no copy
    for bad in (RED.astype(np.float32), np.zeros((2, 2, 2), np.uint8), np.zeros((0, 3, 3), np.uint8), [1, 2]):
        with pytest.raises(InputError, match="expected an RGB uint8 image"):
            to_rgb(bad)


def test_directory_storage(tmp_path: Path) -> None:
    write_image(tmp_path / "seq" / "2.JPG", RED)
    write_image(tmp_path / "seq" / "1.jpg", RED)
    (tmp_path / "seq" / "notes.txt").write_text("hello")
    storage = open_storage(tmp_path)
    assert storage.list_dirs() == ["seq"]
    assert storage.list_files("seq", {".jpg"}) == ["1.jpg", "2.JPG"]
    assert storage.read_text("seq/notes.txt") == "hello"
    assert storage.exists("seq/1.jpg") and not storage.exists("seq")
    assert storage.read_image("seq/1.jpg").shape == RED.shape
    with pytest.raises(DataError, match=r"seq/none\.txt: cannot read"):
        storage.read_text("seq/none.txt")
    with pytest.raises(DataError, match="nowhere: no such data folder"):
        DirectoryStorage(tmp_path / "nowhere")


def deep_frames(folder: Path, suffix: str, dtype: type, scale: float = 1.0) -> list[Path]:
    """Two frames of a 14-bit camera; the second is warmer by 100 and has a hot spot."""
    row = np.linspace(7000, 9000, 4000)
    paths = [folder / f"{number}{suffix}" for number in (1, 2)]
    for number, path in enumerate(paths):
        frame = np.tile(row + 100 * number, (20, 1)) * scale
        frame[:2, :2] += 5000 * number * scale
        cv2.imwrite(str(path), frame.astype(dtype))
    return paths


@pytest.mark.parametrize(
    ("suffix", "dtype", "scale"),
    [(".png", np.uint16, 1), (".tif", np.uint16, 1), (".tiff", np.float32, 1), (".tif", np.float32, 1e-4)],
)
def test_deep_frames_are_scaled_by_the_range_of_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, dtype: type, scale: float
) -> None:
    first, second = deep_frames(tmp_path, suffix, dtype, scale)
    caplog.set_level("INFO")
    one, two = read_image(first, first), read_image(second, first)
    assert (one.shape, one.dtype) == ((20, 4000, 3), np.uint8)
    assert (one.min(), one.max()) == (0, 255)
    # 100 of 2000 is 255 / 20 = 12.75 grey values, whatever else the second frame shows.
    difference = two[10:, 100:3000].astype(int) - one[10:, 100:3000]
    assert set(np.unique(difference)) <= {12, 13, 14}
    assert (two[:2, :2] == 255).all()
    assert len([record for record in caplog.records if "are shown as 0 to 255" in record.getMessage()]) == 1
    storage = open_storage(tmp_path)
    np.testing.assert_array_equal(storage.read_image(second.name, first.name), two)
    np.testing.assert_array_equal(EncodedImage(second.read_bytes(), "2", (str(first), first.read_bytes)).pixels(), two)


@pytest.mark.parametrize("value", [0, 500, 65535])
def test_a_deep_frame_of_one_value_is_not_stretched(tmp_path: Path, value: int) -> None:
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((8, 8), value, np.uint16))
    assert read_image(tmp_path / "flat.png").max() == round(value / 257)


def test_deep_colors_keep_their_order(tmp_path: Path) -> None:
    colors = np.zeros((8, 8, 3), np.uint16)
    colors[:, 4:] = [0, 30000, 60000]  # BGR
    cv2.imwrite(str(tmp_path / "deep.png"), colors)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png")[0, 7], [255, 128, 0])


def test_missing_values_of_a_float_image_are_black(tmp_path: Path) -> None:
    frame = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (8, 1))
    frame[0] = np.nan
    frame[1] = np.inf
    cv2.imwrite(str(tmp_path / "a.tiff"), frame)
    image = read_image(tmp_path / "a.tiff")
    assert (image[0].max(), image[1].min(), image[2, -1].max()) == (0, 255, 255)


@pytest.mark.parametrize("flags", [[], [cv2.IMWRITE_PNG_BILEVEL, 1]])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp"])
def test_images_of_8_bits_and_less_are_as_opencv_decodes_them(tmp_path: Path, suffix: str, flags: list[int]) -> None:
    image = np.random.RandomState(0).randint(0, 255, (16, 16)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), image, flags if suffix == ".png" else [])
    expected = cv2.imread(str(tmp_path / f"a{suffix}"), cv2.IMREAD_COLOR)[:, :, ::-1]
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), expected)


@pytest.mark.parametrize("tail", [b"\0" * 9000, b"x" * 100_000, b"\xff" * 5000])
def test_what_follows_the_end_of_a_jpeg_does_not_matter(tmp_path: Path, tail: bytes) -> None:
    image = np.random.RandomState(0).randint(0, 255, (64, 64, 3)).astype(np.uint8)
    data = encode_image(image, ".jpg")
    np.testing.assert_array_equal(decode_image(data + tail, "a.jpg"), decode_image(data, "a.jpg"))
    with pytest.raises(DataError, match="truncated"):
        decode_image(data[:-300] + tail, "a.jpg")
    thumbnail = b"\xff\xe1" + (2 + len(data)).to_bytes(2, "big") + data
    with pytest.raises(DataError, match="truncated"):
        decode_image(data[:2] + thumbnail + data[2:-300], "a.jpg")


DECODERS = [
    "opencv",
    pytest.param("simplejpeg", marks=pytest.mark.skipif(image_io.simplejpeg is None, reason="none")),
]


@pytest.fixture(params=DECODERS)
def decoder(request, monkeypatch):
    if request.param == "opencv":
        monkeypatch.setattr(image_io, "simplejpeg", None)
    return request.param


def picture(width=333, height=205, channels=3):
    rng = np.random.RandomState(0)
    smooth = cv2.resize(rng.randint(0, 256, (8, 12, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    noisy = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
    return noisy if channels == 3 else noisy[..., 0]


def encode(image, suffix=".jpg", *options):
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


KINDS = {
    "4:2:0": encode(picture()),
    "4:4:4": encode(picture(), ".jpg", cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    "4:2:2": encode(picture(), ".jpg", cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422),
    "progressive": encode(picture(), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restarts": encode(picture(), ".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
    "grey": encode(picture(channels=1)),
    "png": encode(picture(), ".png"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_opencv(kind, decoder, capfd):
    expected = cv2.cvtColor(cv2.imdecode(np.frombuffer(KINDS[kind], np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    image = EncodedImage(KINDS[kind], "a.jpg")
    assert image.size == (333, 205)
    np.testing.assert_array_equal(image.pixels(), expected)
    for rows in (-40, 0, 1, 15, 16, 17, 100, 159, 160, 204, 205, 900):
        part = image.pixels(1, rows)
        assert part.shape[1] == 333 and min(max(rows, 1), 205) <= part.shape[0] <= 205
        kept = part.shape[0] if part.shape[0] == 205 else max(rows, 0) + 1  # no crop touches what is below
        np.testing.assert_array_equal(part[:kept], expected[:kept])
    assert "extraneous" not in capfd.readouterr().err


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reduced_pixels_are_averages(reduction, decoder):
    """Each small pixel is about the mean of those it covers, with sides rounded up."""
    full = EncodedImage(KINDS["4:4:4"], "a.jpg").pixels().astype(float)
    small = EncodedImage(KINDS["4:4:4"], "a.jpg").pixels(reduction)
    assert small.shape == (-(-205 // reduction), -(-333 // reduction), 3)
    rows, columns = 205 // reduction, 333 // reduction
    means = full[: rows * reduction, : columns * reduction]
    means = means.reshape(rows, reduction, columns, reduction, 3).mean(axis=(1, 3))
    assert np.abs(small[:rows, :columns] - means).mean() < 2
    upper = EncodedImage(KINDS["4:4:4"], "a.jpg").pixels(reduction, 100)
    np.testing.assert_array_equal(upper[: 100 // reduction], small[: 100 // reduction])


@pytest.mark.skipif(image_io.simplejpeg is None, reason="none")
@pytest.mark.parametrize("reduction", (1, *REDUCTIONS))
@pytest.mark.parametrize("sampling", ["411", "420", "422", "440", "444"])
def test_few_rows_more_than_needed_are_decoded(sampling, reduction):
    """Every row that a crop touches is whole, colors included, whatever the number of rows."""
    flag = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}")
    data = encode(picture(), ".jpg", cv2.IMWRITE_JPEG_SAMPLING_FACTOR, flag)
    image = EncodedImage(data, "a.jpg")
    full = image.pixels(reduction)
    for rows in range(0, 180, 7):
        part = image.pixels(reduction, rows)
        needed = rows // reduction + 1
        assert needed <= len(part) <= needed + 2
        np.testing.assert_array_equal(part[:needed], full[:needed])


def test_other_formats_are_never_reduced(decoder):
    assert EncodedImage(KINDS["png"], "a.png").pixels(4, 10).shape == (205, 333, 3)
    pixels = picture()
    assert DecodedImage(pixels).size == (333, 205)
    assert DecodedImage(pixels).pixels(4, 10) is pixels


def test_a_turned_image_is_left_to_opencv(decoder):
    """EXIF orientation 6: OpenCV turns the image, so the size in the header is not that of the image."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    image = EncodedImage(KINDS["4:2:0"][:2] + segment + KINDS["4:2:0"][2:], "a.jpg")
    assert image.size == (205, 333)
    assert image.pixels(2, 30).shape == (333, 205, 3)


def test_the_same_pixels_are_decoded_once(decoder):
    image = EncodedImage(KINDS["4:2:0"], "a.jpg")
    assert image.pixels(2, 50) is image.pixels(2, 50)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"no image", "cannot decode"),
        (KINDS["4:2:0"][:5000], "truncated"),
        (KINDS["4:2:0"][:30] + b"\0" * 9000 + b"\xff\xd9", "cannot decode"),
    ],
)
def test_damage_names_the_file(data, message, decoder):
    image = EncodedImage(data, "videos/a.jpg")
    for ask in (lambda: image.pixels(2, 50), lambda: (image.size, image.pixels())):
        with pytest.raises(DataError, match=rf"^videos/a\.jpg: .*{message}"):
            ask()


def test_headers():
    header = read_jpeg_header(KINDS["4:2:0"])
    assert header[:2] == (333, 205) and header.is_baseline
    assert KINDS["4:2:0"][header.height_at : header.height_at + 2] == (205).to_bytes(2, "big")
    assert not read_jpeg_header(KINDS["progressive"]).is_baseline
    assert read_jpeg_header(KINDS["png"]) is None
    for length in range(0, header.height_at + 4, 7):
        assert read_jpeg_header(KINDS["4:2:0"][:length]) is None
    padded = KINDS["4:2:0"][:2] + b"\xff\xff" + KINDS["4:2:0"][2:]
    assert read_jpeg_header(padded)[:2] == (333, 205)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("reduction", [2, 4])
@pytest.mark.parametrize("center", [(160, 100), (20, 15), (320, 190)], ids=["inside", "top left", "bottom right"])
def test_reduced_crops_lie_where_full_crops_lie(mirrored, reduction, center):
    """On a smooth image the crops are the same, to a fraction of what a shift by half a pixel would change."""
    x, y = np.meshgrid(np.arange(333), np.arange(205))
    full = np.stack((x * 0.7, y * 1.2, 60 + 0.3 * x + 0.2 * y), axis=2).astype(np.uint8)
    small = decode_image(encode(full[..., ::-1], ".jpg", cv2.IMWRITE_JPEG_QUALITY, 100), "a", reduction)
    view = full[:, ::-1] if mirrored else full
    size = 24
    box = (center[0] - 15, center[1] - 10, 30, 20 * reduction / 2)
    expected, factor = sample_target(view, box, 4.0, size)
    crop, same_factor = sample_reduced(small, reduction, (333, 205), box, 4.0, size, mirrored=mirrored)
    assert factor == same_factor and crop.shape == (size, size, 3)
    again, _ = sample_reduced(small, reduction, (333, 205), box, 4.0, size, mirrored=mirrored, flip=True)
    assert np.array_equal(again, crop[:, ::-1])
    inside = cv2.erode((expected.sum(axis=2) > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert inside.sum() > 40
    difference = crop[inside].astype(float) - expected[inside]
    assert np.abs(difference).mean() < 1.2 and abs(difference.mean()) < 0.7
    outside = cv2.dilate((expected.sum(axis=2) > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
    assert crop[outside].sum() == 0
