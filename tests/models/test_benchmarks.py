"""The benchmarks of the network run, and check what they are there to check."""

import pytest
import torch

from benchmarks import inference, products


@pytest.fixture(autouse=True)
def keep_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_tokens_are_compared_with_the_plain_version(monkeypatch, capsys):
    flags = ["--configs", "seqtrack_demo", "--batch_sizes", "1", "--versions", "float32", "bfloat16+sdpa"]
    flags += ["--repeats", "1", "--warm_up", "0", "--threads", "1", "--decoder"]
    assert inference.main(flags) == 0
    printed = capsys.readouterr().out
    assert "tokens of all float32 versions equal" in printed
    assert [line.split(" | ")[2] for line in printed.splitlines() if "| seqtrack_demo | 1" in line] == [
        *("plain", "float32", "bfloat16+sdpa"),  # whole frames
        *("plain", "float32", "bfloat16+sdpa"),  # the decoder alone
    ]

    read = inference.read_plainly
    monkeypatch.setattr(inference, "read_plainly", lambda *args: (read(*args)[0] + 1, read(*args)[1]))
    assert inference.main(flags) == 1
    assert "TOKENS DIFFER: seqtrack_demo, batch 1, float32" in capsys.readouterr().out


def test_products_are_timed_one_by_one(capsys):
    assert products.main(["--config", "seqtrack_demo", "--repeats", "1", "--threads", "1"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 1 |")]
    assert len(rows) == 14 and all(float(row.split(" | ")[-1].rstrip(" |")) > 0 for row in rows)
