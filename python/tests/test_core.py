"""One record batch, settings, errors, and a commit."""

import subprocess
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import localmim
from conftest import INGEST, SHARD_PICTURES, manifest, read_set, run
from localmim import _errors, _progress, _shuffle
from localmim._columns import Columns


def table(pictures):
    files = sorted(path for path in pictures.rglob("*") if path.is_file())
    keys = [str(path) for path in files]
    return pa.table({"path": keys, "content": [path.read_bytes() for path in files]})


def test_rows_and_rejects_are_those_of_ingest(pictures, expected):
    rows, rejects = localmim.rows(table(pictures).to_batches()[0].slice(0, 400), root=pictures)
    found = pa.Table.from_batches([rows])
    wanted = {row["source"]: row for row in read_set(expected).drop_columns(["id"]).to_pylist()}
    for row in found.drop_columns(["id"]).to_pylist():
        # Which of several copies is kept, only the whole set tells.
        if row["source"] in wanted:
            assert row == wanted[row["source"]]
    names = set(found["source"].to_pylist()) | set(rejects["source"].to_pylist())
    assert len(names) == min(400, len(table(pictures)))
    if "broken.jpg" in names:
        assert "broken.jpg" in rejects["source"].to_pylist()
    assert found.schema.remove_metadata() == read_set(expected).schema.remove_metadata()


def test_numbers_follow_from_the_first():
    one, _ = localmim.rows(picture_table(2), first=7, views=3, size=32, cells=[8, 16])
    assert one["id"].to_pylist() == list(range(21, 27))
    assert one["view"].to_pylist() == [0, 1, 2] * 2


def picture_table(count):
    """Pictures that differ, as PNG made by the program itself."""
    rng = np.random.default_rng(0)
    bodies = [bmp(rng.integers(0, 256, (40, 40, 3), np.uint8)) for _ in range(count)]
    return pa.table({"key": [f"a/{i}.bmp" for i in range(count)], "bytes": bodies})


def bmp(pixels):
    height, width, _ = pixels.shape
    data = pixels[::-1, :, ::-1].tobytes()
    header = b"BM" + (54 + len(data)).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    info = (40).to_bytes(4, "little") + width.to_bytes(4, "little") + height.to_bytes(4, "little")
    return header + info + b"\x01\x00\x18\x00" + bytes(24) + data


def test_settings_are_held_against_their_ranges():
    for settings, told in [
        ({"views": 0}, "--views"),
        ({"sizes": 3}, "`sizes`"),
        ({"cells": [5]}, "--cells"),
        ({"near_duplicates": 3}, "near"),
    ]:
        with pytest.raises(localmim.InputError, match=told):
            localmim.rows(picture_table(1), **settings)


def test_errors_are_told_by_kind(tmp_path):
    assert issubclass(localmim.InputError, localmim.Error)
    with pytest.raises(localmim.SetError, match="ingest"):
        localmim.commit(tmp_path.as_posix())
    with pytest.raises(localmim.InputError, match="column"):
        localmim.rows(pa.table({"a": [1]}))
    with pytest.raises(localmim.InputError, match="below"):
        localmim.rows(picture_table(1), root="b")


def ingest_here(table, out, **settings):
    """What the engines do, in this process."""
    columns = Columns.of(table.schema.names, root=settings.pop("root", None))
    job = _shuffle.Job.of(out, settings, columns)
    marks = pa.Table.from_batches([job.mark(table)])
    keys = lambda orders: marks.filter(pa.compute.is_in(marks["order"], pa.array(orders)))["key"].to_pylist()
    job, begun = job.begin(marks["order"].to_numpy(), "here", keys)
    placed = job.place(table)
    twins = job.place_twins(job.twins(marks))
    placed = pa.concat_tables([twins, placed]).sort_by("shard")
    return job, begun, placed


