#!/usr/bin/env python3
"""Times training steps on a processor: the trainer's beside those of the published PyTorch code.

    benches/step.py --code LocalMIM --shards SHARDS --python VENV/bin/python

LocalMIM is a clone of github.com/Haoqing-Wang/LocalMIM; it is imported from there, and nothing of it
is part of this project. SHARDS is what `ingest` makes of any few hundred photos. VENV is a virtual
environment with what that code needs:

    python3 -m venv VENV
    VENV/bin/pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu
    VENV/bin/pip install timm numpy

The trainer is target/release/trainer, or what --trainer names.

Both sides take turns, round after round, so that what else the machine does falls on both. A turn is
a few steps after one that isn't counted; it gives the median of their seconds. PyTorch's step is the
one of the published loop: forward, loss, backward, the gradients' norm, AdamW; in f32, with random
pictures that are there already, and with targets either in the loop, as published, or given. The
trainer's is what it logs, reading, masks and mirroring included. Printed are medians over rounds, and
medians of the rounds' ratios to PyTorch with targets given.

PyTorch's threads wait for each other after every operation, busily: where the machine has other work,
that costs them far more than the trainer's, which meet once a step. There OMP_WAIT_POLICY=PASSIVE in
the environment is fairer to it, and `--threads 1 --processor-time` tells most: how long one core
works for a step, of the trainer all that it does for it, its reading too.
"""

import argparse
import json
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

# Views a batch, and the published class with the sizes that our model of that name has.
VIT = {"patch_size": 16, "depth": 12, "decoder_embed_dim": 256, "decoder_num_heads": 8}
SWIN = {"decoder_embed_dim": 256, "decoder_num_heads": 8, "drop_path_rate": 0.0}
MODELS = {
    "vit-tiny-16": (32, VIT | {"embed_dim": 192, "num_heads": 3}),
    "vit-small-16": (32, VIT | {"embed_dim": 384, "num_heads": 6}),
    "vit-base-16": (16, VIT | {"embed_dim": 768, "num_heads": 12}),
    "swin-tiny-7": (16, SWIN),
}
# What is timed: a name, and how it is had.
COLUMNS = {
    "PyTorch, targets in the loop": ("torch", "loop"),
    "PyTorch f32, targets given": ("torch", "given"),
    "f32": ("trainer", "f32"),
    "bf16": ("trainer", "bf16"),
}
BASE = "PyTorch f32, targets given"


def serve(code, model, threads):
    """PyTorch's side: takes `loop N` or `given N` line by line, and answers with seconds a step."""
    import functools
    import warnings

    # What imports print is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    import numpy
    import torch

    views, sizes = MODELS[model]
    numpy.float = float  # Gone from NumPy since that code was published.
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    swin = model.startswith("swin")
    sys.path.insert(0, str(pathlib.Path(code) / ("Swin" if swin else "ViT")))
    import models_mim

    kind = models_mim.MaskedAutoencoderSwin if swin else models_mim.MaskedAutoencoderViT
    norm = functools.partial(torch.nn.LayerNorm, eps=1e-6)
    network = kind(norm_layer=norm, **sizes).train()
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": 0.05},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95))
    pictures = torch.randn(views, 3, 224, 224)
    made = network.HOG
    with torch.no_grad():
        ready = [made(pictures, tap) for tap in range(4)]
    given = lambda _, tap: ready[tap]

    def step():
        loss = network(pictures)
        loss = loss[0] if swin else loss
        loss.item()
        loss.backward()
        torch.nn.utils.get_total_norm([p.grad for p in trained])
        optimizer.step()
        optimizer.zero_grad()

    about = {"parameters": sum(p.numel() for p in trained), "torch": torch.__version__}
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        mode, steps = line.split()
        network.HOG = made if mode == "loop" else given
        times = []
        for _ in range(int(steps) + 1):
            begun = (time.perf_counter(), time.process_time())
            step()
            times.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
        clock, processor = zip(*times[1:])
        print(json.dumps([clock, processor]), file=answers, flush=True)


