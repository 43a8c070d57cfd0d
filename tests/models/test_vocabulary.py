import pytest
import torch

from lib.config.seqtrack.config import SCHEMA, get_option
from lib.models.seqtrack.vocabulary import SHIFTS, CoordinateVocabulary
from lib.utils.box_ops import box_xywh_to_cxcywh, box_xywh_to_xyxy
from lib.utils.errors import ConfigError

FORMATS = ("xywh", "whxy", "corner")


def inside_boxes(count: int = 200) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    size = torch.rand(count, 2, generator=generator)
    return torch.cat((torch.rand(count, 2, generator=generator) * (1 - size), size), dim=1)


def test_the_configuration_allows_the_formats_that_exist():
    assert set(get_option(SCHEMA, "DATA.SEQ_FORMAT").choices) == set(SHIFTS)


@pytest.mark.parametrize("seq_format", FORMATS)
@pytest.mark.parametrize("bins", [10, 1000, 4000])
def test_encoding_and_decoding_returns_the_box_within_a_bin(seq_format, bins):
    vocabulary = CoordinateVocabulary(bins, seq_format)
    boxes = inside_boxes()
    tokens = vocabulary.encode(boxes)
    assert tokens.dtype == torch.int64 and tokens.min() >= 0 and tokens.max() < bins
    # Truncation loses up to a bin of each token; a corner is computed from two tokens.
    bin_width = 1 / (bins - 1) + 1e-6
    assert vocabulary.decode(tokens).dtype == torch.float32
    torch.testing.assert_close(vocabulary.decode(tokens), box_xywh_to_cxcywh(boxes), atol=bin_width, rtol=0)
    corners = box_xywh_to_xyxy(boxes)
    torch.testing.assert_close(vocabulary.decode_to_xyxy(tokens), corners, atol=1.5 * bin_width, rtol=0)


@pytest.mark.parametrize("seq_format", FORMATS)
def test_decoding_and_encoding_returns_the_words(seq_format):
    vocabulary = CoordinateVocabulary(9, seq_format)  # 1 / 8 is exact, so nothing is lost to rounding
    tokens = vocabulary.encode(torch.tensor([[0.25, 0.5, 0.5, 0.25], [0.0, 0.0, 1.0, 1.0]]))
    centers = vocabulary.decode(tokens)
    corner_and_size = torch.cat((centers[:, :2] - centers[:, 2:] / 2, centers[:, 2:]), dim=1)
    assert torch.equal(vocabulary.encode(corner_and_size), tokens)


def test_the_orders_are_those_of_the_paper():
    box = torch.tensor([[0.1, 0.2, 0.4, 0.6]])  # corners (0.1, 0.2, 0.5, 0.8), center (0.3, 0.5)
    assert CoordinateVocabulary(101, "xywh").encode(box + 0.001).tolist() == [[30, 50, 40, 60]]
    assert CoordinateVocabulary(101, "whxy").encode(box + 0.001).tolist() == [[40, 60, 30, 50]]
    assert CoordinateVocabulary(101, "corner").encode(box + 0.001).tolist() == [[10, 20, 50, 80]]


def test_a_partly_outside_box_is_encoded_as_its_visible_part():
    vocabulary = CoordinateVocabulary(101)
    assert torch.equal(
        vocabulary.encode(torch.tensor([[-0.5, 0.5, 1.0, 1.0]])),
        vocabulary.encode(torch.tensor([[0.0, 0.5, 0.5, 0.5]])),
    )


@pytest.mark.parametrize("seq_format", FORMATS)
def test_every_box_makes_words_of_the_vocabulary(seq_format):
    boxes = torch.tensor([[0.5, 0.5, -0.3, -0.2], [2.0, 2.0, 1.0, 1.0], [-3.0, 0.0, 1.0, 9.0], [0.5, 0.5, 0.0, 0.0]])
    tokens = CoordinateVocabulary(50, seq_format).encode(boxes)
    assert tokens.min() >= 0 and tokens.max() <= 49


def test_sequences_of_one_and_of_two_search_frames():
    vocabulary = CoordinateVocabulary(10)
    tokens = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert (vocabulary.end, vocabulary.start, vocabulary.size) == (10, 11, 12)
    assert vocabulary.input_sequence(tokens).tolist() == [[11, 1, 2, 3, 4], [11, 5, 6, 7, 8]]
    assert vocabulary.target_sequence(tokens).tolist() == [[1, 2, 3, 4, 10], [5, 6, 7, 8, 10]]
    frames = tokens.unsqueeze(0)  # (B = 1, S = 2, 4)
    assert vocabulary.input_sequence(frames).tolist() == [[11, 1, 2, 3, 4, 11, 5, 6, 7, 8]]
    assert vocabulary.target_sequence(frames).tolist() == [[1, 2, 3, 4, 10, 5, 6, 7, 8, 10]]
    assert torch.equal(vocabulary.coordinate_tokens(vocabulary.target_sequence(frames)), frames)


def test_special_words_in_a_prediction_become_coordinates():
    vocabulary = CoordinateVocabulary(10)
    assert vocabulary.coordinate_tokens(torch.tensor([[10, 11, 3, 4, 5]])).tolist() == [[[9, 9, 3, 4]]]


def test_loss_weights_spare_the_special_words():
    weights = CoordinateVocabulary(10).loss_weights()
    assert weights.tolist() == pytest.approx([1.0] * 10 + [0.01, 0.01])


def test_the_window_is_symmetric_and_falls_on_the_center_words():
    window = CoordinateVocabulary(11).window()
    assert window.dtype == torch.float64 and window.argmax() == 5
    torch.testing.assert_close(window, window.flip(0))
    assert CoordinateVocabulary(11).window(torch.float32).dtype == torch.float32
    steps = {seq_format: CoordinateVocabulary(11, seq_format).window_steps() for seq_format in FORMATS}
    assert steps == {"xywh": (0, 1), "whxy": (2, 3), "corner": (0, 1)}


def test_an_unknown_format_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"xyhw.*corner, whxy, xywh"):
        CoordinateVocabulary(10, "xyhw")


def test_one_bin_is_refused():
    with pytest.raises(ConfigError, match="BINS"):
        CoordinateVocabulary(1)
