//! What was written comes back, whichever way it is read.

use schemas::layout;
use shards::{Cache, Columns, ShardSet, ShardSource, StoredRow};
use storage::Storage;

use crate::made::{Made, VIEWS, picture};

#[test]
fn every_row_comes_back_as_it_was_written() {
    let made = Made::new();
    let set = made.set();
    assert_eq!(set.rows(), made.rows.len() as u64);
    for (index, row) in made.rows.iter().enumerate() {
        let stored = set.row(index as u64).unwrap();
        let layout = set.layout();
        assert_eq!((stored.id, &stored.source, stored.view), (row.id, &row.source, row.view));
        assert_eq!(stored.content_hash, row.content_hash);
        assert_eq!(stored.perceptual_hash, row.perceptual_hash);
        assert_eq!(stored.label, row.label);
        assert_eq!((stored.source_size, stored.crop), (row.source_size, row.crop));
        assert_eq!(stored.picture, picture(row.id, layout));
        let hog: Vec<_> = stored.cells.iter().flat_map(|cells| [&cells.hog, &cells.ties]).collect();
        assert_eq!(hog, row.wide[1..5].iter().collect::<Vec<_>>());
        for cells in &stored.cells {
            let values: Vec<_> =
                (0..layout.grid(cells.cell).pow(2)).map(|at| (at as u64 + row.id) as f32).collect();
            assert_eq!(cells.mean, values);
            assert_eq!(cells.inv_std, values.iter().map(|value| -value).collect::<Vec<_>>());
        }
        assert_eq!(stored.codes.len(), 1);
        assert_eq!(
            (&stored.codes[0].codes, &stored.codes[0].mirrored),
            (&vec![0, 100, 200, 300], &vec![1, 101, 201, 301])
        );
    }
    let error = set.row(set.rows()).unwrap_err().to_string();
    assert!(error.contains("has 10 rows, so there is no row 10"), "{error}");
}

#[test]
fn row_groups_hold_the_same_rows_and_a_column_that_was_not_read_is_named() {
    let made = Made::new();
    let set = made.set();
    let rows: Vec<_> = set.groups().map(|group| group.rows).collect();
    assert_eq!(rows, [4, 2, 4]);
    let names: Vec<_> =
        set.layout().arrow_schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut index = 0;
    for group in set.groups() {
        let batch = set.read(group, &names).unwrap();
        for row in 0..group.rows {
            let read = StoredRow::of(Columns::of(&batch), set.layout(), row).unwrap();
            assert_eq!(read, set.row(index).unwrap());
            index += 1;
        }
        let ids = set.read(group, &[layout::ID]).unwrap();
        let error = Columns::of(&ids).source().err().unwrap();
        assert_eq!(error.to_string(), "lacks column `source`");
    }
    assert_eq!(index, set.rows());
}

#[test]
fn pictures_are_told_once_however_many_views_they_have() {
    let made = Made::new();
    let set = made.set();
    let firsts: Vec<_> = made.rows.iter().filter(|row| row.view == 0).collect();
    let shards = || (0..set.manifest().shards.len()).map(|shard| set.shard(shard));
    let prints: Vec<_> = shards().flat_map(|file| file.fingerprints(VIEWS).unwrap()).collect();
    let names: Vec<_> = shards().flat_map(|file| file.names(VIEWS).unwrap()).collect();
    let first_rows = [0, set.manifest().shards.at(0).rows];
    let listed: Vec<_> = shards()
        .zip(first_rows)
        .flat_map(|(file, first)| file.listed(VIEWS, first).unwrap())
        .collect();
    assert_eq!((prints.len(), names.len(), listed.len()), (5, 5, 5));
    for (at, row) in firsts.iter().enumerate() {
        assert_eq!((prints[at].number, prints[at].content), (row.id / 2, row.content_hash));
        assert_eq!(prints[at].perceptual, row.perceptual_hash);
        assert_eq!(names[at], (row.id / 2, row.source.clone()));
        assert_eq!((listed[at].row, &listed[at].source), (row.id, &row.source));
        assert_eq!((&listed[at].label, listed[at].size), (&row.label, row.source_size));
        assert_eq!(
            (listed[at].content, listed[at].perceptual),
            (row.content_hash, row.perceptual_hash)
        );
    }
    let classes: u64 = shards().map(|file| file.classes(VIEWS).unwrap()["cat"]).sum();
    assert_eq!(classes, set.manifest().class_pictures[0]);
}

#[test]
fn an_earlier_version_is_found_by_its_fingerprint() {
    let made = Made::new();
    let [first, newest] = &made.manifests;
    let of = |manifest| ShardSet::new(ShardSource::local(made.path()), manifest).fingerprint();
    let (first, newest) = (of(first.clone()), of(newest.clone()));
    assert_ne!(first, newest);
    assert_eq!(made.set().fingerprint(), newest);
    assert_eq!(made.set().as_of(&newest).unwrap().unwrap().rows(), 10);
    assert_eq!(made.set().as_of(&first).unwrap().unwrap().rows(), 6);
    assert!(made.set().as_of("another").unwrap().is_none());
    std::fs::remove_file(made.file("manifest-00001.json")).unwrap();
    let error = made.set().as_of("another").unwrap_err().to_string();
    assert!(error.contains("manifest-00001.json: it is gone"), "{error}");
}

#[test]
fn rejects_come_in_the_order_of_the_versions() {
    let made = Made::new();
    let sources: Vec<_> =
        made.set().rejects().unwrap().into_iter().map(|reject| reject.source).collect();
    assert_eq!(sources, ["raw/broken-1.png", "raw/broken-2.png"]);
}

#[test]
fn a_local_set_leaves_a_cache_alone() {
    let made = Made::new();
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path(), 1 << 20).unwrap();
    let source = ShardSource::new(Storage::local(), made.path().into(), Some(cache));
    let set = ShardSet::open_whole(source).unwrap();
    set.read(set.group(0), &[layout::ID]).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(set.source().trouble().is_none() && !set.source().is_remote());
}
