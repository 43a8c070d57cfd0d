"""TRAIN.COMPILE hands the network to torch.compile and changes neither names nor numbers."""

import torch

from tests.train.world import make_trainer, tiny_config


def test_compiled_network_trains_and_is_saved_under_the_same_names(tmp_path, monkeypatch):
    plain = make_trainer(tiny_config(TRAIN__EPOCH=1), tmp_path / "plain")
    plain.train()
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: compiled.append(function) or function)
    trainer = make_trainer(tiny_config(TRAIN__EPOCH=1, TRAIN__COMPILE=True), tmp_path / "compiled")
    assert len(compiled) == 1 and trainer.network._compiled_call_impl is not None
    trainer.train()
    first, second = plain.network.state_dict(), trainer.network.state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    trainer.resume(plain.store.latest())  # the switch may change on the way
