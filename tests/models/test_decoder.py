import pytest
import torch
from torch import nn

from lib.models.seqtrack.decoder import Attention, CausalDecoder


def tiny_decoder(pre_norm=False, dropout=0.0):
    torch.manual_seed(0)
    decoder = CausalDecoder(
        vocab_size=12,
        dim=16,
        num_layers=3,
        num_heads=2,
        ffn_dim=24,
        max_length=5,
        dropout=dropout,
        pre_norm=pre_norm,
    )
    return decoder.double().eval()


def tiny_memory(decoder):
    generator = torch.Generator().manual_seed(1)
    memory = torch.randn(2, 7, 16, generator=generator, dtype=torch.float64)
    positions = torch.randn(1, 7, 16, generator=generator, dtype=torch.float64)
    return decoder.project_memory(memory, positions)


TOKENS = torch.tensor([[11, 3, 4, 5, 6], [11, 0, 9, 2, 2]])


def test_attention_is_that_of_pytorch():
    torch.manual_seed(0)
    reference = nn.MultiheadAttention(16, 4, batch_first=True).double()
    attention = Attention(16, 4).double()
    attention.load_state_dict(reference.state_dict())
    assert list(attention.state_dict()) == list(reference.state_dict())
    query, key, value = (torch.randn(2, n, 16, dtype=torch.float64) for n in (3, 5, 5))
    expected, _ = reference(query, key, value)
    torch.testing.assert_close(attention.attend(attention.query(query), attention.key_value(key, value)), expected)


@pytest.mark.parametrize("pre_norm", [False, True])
def test_the_decoder_is_causal(pre_norm):
    decoder = tiny_decoder(pre_norm)
    memory = tiny_memory(decoder)
    states = decoder(TOKENS, memory)
    for place in range(1, 5):
        changed = TOKENS.clone()
        changed[:, place] = (changed[:, place] + 1) % 10
        difference = (decoder(changed, memory) - states).abs().amax(dim=2)
        assert (difference[:, :place] == 0).all()
        assert (difference[:, place:] > 1e-9).all()


@pytest.mark.parametrize("pre_norm", [False, True])
def test_cached_steps_give_the_states_of_one_pass(pre_norm):
    decoder = tiny_decoder(pre_norm)
    memory = tiny_memory(decoder)
    cache, states = None, []
    for index in range(5):
        state, cache = decoder.step(TOKENS[:, index : index + 1], index, memory, cache)
        states.append(state)
    torch.testing.assert_close(torch.cat(states, dim=1), decoder(TOKENS, memory), atol=1e-12, rtol=1e-12)


def test_positions_reach_queries_and_keys_but_no_values():
    decoder = tiny_decoder()
    memory = torch.randn(1, 1, 16, dtype=torch.float64)  # one key: attention must return its value, wherever it is
    there, elsewhere = torch.zeros(1, 1, 16, dtype=torch.float64), torch.ones(1, 1, 16, dtype=torch.float64)
    states = decoder(TOKENS[:1], decoder.project_memory(memory, there))
    torch.testing.assert_close(decoder(TOKENS[:1], decoder.project_memory(memory, elsewhere)), states)


def test_the_same_word_at_another_place_has_another_state():
    decoder = tiny_decoder()
    states = decoder(torch.full((2, 5), 3), tiny_memory(decoder))
    assert (states[:, 1] - states[:, 2]).abs().max() > 1e-6


def test_dropout_acts_in_training_only():
    decoder, plain = tiny_decoder(dropout=0.5), tiny_decoder()
    memory = tiny_memory(decoder)
    torch.testing.assert_close(decoder(TOKENS, memory), plain(TOKENS, memory))
    decoder.train()
    assert not torch.allclose(decoder(TOKENS, memory), plain(TOKENS, memory))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_attention_to_a_single_key_is_its_value(dtype):
    """The first step of generation leaves out a softmax of one score; not a bit may differ."""
    torch.manual_seed(0)
    attention = Attention(16, 2).to(dtype).eval()
    query, memory = attention.query_key_value(torch.randn(3, 1, 16).to(dtype), attention.in_proj_bias[None])
    mixed = torch.nn.functional.scaled_dot_product_attention(query, memory.key, memory.value, is_causal=True)
    expected = attention.out_proj(mixed.transpose(1, 2).flatten(2))
    assert torch.equal(attention.attend(query, memory, causal=True), expected)
