"""Batches: which rows, in which order, and what they hold."""

import multiprocessing
import os
import pickle
import types
from pathlib import Path

import numpy as np
import pytest

import localmim
from conftest import read_set


def ids(dataset):
    return [batch["id"].tolist() for batch in dataset]


def test_every_row_comes_once_and_epochs_differ(expected):
    dataset = localmim.Dataset(expected, 10, target="none", normalised=False, even=False)
    first, second = ids(dataset), ids(dataset)
    everything = sorted(read_set(expected)["id"].to_pylist())
    assert sorted(sum(first, [])) == everything == sorted(sum(second, []))
    assert first != second and first[0] != everything[:10]
    again = localmim.Dataset(expected, 10, target="none", normalised=False, even=False)
    assert ids(again) == first


@pytest.mark.parametrize("world", [2, 3, 7, 16])
def test_parts_have_each_row_once_however_many_they_are(expected, world):
    given = dict(target="none", normalised=False, world=world)
    everything = sorted(read_set(expected)["id"].to_pylist())
    read = [sum(ids(localmim.Dataset(expected, 4, rank=at, even=False, **given)), []) for at in range(world)]
    assert sorted(sum(read, [])) == everything
    assert max(map(len, read)) - min(map(len, read)) <= 1
    # All whole and as many in each, of which what is left over differs from epoch to epoch.
    even = [localmim.Dataset(expected, 4, rank=at, **given) for at in range(world)]
    batches = len(everything) // world // 4
    assert {len(part) for part in even} == {batches} and batches > 0
    epochs = [[ids(part) for part in even] for _ in range(2)]
    for epoch in epochs:
        assert all(len(part) == batches and {len(b) for b in part} == {4} for part in epoch)
        rows = sum((sum(part, []) for part in epoch), [])
        assert len(set(rows)) == len(rows)
    assert epochs[0] != epochs[1]


def test_a_part_goes_on_with_its_very_batches(expected):
    given = dict(target="none", normalised=False, rank=2, world=5)
    everything = ids(localmim.Dataset(expected, 3, **given))
    for stop in range(len(everything)):
        part = localmim.Dataset(expected, 3, **given)
        part.load_state_dict({**part.state_dict(), "batches": stop})
        assert ids(part) == everything[stop:]


def test_a_state_goes_on_with_the_very_batches(expected):
    given = dict(target="none", normalised=False, flip=True)
    whole = localmim.Dataset(expected, 8, **given)
    everything = [(b["id"].tolist(), b["mirrored"].tolist()) for b in whole]
    for stop in (0, 1, len(everything) - 1):
        first = localmim.Dataset(expected, 8, **given)
        batches = iter(first)
        for _ in range(stop):
            next(batches)
        state = pickle.loads(pickle.dumps(first)).state_dict()
        second = localmim.Dataset(expected, 8, **given)
        second.load_state_dict(state)
        rest = [(b["id"].tolist(), b["mirrored"].tolist()) for b in second]
        assert rest == everything[stop:]
        assert second.epoch == 1
    other = localmim.Dataset(expected, 9, **given)
    with pytest.raises(localmim.InputError, match="batch_size"):
        other.load_state_dict(state)


def stored(expected):
    return {row["id"]: row for row in read_set(expected).to_pylist()}


def view(row):
    planes = np.frombuffer(row["picture_filtered"], np.uint8).reshape(3, 224, 224)
    green, red, blue = np.cumsum(planes, axis=1, dtype=np.uint8)
    return np.stack([red + green, green, blue + green], axis=-1)


def normalised(picture):
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return (picture.astype(np.float32) / np.float32(255) - mean) / std


