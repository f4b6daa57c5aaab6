//! What holds wherever bytes lie.

use std::io::Write;

use storage::{Listed, Storage, StorageError};

use crate::{PART, Place, drops_parts, noise, read_from};

everywhere! {
    what_is_put_is_read_back_and_replaced
    a_range_is_what_was_asked_for_or_an_error
    a_reader_gives_every_byte_from_any_start
    a_writer_shows_nothing_before_it_finishes
    a_dropped_writer_leaves_things_as_they_were
    a_listing_has_every_object_below_and_nothing_beside
    what_is_not_there_is_none_or_an_error_with_its_address
    deleting_twice_is_fine
    a_folder_is_told_from_an_object
    a_version_is_the_same_until_the_object_is_another
    a_clone_and_another_thread_see_the_same
}

fn what_is_put_is_read_back_and_replaced(place: &Place) {
    let at = place.root.join("deep/below/object");
    for bytes in [noise(0), noise(1), noise(100_000), noise(3)] {
        place.storage.put(&at, bytes.clone()).unwrap();
        assert_eq!(place.storage.read(&at).unwrap(), bytes);
        assert_eq!(place.storage.stat(&at).unwrap().unwrap().bytes, bytes.len() as u64);
    }
}

fn a_range_is_what_was_asked_for_or_an_error(place: &Place) {
    let at = place.root.join("object");
    let bytes = noise(123_456);
    place.storage.put(&at, bytes.clone()).unwrap();
    // Within one range of a reader, over many, up to the end, and nothing.
    for range in [5..6, 0..10_000, 7..100_001, 123_455..123_456, 0..123_456, 17..17] {
        let (from, to) =
            (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
        assert_eq!(place.storage.read_range(&at, range).unwrap(), &bytes[from..to]);
    }
    for range in [0..123_457, 123_450..123_460, 200_000..200_001] {
        let error = place.storage.read_range(&at, range).unwrap_err();
        assert!(error.to_string().contains("object"), "{error}");
        assert!(!matches!(error, StorageError::GaveUp { .. }), "{error}");
    }
}

fn a_reader_gives_every_byte_from_any_start(place: &Place) {
    let at = place.root.join("object");
    for size in [0, 1, 9_999, 10_000, 10_001, 100_000] {
        let bytes = noise(size);
        place.storage.put(&at, bytes.clone()).unwrap();
        for from in [0, size / 3, size.saturating_sub(1), size] {
            let read = read_from(&place.storage, &at, from as u64).unwrap();
            assert!(read == bytes[from..], "{size} from {from}");
        }
        assert_eq!(place.storage.reader(&at, 0).unwrap().size(), size as u64);
        let beyond = place.storage.reader(&at, size as u64 + 1);
        assert!(matches!(beyond, Err(StorageError::Beyond { .. })));
    }
}

fn a_writer_shows_nothing_before_it_finishes(place: &Place) {
    let at = place.root.join("object");
    // One request; an upload of whole parts; one with a rest.
    for size in [0, 1000, PART, PART + 1, 2 * PART + 77] {
        let bytes = noise(size);
        let mut writer = place.storage.writer(&at).unwrap();
        for piece in bytes.chunks(PART / 3) {
            writer.write_all(piece).unwrap();
        }
        assert_eq!(place.storage.stat(&at).unwrap(), None);
        assert_eq!(place.storage.list(&place.root).unwrap(), []);
        writer.finish().unwrap();
        assert!(place.plain.read(&at).unwrap() == bytes, "{size}");
        place.storage.delete(&at).unwrap();
        assert_eq!(place.leftovers(), 0);
    }
}

fn a_dropped_writer_leaves_things_as_they_were(place: &Place) {
    let at = place.root.join("object");
    let write = |size: usize| {
        let mut writer = place.storage.writer(&at).unwrap();
        writer.write_all(&noise(size)).unwrap();
        writer
    };
    drop(write(2 * PART));
    assert_eq!(place.storage.stat(&at).unwrap(), None);
    place.storage.put(&at, "before").unwrap();
    drop(write(10));
    drop(write(2 * PART));
    assert_eq!(place.storage.read(&at).unwrap(), "before");
    assert!(place.leftovers() == 0 || !drops_parts(&at));
    place.storage.put(&at, "after").unwrap();
    assert_eq!(place.leftovers(), 0);
}

fn a_listing_has_every_object_below_and_nothing_beside(place: &Place) {
    let folder = place.root.join("folder");
    let mut expected: Vec<Listed> =
        ["a", "deep/er/b", "with space", "50%", "what?", "#1", "a+b", "ünïcode 木.jpg", "empty"]
            .into_iter()
            .map(|name| Listed { relative: name.to_owned(), bytes: name.len() as u64 })
            .collect();
    for listed in &mut expected {
        if listed.relative == "empty" {
            listed.bytes = 0;
        }
        let bytes = noise(usize::try_from(listed.bytes).unwrap());
        place.storage.put(&folder.join(&listed.relative), bytes).unwrap();
    }
    place.storage.put(&place.root.join("folder-beside/c"), "beside").unwrap();
    place.storage.put(&place.root.join("beside"), "beside").unwrap();

    let mut found = place.storage.list(&folder).unwrap();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    for listed in found {
        let bytes = place.storage.read(&folder.join(&listed.relative)).unwrap();
        assert_eq!(bytes.len() as u64, listed.bytes, "{}", listed.relative);
    }
}

#[test]
fn a_marker_of_a_folder_is_not_listed_and_hides_no_object_of_its_name() {
    for server in [crate::gs(), crate::az()] {
        for (key, bytes) in [("a", "bytes"), ("a/", ""), ("a/b", "bytes"), ("c/", ""), ("c/d", "")]
        {
            server.write(key, bytes.as_bytes()).unwrap();
        }
        let storage = Storage::new(server.options()).unwrap();
        let listed = storage.list(&server.address("")).unwrap();
        let names = listed.iter().map(|listed| (listed.relative.as_str(), listed.bytes));
        assert_eq!(names.collect::<Vec<_>>(), [("a", 5), ("a/b", 5), ("c/d", 0)]);
    }
}

fn what_is_not_there_is_none_or_an_error_with_its_address(place: &Place) {
    let at = place.root.join("absent");
    assert_eq!(place.storage.stat(&at).unwrap(), None);
    assert_eq!(place.storage.list(&at).unwrap(), []);
    let errors = [
        place.storage.read(&at).unwrap_err(),
        place.storage.read_range(&at, 0..1).unwrap_err(),
        place.storage.reader(&at, 0).unwrap_err(),
    ];
    for error in errors {
        assert!(error.is_missing(), "{error:?}");
        assert!(error.to_string().contains(&at.to_string()), "{error}");
    }
}

fn deleting_twice_is_fine(place: &Place) {
    let at = place.root.join("object");
    place.storage.put(&at, "object").unwrap();
    place.storage.delete(&at).unwrap();
    assert_eq!(place.storage.stat(&at).unwrap(), None);
    place.storage.delete(&at).unwrap();
}

fn a_folder_is_told_from_an_object(place: &Place) {
    place.storage.put(&place.root.join("folder/object"), "object").unwrap();
    let stat = |name| place.storage.stat(&place.root.join(name)).unwrap().unwrap();
    assert!(stat("folder").folder);
    assert!(!stat("folder/object").folder);
    assert!(place.storage.stat(&place.root).unwrap().unwrap().folder);
}

fn a_version_is_the_same_until_the_object_is_another(place: &Place) {
    let at = place.root.join("object");
    let version = || place.storage.stat(&at).unwrap().unwrap().version;
    place.storage.put(&at, "one").unwrap();
    let first = version();
    assert_eq!(version(), first);
    place.storage.put(&at, "other").unwrap();
    assert_ne!(version(), first);
}

fn a_clone_and_another_thread_see_the_same(place: &Place) {
    let at = place.root.join("object");
    place.storage.put(&at, "object").unwrap();
    let (storage, there) = (place.storage.clone(), at.clone());
    let read = std::thread::spawn(move || storage.read(&there).unwrap()).join().unwrap();
    assert_eq!(read, "object");
}