def test_a_set_is_committed_when_all_of_it_is_there(tmp_path):
    out = tmp_path / "out"
    pictures = picture_table(20)
    same = pa.table({"key": ["b/same.bmp"], "bytes": [pictures["bytes"][3].as_py()]})
    pictures = pa.concat_tables([pictures, same])
    settings = {"size": 32, "cells": [8], "shard_pictures": 8}
    job, begun, placed = ingest_here(pictures, out, **settings)
    shards = sorted(set(placed["shard"].to_pylist()))
    of = {shard: placed.filter(pa.compute.equal(placed["shard"], shard)) for shard in shards}
    job.write(1, of[1])
    with pytest.raises(localmim.SetError, match="writing"):
        ingest_here(pictures, out, **settings)
    with pytest.raises(localmim.SetError, match="1 of the 3"):
        begun.commit()
    begun.release()
    # The next run makes what is left, and no more; a shard that is written twice is the same.
    job, begun, placed = ingest_here(pictures, out, **settings)
    assert sorted(set(placed["shard"].to_pylist())) == [0, 2]
    for shard in (0, 2, 2):
        job.write(shard, of[shard])
    begun.release()
    with pytest.raises(localmim.Error, match="--size was 32 in the earlier run, is 64 now"):
        localmim.commit(out, size=64)
    summary = localmim.commit(out, **settings)
    assert (summary["accepted"], summary["rejects"]) == (20, {"duplicate": 1})
    assert localmim.verify(str(out)) == []
    assert localmim.commit(str(out)) == summary
    with pytest.raises(localmim.Error, match="--cells"):
        localmim.commit(str(out), cells=[4])
    run("verify", out)


def test_other_pictures_than_were_counted_are_told(tmp_path):
    job, begun, placed = ingest_here(picture_table(6), tmp_path / "out", size=32, cells=[8])
    with pytest.raises(localmim.InputError, match="6 when they were counted"):
        job.write(0, placed.slice(1))
    begun.release()


def test_versions_are_one():
    told = subprocess.run([INGEST, "--version"], capture_output=True, text=True).stdout
    assert told.split()[-1] == localmim.__version__


def test_previews_and_hog(expected):
    assert localmim.preview(expected, 2)._repr_png_().startswith(b"\x89PNG")
    rows = read_set(expected).slice(0, 1).to_pylist()[0]
    planes = np.frombuffer(rows["picture_filtered"], np.uint8).reshape(3, 224, 224)
    green, red, blue = np.cumsum(planes, axis=1, dtype=np.uint8)
    picture = np.stack([red + green, green, blue + green], axis=-1)
    for cell, found in zip((4, 8, 16, 32), localmim.hog(picture)):
        stored = np.frombuffer(rows[f"hog_{cell}"], np.uint8).reshape(found.shape)
        # The nearest code.
        assert np.abs(found * 255 - stored).max() < 0.5 + 1e-4
    for wrong, told in [
        (lambda: localmim.hog(picture[1:]), "side"),
        (lambda: localmim.hog(picture, cells=8), "cells must be a list of whole numbers, not 8"),
        (lambda: localmim.hog(picture, bins="9"), "bins must be a whole number, not '9'"),
        (lambda: localmim.preview(expected, count=1000), "count must be 1 to 64, not 1000"),
        (lambda: localmim.preview(3), "shards must be a path or an address, not 3"),
        (lambda: localmim.verify(None), "shards must be a path or an address, not None"),
        (lambda: localmim.commit(""), "out must be a path or an address, not ''"),
    ]:
        with pytest.raises(localmim.InputError, match=told):
            wrong()


