"""Makes starts.json: what parameters of the methods' published code start with, by name.

    python starts.py LocalMIM mae SimMIM GreenMIM SlowFast > starts.json

with the folders of Haoqing-Wang/LocalMIM, facebookresearch/mae, microsoft/SimMIM, LayneH/GreenMIM
and facebookresearch/SlowFast. Their constructors are run as they are, at small sizes, from several
seeds; of each parameter is kept how many values that gave, their mean, their deviation, the least
and the greatest. Needs PyTorch, timm, yacs, fvcore and pytorchvideo.
"""

import json
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy
import timm.models.vision_transformer as timm_vit
import torch

SEEDS = 8

# What has gone since that code was written, and what it imports and does not need here.
numpy.float = numpy.float64
plain_block = timm_vit.Block
timm_vit.Block = lambda *args, qk_scale=None, **kwargs: plain_block(*args, **kwargs)
unneeded = ["modeling.green_twins_models", "detectron2", "detectron2.layers", "matplotlib",
            "pytorchvideo.layers.distributed", "slowfast.models.contrastive",
            "slowfast.models.ptv_model_builder", "slowfast.utils.misc"]
for name in unneeded:
    sys.modules[name] = MagicMock()

norm = partial(torch.nn.LayerNorm, eps=1e-6)


def loaded(folder, module):
    """A module of a project, whose own modules are then forgotten: others have some of the same
    names."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        __import__(module)
        return sys.modules[module]
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            origin = getattr(sys.modules[name], "__file__", None) or ""
            if origin.startswith(str(folder)):
                del sys.modules[name]


vit = {"patch": 8, "width": 48, "heads": [4]}
swin = {"patch": 4, "width": 32, "depths": [2, 2, 2, 2], "heads": [1, 2, 4, 8], "model": "swin-tiny-7"}
swin_sizes = {"embed_dim": 32, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}


def localmim_vit(folder):
    make = loaded(folder / "ViT", "models_mim").MaskedAutoencoderViT
    options = {"recipe": "localmim-hog", **vit, "depths": [7], "decoder-dim": 32, "decoder-heads": 4}
    return options, 64, lambda: make(
        img_size=64, patch_size=8, embed_dim=48, depth=7, num_heads=4, decoder_embed_dim=32,
        decoder_num_heads=4, norm_layer=norm)


def localmim_swin(folder):
    make = loaded(folder / "Swin", "models_mim").MaskedAutoencoderSwin
    options = {"recipe": "localmim-hog", **swin, "decoder-dim": 64, "decoder-heads": 4}
    return options, 224, lambda: make(
        **swin_sizes, window_size=7, decoder_embed_dim=64, decoder_num_heads=4, norm_layer=norm)


def mae(folder):
    make = loaded(folder, "models_mae").MaskedAutoencoderViT
    options = {"recipe": "mae", **vit, "depths": [2]}
    options |= {"decoder-dim": 32, "decoder-depth": 2, "decoder-heads": 4}
    return options, 64, lambda: make(
        img_size=64, patch_size=8, embed_dim=48, depth=2, num_heads=4, decoder_embed_dim=32,
        decoder_depth=2, decoder_num_heads=4, norm_layer=norm)


def simmim(folder):
    build = loaded(folder, "models.simmim").build_simmim
    sizes = SimpleNamespace(
        PATCH_SIZE=4, IN_CHANS=3, EMBED_DIM=32, DEPTHS=swin["depths"], NUM_HEADS=swin["heads"],
        WINDOW_SIZE=6, MLP_RATIO=4.0, QKV_BIAS=True, QK_SCALE=None, APE=False, PATCH_NORM=True)
    config = SimpleNamespace(
        DATA=SimpleNamespace(IMG_SIZE=192),
        MODEL=SimpleNamespace(TYPE="swin", SWIN=sizes, DROP_RATE=0.0, DROP_PATH_RATE=0.0),
        TRAIN=SimpleNamespace(USE_CHECKPOINT=False))
    return {"recipe": "simmim", **swin}, 192, lambda: build(config)


def greenmim(folder):
    models = loaded(folder, "modeling.model_factory")
    options = {"recipe": "greenmim", **swin}
    options |= {"decoder-dim": 64, "decoder-depth": 1, "decoder-heads": 4}
    return options, 224, lambda: models.MaskedAutoencoder(
        models.SwinTransformer(**swin_sizes, window_size=7, norm_layer=norm),
        embed_dim=256, patch_size=32, decoder_num_patches=49, decoder_embed_dim=64,
        decoder_depth=1, decoder_num_heads=4, norm_layer=norm)


def maskfeat(folder):
    from importlib import import_module

    sys.path.insert(0, str(folder))
    config = import_module("slowfast.config.defaults").get_cfg()
    config.merge_from_file(str(folder / "configs/masked_ssl/in1k_VIT_B_MaskFeat_PT.yaml"))
    config.merge_from_list([
        "DATA.TRAIN_CROP_SIZE", 64, "DATA.TEST_CROP_SIZE", 64, "MVIT.EMBED_DIM", 48,
        "MVIT.NUM_HEADS", 4, "MVIT.DEPTH", 2, "MASK.PRETRAIN_DEPTH", [1]])
    make = import_module("slowfast.models.masked").MaskMViT
    options = {"recipe": "maskfeat", **vit, "patch": 16, "depths": [2]}
    return options, 64, lambda: make(config)


def moments(make):
    """Of each parameter that is trained: count, mean, deviation, least, greatest."""
    values = {}
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        for name, parameter in make().named_parameters():
            if parameter.requires_grad:
                values.setdefault(name, []).append(parameter.detach().flatten().double())
    told = {}
    for name, seeds in values.items():
        seeds = torch.cat(seeds)
        count = len(seeds)
        # One in millions of trunc_normal_'s values rounds to infinity and is cut to its bound.
        seeds = seeds[seeds.abs() < 2.0]
        kept = [seeds.mean(), seeds.std(correction=0), seeds.min(), seeds.max()]
        told[name] = [count, *(float(f"{number.item():.6g}") for number in kept)]
    return told


def main():
    localmim, *rest = (Path(folder).resolve() for folder in sys.argv[1:])
    mae_folder, simmim_folder, greenmim_folder, slowfast = rest
    methods = [localmim_vit(localmim), localmim_swin(localmim), mae(mae_folder),
               simmim(simmim_folder), greenmim(greenmim_folder), maskfeat(slowfast)]
    print("[")
    for at, (options, size, make) in enumerate(methods):
        print(f'{{"options": {json.dumps(options)}, "size": {size}, "moments": {{')
        lines = [f'"{name}": {json.dumps(told)}' for name, told in moments(make).items()]
        print(",\n".join(lines))
        print("}}" + ("," if at + 1 < len(methods) else ""))
    print("]")


main()