class Torch:
    """The published code, in a process of its own that waits between its turns."""

    def __init__(self, options, model):
        command = [options.python, __file__, "--code", options.code, "--serve", model]
        command += ["--threads", str(options.threads)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        about = self.read()
        self.parameters, self.version = about["parameters"], about["torch"]
        self.processor_time = options.processor_time

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("The published code did not run with this Python; see above.")
        return json.loads(line)

    def turn(self, mode, steps):
        print(mode, steps, file=self.process.stdin, flush=True)
        clock, processor = self.read()
        return processor if self.processor_time else clock

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Trainer:
    """Our side: a run of a few steps for each turn."""

    def __init__(self, options, model):
        self.options, self.model, self.parameters = options, model, None
        # Processor's time of a run of one step: what is not to be counted.
        self.start = {}

    def turn(self, precision, steps):
        if not self.options.processor_time:
            return self.run(precision, steps + 1)[0][1:]
        if precision not in self.start:
            self.start[precision] = self.run(precision, 1)[1]
        return [(self.run(precision, steps + 1)[1] - self.start[precision]) / steps]

    def run(self, precision, steps):
        """Seconds of each step, and the processor's time of all."""
        views = MODELS[self.model][0]
        with tempfile.TemporaryDirectory() as out:
            command = [self.options.trainer, "--shards", self.options.shards, "--out", out + "/run"]
            command += ["--device", "cpu", "--model", self.model, "--batch-size", str(views)]
            command += ["--precision", precision, "--steps", "1000", "--log-every", "1"]
            command += ["--max-steps", str(steps)]
            threads = {"RAYON_NUM_THREADS": str(self.options.threads)}
            begun = processor_time()
            done = subprocess.run(
                command, env=os.environ | threads, text=True, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            processor = processor_time() - begun
            if done.returncode:
                sys.exit(f"{' '.join(command)}\n{done.stdout}")
            millions = re.search(r"with ([\d.]+) M parameters", done.stdout)
            self.parameters = millions and float(millions[1])
            lines = pathlib.Path(out, "run", "metrics.jsonl").read_text().splitlines()
        rates = [line["views_per_s"] for line in map(json.loads, lines) if "views_per_s" in line]
        return [views / rate for rate in rates], processor


def processor_time():
    """Of children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def measure(options, model):
    """Seconds a step by column, a median for each round."""
    torch, trainer = Torch(options, model), Trainer(options, model)
    sides = {"torch": torch, "trainer": trainer}
    rounds = {column: [] for column in COLUMNS}
    for turn in range(options.rounds):
        for column, (side, mode) in COLUMNS.items():
            seconds = sides[side].turn(mode, options.steps)
            rounds[column].append(statistics.median(seconds))
            print(f"# {model} {turn} {column}:", *(f"{s:.2f}" for s in seconds), file=sys.stderr)
    torch.end()
    print(
        f"# {model}: {torch.parameters / 1e6:.1f} M parameters of PyTorch {torch.version}'s, "
        f"{trainer.parameters} M of ours",
        file=sys.stderr,
    )
    return rounds


def row(model, rounds):
    views = MODELS[model][0]
    cells = [f"{model}, {views} views"]
    for column, seconds in rounds.items():
        ratio = statistics.median(s / base for s, base in zip(seconds, rounds[BASE]))
        of_base = "" if column == BASE else f" ({ratio:.2f})"
        cells.append(f"{statistics.median(seconds):.2f}{of_base}")
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    release = pathlib.Path(__file__).parent.parent / "target" / "release" / "trainer"
    parser.add_argument("--code", required=True, help="folder of the published code")
    parser.add_argument("--shards", help="what ingest made, of 224 pixels with HOG")
    parser.add_argument("--trainer", default=str(release), help="the trainer's program")
    parser.add_argument("--python", default=sys.executable, help="a Python with torch and timm")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="steps of a turn that are counted")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of both sides")
    parser.add_argument(
        "--processor-time", action="store_true", help="the processor's time, not the clock's"
    )
    parser.add_argument("--serve", choices=MODELS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.code, options.serve, options.threads)
    if not options.shards:
        parser.error("--shards is needed")
    print("| |", " | ".join(COLUMNS), "|")
    print("| --- |" + " ---: |" * len(COLUMNS), flush=True)
    for model in options.models:
        print(row(model, measure(options, model)), flush=True)


if __name__ == "__main__":
    main()