def test_an_output_that_is_none_is_told_before_any_picture_is_looked_at(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    columns = Columns.of(["key", "bytes"])
    for out, told in [("file", "file"), ("folder", "was not made by ingest")]:
        with pytest.raises(localmim.Error, match=told):
            _shuffle.Job.of(tmp_path / out, {}, columns)
        assert (tmp_path / out).exists()
    with pytest.raises(localmim.InputError, match="out must be a path"):
        _shuffle.Job.of(7, {}, columns)


def test_pictures_are_read_from_their_addresses(pictures, expected, tmp_path):
    rows, rejects = localmim.rows(table(pictures).slice(0, 50), root=pictures)
    places = table(pictures).slice(0, 50).select(["path"])
    found = localmim.rows(places, root=f"file://{pictures}")
    assert (found[0], found[1].to_pylist()) == (rows, rejects.to_pylist())
    gone = pa.table({"path": [str(tmp_path / "gone.jpg")]})
    _, rejects = localmim.rows(gone)
    assert rejects.to_pylist()[0]["reason"] == "unreadable"
    # Whether a file is gone, one that does not even see its folder can't tell; nor is one gone that
    # was there.
    unseen = pa.table({"path": [str(tmp_path / "none" / "a.jpg")]})
    with pytest.raises(localmim.StoreError, match="none/a.jpg.* every node sees"):
        localmim.rows(unseen)
    listed = replace(Columns.of(["path"]), listed=True)
    with pytest.raises(localmim.StoreError, match="gone.jpg.* every node sees"):
        _shuffle.Job.of(tmp_path / "out", {}, listed).mark(gone)
    with pytest.raises(localmim.InputError, match="folder or a bucket"):
        localmim.rows(pa.table({"path": ["https://example.org/a.jpg"]}))


def test_a_file_has_one_name_however_its_address_is_written(tmp_path, monkeypatch):
    folder = tmp_path / "ü 1"
    folder.mkdir()
    for name in ("a b.jpg", "a%20c.jpg"):
        (folder / name).write_bytes(b"")
    monkeypatch.chdir(folder)
    written = [f"file:{folder}/a b.jpg", f"{(folder / 'a b.jpg').as_uri()}", "a b.jpg"]
    written += [f"file:{folder}/a%20c.jpg", (folder / "a%20c.jpg").as_uri(), f"{folder}/a%20c.jpg"]
    columns = Columns.of(["path"])
    found = columns.pictures(pa.table({"path": written}))
    paths = [f"{folder}/a b.jpg"] * 3 + [f"{folder}/a%20c.jpg"] * 3
    assert found["at"].to_pylist() == paths
    buckets = pa.table({"path": ["s3://b/a%20b.jpg", "https://a/b%20c"]})
    assert columns.pictures(buckets)["at"].to_pylist() == buckets["path"].to_pylist()
    # The root, too.
    for root in (folder, folder.as_uri()):
        below = Columns.of(["path"], root=root).pictures(pa.table({"path": written[:2]}))
        assert below["key"].to_pylist() == ["a b.jpg"] * 2


def test_a_key_that_is_there_twice_is_told(tmp_path):
    pictures = picture_table(6)
    twice = pa.concat_tables([pictures, pictures.slice(2, 1)])
    for settings in ({}, {"keep_duplicates": True}):
        with pytest.raises(localmim.InputError, match="a/2.bmp is there 2 times"):
            ingest_here(twice, tmp_path / "out", size=32, cells=[8], **settings)
    assert not (tmp_path / "out").exists()


def test_what_progress_raises_ends_no_set():
    told = []

    def fail(done, total):
        told.append((done, total))
        raise ValueError("no more of it")

    progress = _progress.Progress(fail, range(9))
    with pytest.warns(RuntimeWarning, match="no more of it.*made all the same"):
        progress.pictures(3)
    progress.pictures(9)
    assert told == [(3, 9)]


def test_shards_are_counted_though_looks_fail(monkeypatch):
    class Begun:
        looks = 0

        def made(self):
            self.looks += 1
            if self.looks == 1:
                raise localmim.StoreError("no answer")
            return [1]

    class Job:
        counts, done = np.array([4, 3, 2]), np.array([2])

    monkeypatch.setattr(_progress, "EVERY", 0.001)
    told = []
    progress = _progress.Progress(lambda *numbers: told.append(numbers), range(9))
    with progress.watched(Job, Begun()):
        while not told:
            time.sleep(0.001)
    assert told == [(5, 9)]


@pytest.mark.parametrize(
    "told",
    [
        'Traceback (most recent call last):\n  File "w.py", line 7\nlocalmim.InputError: a key is null; every picture\n',
        "ray.exceptions.UserCodeException\nlocalmim.InputError: a key is null; every picture\n\nmore of it",
        "Job aborted: localmim.InputError: another\nlocalmim.InputError: a key is null; every picture\n\n\tat org.apache",
    ],
)
def test_what_a_worker_raised_is_found_in_what_an_engine_says(told):
    with pytest.raises(localmim.InputError, match="^a key is null; every picture$") as raised:
        with _errors.of_workers():
            raise RuntimeError(told)
    assert isinstance(raised.value.__cause__, RuntimeError)
    with pytest.raises(RuntimeError, match="nothing of ours"):
        with _errors.of_workers():
            raise RuntimeError("nothing of ours: ValueError: x")
    # What the caller was just about is no cause.
    try:
        raise localmim.InputError("an earlier one")
    except localmim.InputError:
        with pytest.raises(RuntimeError, match="nothing of ours"):
            with _errors.of_workers():
                raise RuntimeError("nothing of ours")
