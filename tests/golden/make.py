"""Makes the files of weights that lie here, with PyTorch 2.15. mae_vit.pth came first, by the same
hand: a network of MAE's form with random parameters, arguments and an epoch beside them."""

import collections
import warnings

import torch

warnings.simplefilter("ignore")
model = torch.load("mae_vit.pth", weights_only=False)["model"]


def strided(tensor):
    """The same values, stored in another order or apart from each other."""
    if tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    if tensor.dim() == 2:
        return tensor.t().contiguous().t()
    apart = torch.full([2 * size + 1 for size in tensor.shape], torch.nan)
    view = apart[tuple(slice(1, None, 2) for _ in tensor.shape)]
    view.copy_(tensor)
    return view


def in_one_storage(tensors):
    """The same values, each a view of one storage with all of them."""
    whole = torch.cat([tensor.flatten() for tensor in tensors.values()])
    parts = whole.split([tensor.numel() for tensor in tensors.values()])
    shapes = (tensor.shape for tensor in tensors.values())
    return {name: part.view(shape) for name, part, shape in zip(tensors, parts, shapes)}


# As a run of torch.compile under data parallelism leaves it, channels last, an optimizer's state
# and a running mean of the weights beside it.
layer = torch.nn.Linear(2, 2)
optimizer = torch.optim.AdamW(layer.parameters())
layer(torch.ones(1, 2)).sum().backward()
optimizer.step()
torch.save(
    {
        "epoch": 3,
        "model": {f"module._orig_mod.{name}": strided(tensor) for name, tensor in model.items()},
        "model_ema": {name: tensor + 1 for name, tensor in model.items()},
        "optimizer": optimizer.state_dict(),
    },
    "strided.pth",
)
# As PyTorch before 1.6 wrote files.
old = collections.OrderedDict((name, strided(tensor)) for name, tensor in model.items())
torch.save({"state_dict": old}, "legacy_strided.pth", _use_new_zipfile_serialization=False)
torch.save(in_one_storage(model), "one_storage.pth")
torch.save({name: tensor.half() for name, tensor in model.items()}, "half.pth")
torch.save({name: tensor.bfloat16() for name, tensor in model.items()}, "bfloat16.pth")

# What can't be taken in.
weight = "blocks.0.attn.qkv.weight"
quantized = torch.quantize_per_tensor(model[weight], 0.01, 0, torch.qint8)
torch.save({**model, weight: quantized}, "quantized.pth")
torch.save({**model, weight: (100 * model[weight]).to(torch.int8)}, "int8.pth")
torch.save({**model, weight: torch.zeros(1).expand(1 << 20, 1 << 10)}, "expanded.pth")


class Hostile:
    def __reduce__(self):
        return print, ("This must never be run.",)


torch.save({"model": model, "hostile": Hostile()}, "hostile.pth")
