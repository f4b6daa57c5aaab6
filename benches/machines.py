#!/usr/bin/env python3
"""Training on several machines, tried on one.

Each machine is a network namespace with an address of its own, so that processes reach each other over a
link that can be cut and nothing else. Of two, losses must be those of one process; when the link of one
of three is cut, all must end. Where torchrun or srun is on PATH (of a cluster that has two nodes), two
processes are started by them, too. Needs root and iproute2.

  python benches/machines.py --trainer target/release/trainer --ingest target/release/ingest
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

SMALL = (
    "--model vit-tiny-16 --patch 8 --width 64 --depths 2 --heads 2 --taps 1,2 --cells 4,8 --decoder-dim 32 "
    "--decoder-heads 2 --batch-size 16 --device cpu --log-every 10 --seed 0"
).split()
SHORT = ["--steps", "40"]
ADDRESS = "10.211.0.1"
MACHINES = ["localmim-a", "localmim-b"]


def quiet(*command):
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


class Network:
    """Two machines and a link."""

    def __enter__(self):
        self.__exit__()
        for name in MACHINES:
            quiet("ip", "netns", "add", name)
        quiet("ip", "link", "add", "lm-a", "netns", MACHINES[0], "type", "veth", "peer", "lm-b", "netns", MACHINES[1])
        for at, (name, link) in enumerate(zip(MACHINES, ["lm-a", "lm-b"])):
            quiet("ip", "-n", name, "address", "add", f"{ADDRESS[:-1]}{at + 1}/24", "dev", link)
            for up in (link, "lo"):
                quiet("ip", "-n", name, "link", "set", up, "up")
        return self

    def __exit__(self, *_):
        for name in MACHINES:
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)

    def start(self, machine, log, command):
        with open(log, "w") as out:
            return subprocess.Popen(["ip", "netns", "exec", MACHINES[machine], *command], stdout=out, stderr=out)

    def cut(self, machine):
        quiet("ip", "-n", MACHINES[machine], "link", "set", ["lm-a", "lm-b"][machine], "down")


def losses(run):
    """Losses by step."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return {line["step"]: line["loss"] for line in map(json.loads, lines)}


def same(work, run, alone):
    """The greatest relative difference of losses to those of one process."""
    found = losses(work / run)
    assert found.keys() == alone.keys(), f"{run}: steps {sorted(found)}, not {sorted(alone)}"
    return max(abs(found[step] - alone[step]) / alone[step] for step in alone)


def two_machines(network, work, trainer, alone):
    started = [
        network.start(rank, work / f"two-{rank}.log", [*trainer, *SHORT, "--out", work / "two", *world(2, rank, 29500)])
        for rank in (0, 1)
    ]
    codes = [process.wait() for process in started]
    assert codes == [0, 0], (work / "two-0.log").read_text()
    print(f"two machines: losses differ by {same(work, 'two', alone):.1e} at most from those of one process")


def cut_link(network, work, trainer):
    """How long the processes of three go on after the link of one is cut."""
    started = [
        network.start(rank == 1, work / f"cut-{rank}.log", [*trainer, "--steps", "100000", "--out", work / "cut", *world(3, rank, 29501)])
        for rank in (0, 1, 2)
    ]
    until = time.monotonic() + 120
    while "step 20" not in (work / "cut-0.log").read_text():
        assert time.monotonic() < until, (work / "cut-0.log").read_text()
        time.sleep(0.1)
    network.cut(1)
    begun = time.monotonic()
    ended = {}
    while len(ended) < 3 and time.monotonic() < begun + 60:
        for rank, process in enumerate(started):
            if rank not in ended and process.poll() is not None:
                ended[rank] = time.monotonic() - begun
        time.sleep(0.05)
    for rank in range(3):
        said = (work / f"cut-{rank}.log").read_text().splitlines()[-1]
        print(f"link of 1 cut: process {rank} ended after {ended.get(rank, float('nan')):.1f} s: {said}")
    assert len(ended) == 3, "a process goes on alone"


def world(count, rank, port):
    return ["--nodes", str(count), "--rank", str(rank), "--rendezvous", f"{ADDRESS}:{port}"]


def launched(work, trainer, name, launcher, alone):
    if not shutil.which(launcher[0]):
        print(f"{name}: not on PATH")
        return
    done = subprocess.run([*launcher, *trainer, *SHORT, "--out", work / name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{name}:\n{done.stdout[-3000:]}")
    print(f"{name}: losses differ by {same(work, name, alone):.1e} at most")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for program in ("trainer", "ingest"):
        parser.add_argument(f"--{program}", type=os.path.abspath, required=True)
    programs = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        quiet(programs.ingest, "sample", "--out", work / "raw", "--pictures", "64")
        quiet(programs.ingest, work / "raw", "--out", work / "shards", "--size", "64", "--cells", "4,8")
        trainer = [programs.trainer, "--shards", work / "shards", *SMALL]
        quiet(*trainer, *SHORT, "--out", work / "alone")
        alone = losses(work / "alone")
        with Network() as network:
            two_machines(network, work, trainer, alone)
            cut_link(network, work, trainer)
        launched(work, trainer, "torchrun", ["torchrun", "--nproc-per-node", "2", "--no-python"], alone)
        launched(work, trainer, "srun", ["srun", "--nodes", "2", "--ntasks", "2"], alone)


if __name__ == "__main__":
    main()
