"""A lazy image has the pixels that OpenCV decodes, wherever it took the shorter way."""

import cv2
import numpy as np
import pytest

from lib.utils import lazy_image
from lib.utils.crop import sample_reduced, sample_target
from lib.utils.errors import DataError
from lib.utils.image_io import decode_image
from lib.utils.lazy_image import REDUCTIONS, DecodedImage, EncodedImage, read_jpeg_header

DECODERS = [
    "opencv",
    pytest.param("simplejpeg", marks=pytest.mark.skipif(lazy_image.simplejpeg is None, reason="none")),
]


@pytest.fixture(params=DECODERS)
def decoder(request, monkeypatch):
    if request.param == "opencv":
        monkeypatch.setattr(lazy_image, "simplejpeg", None)
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


@pytest.mark.skipif(lazy_image.simplejpeg is None, reason="none")
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