def test_targets_are_those_of_the_published_code(expected):
    rows = stored(expected)
    hog = next(iter(localmim.Dataset(expected, 6, flip=True)))
    pixel = next(iter(localmim.Dataset(expected, 6, target="pixel", cells=[16], flip=True)))
    assert hog["id"].tolist() == pixel["id"].tolist()
    assert hog["mirrored"].tolist() == pixel["mirrored"].tolist()
    assert any(hog["mirrored"]) and not all(hog["mirrored"])
    for at, number in enumerate(hog["id"].tolist()):
        picture = view(rows[number])
        if hog["mirrored"][at]:
            picture = picture[:, ::-1]
        x = normalised(picture)
        assert np.abs(hog["picture"][at] - x.transpose(2, 0, 1)).max() < 1e-6
        # The HOG of what the network sees, but for what a byte costs.
        for cell, exact in zip((4, 8, 16, 32), localmim.hog(picture)):
            found = hog["targets"][cell][at]
            assert np.abs(found - exact.reshape(found.shape)).max() < 3 / 255
        # MAE's patches, of which each is normalised.
        patches = x.reshape(14, 16, 14, 16, 3).swapaxes(1, 2).reshape(196, -1)
        mean, var = patches.mean(-1, keepdims=True), patches.var(-1, ddof=1, keepdims=True)
        found = pixel["targets"][16][at]
        assert np.abs(found - (patches - mean) / np.sqrt(var + 1e-6)).max() < 2e-2


def test_labels_are_classes(expected):
    rows = stored(expected)
    dataset = localmim.Dataset(expected, 5, target="none")
    batch = next(iter(dataset))
    for number, label in zip(batch["id"].tolist(), batch["label"].tolist()):
        assert rows[number]["label"] == (None if label < 0 else dataset.classes[label])


def test_damage_is_told_by_name(expected, tmp_path):
    import shutil

    shutil.copytree(expected, tmp_path / "set")
    shard = sorted((tmp_path / "set").glob("shard-*.parquet"))[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    dataset = localmim.Dataset(tmp_path / "set", 4, shuffle=False, even=False)
    with pytest.raises(localmim.SetError, match=shard.name):
        list(dataset)
    assert localmim.verify(str(tmp_path / "set"))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_of_torch_part_the_rows(expected, workers):
    torch = pytest.importorskip("torch")
    dataset = localmim.Dataset(expected, 4, target="none", torch=True, even=False)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers, timeout=60)
    everything = sorted(read_set(expected)["id"].to_pylist())
    epochs = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        epochs.append(sum((batch["id"].tolist() for batch in loader), []))
        assert sorted(epochs[-1]) == everything
    assert epochs[0] != epochs[1]


def in_workers(dataset, workers, monkeypatch):
    """The ids that forked workers read, by torch's protocol: each knows its number and how many there are."""
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()

    def work(number):
        info = types.SimpleNamespace(id=number, num_workers=workers)
        monkeypatch.setattr("localmim._dataset.get_worker_info", lambda: info)
        try:
            queue.put(sum(ids(dataset), []))
        except localmim.Error as error:
            queue.put(error)

    processes = [fork.Process(target=work, args=(number,), daemon=True) for number in range(workers)]
    for process in processes:
        process.start()
    try:
        return [queue.get(timeout=60) for _ in processes]
    finally:
        for process in processes:
            process.kill()
            process.join()


def test_a_forked_process_looks_at_a_set_as_its_parent_did(expected):
    """It has none of the threads that its parent looked with."""
    fork = multiprocessing.get_context("fork")
    seen = fork.Queue()

    def look():
        return localmim.verify(expected), localmim.preview(expected, 2)._repr_png_()

    here = look()
    process = fork.Process(target=lambda: seen.put(look()), daemon=True)
    process.start()
    try:
        assert seen.get(timeout=60) == here
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("workers", [1, 2])
def test_forked_workers_read_what_their_parent_had_begun_to(expected, workers, monkeypatch):
    dataset = localmim.Dataset(expected, 4, target="none", normalised=False, even=False)
    everything = sorted(read_set(expected)["id"].to_pylist())
    # The parent's threads are under way.
    begun = iter(dataset)
    next(begun)
    assert dataset.epoch == 0
    dataset.set_epoch(1)
    epochs = [sum(in_workers(dataset, workers, monkeypatch), [])]
    dataset.set_epoch(2)
    epochs.append(sum(in_workers(dataset, workers, monkeypatch), []))
    assert sorted(epochs[0]) == everything == sorted(epochs[1])
    assert epochs[0] != epochs[1]


