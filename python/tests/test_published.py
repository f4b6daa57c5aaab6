"""The published PyTorch code (github.com/Haoqing-Wang/LocalMIM) trains from `localmim.Dataset`, with its
HOG layers taken out. LOCALMIM_PUBLISHED names a clone of it; without one this is passed over.
"""

import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import localmim

PUBLISHED = os.environ.get("LOCALMIM_PUBLISHED")
pytestmark = [
    pytest.mark.skipif(
        not PUBLISHED, reason="LOCALMIM_PUBLISHED names no clone of github.com/Haoqing-Wang/LocalMIM"
    ),
    pytest.mark.filterwarnings("ignore"),
]

BATCH, EPOCHS = 8, 2


@pytest.fixture
def published(monkeypatch):
    """Its modules, which are of 2023: names that PyTorch and numpy have dropped are given back."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    monkeypatch.setitem(sys.modules, "torch._six", types.SimpleNamespace(inf=float("inf")))
    monkeypatch.setattr(np, "float", float, raising=False)
    if not torch.cuda.is_available():
        monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)
    monkeypatch.syspath_prepend(str(Path(PUBLISHED) / "ViT"))
    import engine_pretrain
    import models_mim
    from util.misc import NativeScalerWithGradNormCount

    return types.SimpleNamespace(
        torch=torch, models=models_mim, engine=engine_pretrain, scaler=NativeScalerWithGradNormCount
    )


class Samples:
    """What its loop takes for pictures: a batch with its targets, in the order of the heads."""

    def __init__(self, batch):
        self.picture, self.targets = batch["picture"], list(batch["targets"].values())

    def to(self, device, **given):
        self.picture = self.picture.to(device, **given)
        self.targets = [target.to(device, **given) for target in self.targets]
        return self


class Loader:
    """What its loop takes for a loader: (pictures, labels), and how many."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __iter__(self):
        return ((Samples(batch), batch["label"]) for batch in self.dataset)


def small(published):
    """Its network, small enough for a processor."""
    published.torch.manual_seed(0)
    sizes = dict(embed_dim=96, depth=12, num_heads=3, decoder_embed_dim=64, decoder_num_heads=2)
    return published.models.MaskedAutoencoderViT(img_size=224, patch_size=16, **sizes)


def from_shards(model):
    """The same without its HOG layers: targets come with the pictures."""
    del model.hog_enc
    model.hog_enc = range(len(model.scale))
    forward, taken = model.forward, {}

    def with_targets(samples, **given):
        taken["targets"] = samples.targets
        return forward(samples.picture, **given)

    model.HOG = lambda _, head: taken["targets"][head]
    model.forward = with_targets
    return model


def test_stored_targets_give_the_loss_of_its_hog_layers(published, expected):
    torch = published.torch
    batch = next(iter(localmim.Dataset(expected, BATCH, torch=True, flip=True)))
    model = small(published)

    def loss(model, samples):
        torch.manual_seed(1)
        with torch.no_grad():
            return model(samples, mask_ratio=0.75).item()

    # In one colour its gradients are what rounding left, made as long as any other's; ours are none.
    stored = [target.reshape(*target.shape[:2], 3, -1) for target in Samples(batch).targets]
    seen = [target.norm(dim=-1, keepdim=True) > 0 for target in stored]
    computed = [model.HOG(batch["picture"], head) for head in range(len(stored))]
    computed = [made.reshape(of.shape) * where for made, of, where in zip(computed, stored, seen)]
    for made, of in zip(computed, stored):
        # Stored values are the nearest of 256 levels.
        assert (made - of).abs().mean().item() < 1 / 255
    batch["targets"] = {head: made.flatten(2) for head, made in enumerate(computed)}
    model = from_shards(model)
    theirs = loss(model, Samples(batch))
    batch["targets"] = {head: of.flatten(2) for head, of in enumerate(stored)}
    assert abs(loss(model, Samples(batch)) - theirs) < 1e-2 * theirs


def test_it_trains_by_its_own_loop(published, expected):
    torch = published.torch
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = from_shards(small(published)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0, betas=(0.9, 0.95))
    args = types.SimpleNamespace(
        accum_iter=1, mask_ratio=0.75, lr=3e-4, min_lr=0.0, warmup_epochs=1, epochs=EPOCHS
    )
    loader = Loader(localmim.Dataset(expected, BATCH, torch=True, flip=True))
    assert len(loader) > 2
    losses = []
    for epoch in range(EPOCHS):
        stats = published.engine.train_one_epoch(
            model, loader, optimizer, device, epoch, published.scaler(), args=args
        )
        losses.append(stats["loss"])
    assert loader.dataset.epoch == EPOCHS
    assert losses[-1] < 0.95 * losses[0], losses