def test_a_state_within_an_epoch_is_of_as_many_parts(expected, monkeypatch):
    given = dict(target="none", normalised=False)
    one = localmim.Dataset(expected, 4, **given)
    next(iter(one))
    state = one.state_dict()
    two = localmim.Dataset(expected, 4, rank=1, world=2, **given)
    with pytest.raises(localmim.InputError, match="of 1 batches in each of 1 part .*here are 2"):
        two.load_state_dict(state)
    # Nor do workers go on with what was done without them.
    for told in in_workers(one, 2, monkeypatch):
        assert "can't go on in 2" in str(told)
    list(one)
    two.load_state_dict(one.state_dict())
    assert two.epoch == 1 and len(ids(two)) == len(two)


def test_batches_past_an_epochs_end_are_none(expected):
    dataset = localmim.Dataset(expected, 4, target="none", normalised=False)
    for done in (len(dataset), 2**63 - 1):
        dataset.load_state_dict({**dataset.state_dict(), "epoch": 0, "batches": done})
        assert ids(dataset) == [] and dataset.epoch == 1


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc to tell what memory is held")
def test_no_batch_is_held_between_epochs(expected):
    def held():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    # Lists of floats so large that what is freed goes back to the system.
    dataset = localmim.Dataset(expected, 100, threads=1)
    for _ in localmim.Dataset(expected, 4, threads=1):
        pass
    before, most = held(), 0
    for batch in dataset:
        most = max(most, held())
        size = batch["picture"].nbytes + sum(target.nbytes for target in batch["targets"].values())
        del batch
    assert most - before > size / 2
    assert held() - before < size / 2


@pytest.mark.parametrize(
    "given, told",
    [
        ({"batch_size": 0}, "batch_size must be 1 or more, not 0"),
        ({"batch_size": "x"}, "batch_size must be a whole number"),
        ({"rank": 5, "world": 2}, "rank is 5, and of world 2 there are ranks 0 to 1"),
        ({"world": 0}, "world must be 1 or more"),
        ({"seed": -1}, "seed must be 0 to"),
        ({"threads": 10**6}, "threads must be 0 to 1024"),
        ({"flip": "x"}, "flip must be True or False, not 'x'"),
        ({"even": 2}, "even must be True or False, not 2"),
        ({"cells": 8}, "cells must be a list of whole numbers, not 8"),
        ({"cells": [8, "x"]}, "cells must be a whole number, not 'x'"),
        ({"target": 3}, "target is `hog`, `pixel` or `none`, not `3`"),
        ({"batch_size": True}, "batch_size must be a whole number, not True"),
    ],
)
def test_what_can_not_be_is_told_by_name(expected, given, told):
    with pytest.raises(localmim.InputError, match=told):
        localmim.Dataset(expected, **{"batch_size": 4, **given})


def test_a_launchers_variable_is_told_by_name(expected, monkeypatch):
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(localmim.InputError, match="RANK=first"):
        localmim.Dataset(expected, 4)


def test_parts_without_a_batch_are_told(expected):
    rows = localmim.Dataset(expected, 1).rows
    for given in ({"batch_size": rows + 1}, {"batch_size": 1, "rank": 0, "world": rows + 1}):
        with pytest.raises(localmim.InputError, match=f"its {rows} rows make no whole batch"):
            list(localmim.Dataset(expected, **given))
    # Who takes what is left over may get nothing.
    assert sum(len(b["id"]) for b in localmim.Dataset(expected, rows + 1, even=False)) == rows


def test_a_state_that_is_none_changes_nothing(expected):
    dataset = localmim.Dataset(expected, 4, target="none")
    state = dataset.state_dict()
    wrong = [None, {}, {**state, "epoch": -1}, {**state, "batches": "x"}, {**state, "seed": 7}]
    for each in wrong:
        with pytest.raises(localmim.InputError, match="state"):
            dataset.load_state_dict(each)
    assert dataset.state_dict() == state and next(iter(dataset))
