//! What a user of `ingest` relies on, tried through the library.

// The helpers below unwrap as the tests do.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use ingest::decode;
use ingest::{IngestError, Progress, Settings, Silent, run, sample};
use schemas::{Reason, ShardLayout, code};
use shards::{ShardSet, StoredRow};
use targets::{HogExtractor, View, patch_stats};
use tempfile::TempDir;

/// A folder of pictures and one for shards, with small views so that a run takes no time.
struct Case {
    folder: TempDir,
}

impl Case {
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("raw")).unwrap();
        Self { folder }
    }

    fn with_sample(pictures: usize) -> Self {
        let case = Self { folder: tempfile::tempdir().unwrap() };
        sample::write(&case.raw(), pictures, 1).unwrap();
        case
    }

    fn raw(&self) -> PathBuf {
        self.folder.path().join("raw")
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.raw().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Settings of four-picture shards in the folder `out`.
    fn settings(&self, out: &str) -> Settings {
        let mut settings = Settings::new(self.raw(), self.folder.path().join(out));
        settings.threads = 2;
        settings.ingest.layout = ShardLayout::new(32, vec![4, 8, 16], 9).unwrap();
        settings.ingest.pictures_per_shard = 4;
        settings.ingest.rows_per_group = 3;
        settings
    }
}

/// The local folder of a run's output.
fn out(settings: &Settings) -> &Path {
    settings.out.local().unwrap()
}

/// Every file of a folder, by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let bytes = fs::read(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), bytes)
        })
        .collect()
}

fn rows(out: &Path) -> Vec<StoredRow> {
    let set = ShardSet::open(out).unwrap();
    (0..set.manifest().rows).map(|index| set.row(index).unwrap()).collect()
}

fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 5) as u8, (y * 7) as u8, (x * y) as u8]))
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    picture.into().write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// Stops the run after so many shards.
struct StopAfter(AtomicU64);

impl Progress for StopAfter {
    fn shard(&self, _: u64) -> ControlFlow<()> {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

#[test]
fn the_bytes_do_not_depend_on_the_thread_count() {
    let case = Case::with_sample(30);
    let made = |threads: usize| {
        let mut settings = case.settings(&format!("out-{threads}"));
        settings.threads = threads;
        settings.ingest.views = 2;
        run(&settings, &Silent).unwrap();
        files(out(&settings))
    };
    let one = made(1);
    assert!(one.len() > 5, "several shards");
    assert!(one == made(4));
}

#[test]
fn a_stopped_run_is_taken_up_where_it_stopped() {
    let case = Case::with_sample(24);
    run(&case.settings("whole"), &Silent).unwrap();

    let settings = case.settings("stopped");
    let stopped = run(&settings, &StopAfter(AtomicU64::new(2)));
    assert!(matches!(stopped, Err(IngestError::Stopped)));
    assert!(!out(&settings).join("manifest.json").exists());
    let unfinished = ShardSet::open(out(&settings)).unwrap_err().to_string();
    assert!(unfinished.contains("2 shards done"), "{unfinished}");
    // What a run that was killed leaves: half a shard under its temporary name.
    fs::write(out(&settings).join(".writing-00002"), "half").unwrap();

    let summary = run(&settings, &Silent).unwrap();
    let all = summary.manifest.accepted + summary.manifest.rejected;
    assert_eq!(summary.pictures, all - 2 * 4, "the finished shards are not made again");
    assert!(files(out(&settings)) == files(out(&case.settings("whole"))));
}

#[test]
fn a_finished_set_is_left_as_it_is() {
    let case = Case::with_sample(6);
    let settings = case.settings("out");
    let first = run(&settings, &Silent).unwrap();
    let before = files(out(&settings));
    let second = run(&settings, &Silent).unwrap();
    assert_eq!(second.pictures, 0);
    assert_eq!(second.manifest, first.manifest);
    assert_eq!(second.rejects, first.rejects);
    assert!(files(out(&settings)) == before);
}

#[test]
fn a_run_with_other_settings_or_pictures_is_refused_and_says_which() {
    let case = Case::with_sample(12);
    let settings = case.settings("finished");
    run(&settings, &Silent).unwrap();
    let stopped = case.settings("stopped");
    run(&stopped, &StopAfter(AtomicU64::new(1))).unwrap_err();

    for out in ["finished", "stopped"] {
        let mut other = case.settings(out);
        other.ingest.views = 2;
        other.ingest.layout.bins = 18;
        let error = run(&other, &Silent).unwrap_err().to_string();
        assert!(error.contains("--views was 1 in the earlier run, is 2 now"), "{error}");
        assert!(error.contains("--bins was 9 in the earlier run, is 18 now"), "{error}");
        assert!(error.contains("another --out"), "{error}");
    }
    case.put("one-more.png", encoded(picture(40, 40), ImageFormat::Png));
    for out in ["finished", "stopped"] {
        let error = run(&case.settings(out), &Silent).unwrap_err().to_string();
        assert!(error.contains("listed files are others"), "{error}");
    }
}

#[test]
fn the_manifest_tells_the_files_as_they_are() {
    let case = Case::with_sample(20);
    let settings = case.settings("out");
    let manifest = run(&settings, &Silent).unwrap().manifest;
    let found = files(out(&settings));
    for shard in &manifest.shards {
        let bytes = &found[shard.file];
        assert_eq!(shard.bytes, bytes.len() as u64);
        assert_eq!(shard.blake3, (&blake3::hash(bytes)).into());
    }
    let extra = found.len() - manifest.shards.len();
    assert_eq!(extra, 4, "manifest twice, classes and rejects: {:?}", found.keys());
    assert_eq!(found["manifest.json"], found["manifest-00001.json"]);
    assert_eq!(manifest.rows, manifest.shards.iter().map(|shard| shard.rows).sum::<u64>());
    assert_eq!(manifest.bytes, manifest.shards.iter().map(|shard| shard.bytes).sum::<u64>());
    assert_eq!(manifest.classes, ["blobs", "boxes", "checkers", "disks", "rings", "stripes"]);
    let rejects = ShardSet::open(out(&settings)).unwrap().rejects().unwrap();
    assert_eq!(manifest.rejected, rejects.len() as u64);
}

#[test]
fn stored_rows_are_the_pictures_views_and_their_targets() {
    let case = Case::with_sample(12);
    let mut settings = case.settings("out");
    settings.ingest.views = 2;
    let manifest = run(&settings, &Silent).unwrap().manifest;
    let layout = &manifest.settings.layout;
    let mut extractor = HogExtractor::new(32, 9, &[4, 8, 16]).unwrap();
    let near = |codes: &[u8], exact: &[f32]| {
        assert_eq!(codes.len(), exact.len());
        for (&stored, exact) in codes.iter().zip(exact) {
            assert!((code::decode(stored) - exact).abs() <= 0.5 / 255.0 + 1e-6);
        }
    };
    let stored = rows(out(&settings));
    assert_eq!(stored.len() as u64, manifest.accepted * 2);
    for row in &stored {
        let file = case.raw().join(&row.source);
        assert_eq!(row.content_hash, blake3::hash(&fs::read(&file).unwrap()).as_bytes());
        assert_eq!(row.label.as_deref(), row.source.split('/').next());
        assert_eq!(row.id % 2, u64::from(row.view));
        let picture = decode::read(&file, &settings.ingest).unwrap();
        assert_eq!(row.source_size, picture.size());
        let crop = row.crop;
        assert!(crop.x + crop.width <= row.source_size.0);
        assert!(crop.y + crop.height <= row.source_size.1);

        let view = View::new(&row.picture, 32).unwrap();
        let hogs = extractor.compute(view).unwrap();
        assert_eq!(hogs.len(), row.cells.len());
        for (cells, hog) in row.cells.iter().zip(hogs) {
            assert_eq!(cells.cell as usize, hog.cell);
            assert_eq!(cells.ties.len(), layout.tie_bytes(cells.cell));
            near(&cells.hog, &hog.values);
            near(&cells.ties, &hog.ties);
            let stats = patch_stats(view, hog.cell).unwrap();
            assert_eq!(cells.mean, stats.mean);
            assert_eq!(cells.inv_std, stats.inv_std);
        }
    }
    let mut ids: Vec<_> = stored.iter().map(|row| row.id).collect();
    assert!(ids.is_sorted());
    ids.dedup();
    assert_eq!(ids.len(), stored.len());
}

#[test]
fn the_same_content_gives_the_same_view_wherever_it_lies() {
    let bytes = encoded(picture(90, 70), ImageFormat::Png);
    let case = Case::empty();
    case.put("a/one.png", &bytes);
    case.put("b/two.png", &bytes);
    let mut settings = case.settings("out");
    settings.ingest.keep_duplicates = true;
    run(&settings, &Silent).unwrap();
    let stored = rows(out(&settings));
    assert_eq!(stored[0].picture, stored[1].picture);
    assert_ne!(stored[0].source, stored[1].source);
}

#[test]
fn every_bad_file_is_named_with_its_reason() {
    let png = encoded(picture(60, 60), ImageFormat::Png);
    let mut vast = png.clone();
    // The header's width and height, and its checksum made to fit.
    vast[16..24].copy_from_slice(&[0, 1, 0x11, 0x70, 0, 1, 0x11, 0x70]);
    let checksum = crc32(&vast[12..29]);
    vast[29..33].copy_from_slice(&checksum.to_be_bytes());
    let case = Case::empty();
    case.put("good.png", &png);
    case.put("empty.jpg", "");
    case.put("page.jpg", "<!DOCTYPE html>");
    case.put("cut.png", &png[..png.len() / 2]);
    case.put("small.png", encoded(picture(60, 15), ImageFormat::Png));
    case.put("vast.png", &vast);
    case.put("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic");
    case.put("next.avif", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf");

    let settings = case.settings("out");
    let summary = run(&settings, &Silent).unwrap();
    assert_eq!((summary.manifest.accepted, summary.manifest.rejected), (1, 7));
    let rejects = ShardSet::open(out(&settings)).unwrap().rejects().unwrap();
    let reason = |name: &str| {
        let reject = rejects.iter().find(|reject| reject.source == name).unwrap();
        assert!(!reject.message.is_empty());
        assert_eq!(reject.bytes, fs::metadata(case.raw().join(name)).unwrap().len());
        reject.reason
    };
    assert_eq!(reason("empty.jpg"), Reason::Empty);
    assert_eq!(reason("page.jpg"), Reason::NotAPicture);
    assert_eq!(reason("cut.png"), Reason::Corrupt);
    assert_eq!(reason("small.png"), Reason::TooSmall);
    assert_eq!(reason("vast.png"), Reason::TooLarge);
    assert_eq!(reason("phone.heic"), Reason::Unsupported);
    assert_eq!(reason("next.avif"), Reason::Corrupt);
    assert_eq!(summary.rejects[&Reason::Corrupt], 2);
}

/// The checksum of PNG chunks (ISO 3309), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for &byte in bytes {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

/// Removes a file once the listing is there.
struct Vanish(PathBuf);

impl Progress for Vanish {
    fn begin(&self, _: u64, _: u64) {
        fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn a_file_that_vanishes_is_rejected_as_unreadable() {
    let case = Case::with_sample(6);
    case.put("gone.png", encoded(picture(60, 60), ImageFormat::Png));
    let settings = case.settings("out");
    let summary = run(&settings, &Vanish(case.raw().join("gone.png"))).unwrap();
    assert_eq!(summary.rejects[&Reason::Unreadable], 1);
}

#[test]
fn names_with_spaces_and_other_scripts_are_kept() {
    let case = Case::empty();
    let name = "mes photos/été 雨.png";
    case.put(name, encoded(picture(50, 50), ImageFormat::Png));
    let settings = case.settings("mes shards");
    run(&settings, &Silent).unwrap();
    let stored = rows(out(&settings));
    assert_eq!(stored[0].source, name);
    assert_eq!(stored[0].label.as_deref(), Some("mes photos"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_utf_8_is_read_and_written_out() {
    use std::os::unix::ffi::OsStrExt;
    let case = Case::empty();
    let path = case.raw().join(std::ffi::OsStr::from_bytes(b"caf\xe9.png"));
    fs::write(path, encoded(picture(50, 50), ImageFormat::Png)).unwrap();
    let settings = case.settings("out");
    run(&settings, &Silent).unwrap();
    assert_eq!(rows(out(&settings))[0].source, "caf\\xe9.png");
}

#[test]
fn an_output_that_holds_other_things_is_refused() {
    let case = Case::with_sample(6);
    let settings = case.settings("out");
    fs::create_dir(out(&settings)).unwrap();
    fs::write(out(&settings).join("thesis.parquet"), "mine").unwrap();
    let error = run(&settings, &Silent).unwrap_err();
    assert!(matches!(&error, IngestError::Foreign { found, .. } if found == "thesis.parquet"));
    assert_eq!(files(out(&settings)).len(), 1, "nothing was written");

    let same = Settings::new(case.raw(), case.raw());
    assert!(matches!(run(&same, &Silent), Err(IngestError::OutIsSource(_))));
}

#[test]
fn an_output_inside_the_pictures_folder_is_no_picture() {
    let case = Case::with_sample(6);
    let settings = case.settings("raw/shards");
    let first = run(&settings, &Silent).unwrap();
    assert_eq!(run(&settings, &Silent).unwrap().manifest, first.manifest);
}

#[cfg(unix)]
#[test]
fn an_output_that_cannot_be_written_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let case = Case::with_sample(6);
    let locked = case.folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    // Who may write anywhere, as root may, gets a path below a file instead.
    let below = if fs::write(locked.join("probe"), "").is_ok() {
        fs::remove_file(locked.join("probe")).unwrap();
        fs::write(case.folder.path().join("file"), "").unwrap();
        "file/out"
    } else {
        "locked/out"
    };
    let error = run(&case.settings(below), &Silent).unwrap_err().to_string();
    assert!(error.contains(below), "{error}");
}

/// Tries a second run while the first is at work; counts how often.
struct Second(Settings, AtomicU64);

impl Progress for Second {
    fn begin(&self, _: u64, _: u64) {
        let second = run(&self.0, &Silent);
        assert!(matches!(second, Err(IngestError::Locked(_))), "{second:?}");
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn two_runs_on_one_output_do_not_meet() {
    let case = Case::with_sample(6);
    let settings = case.settings("out");
    let second = Second(settings.clone(), AtomicU64::new(0));
    run(&settings, &second).unwrap();
    assert_eq!(second.1.into_inner(), 1, "a second run was tried");
}

#[test]
fn a_folder_without_pictures_is_an_error() {
    let case = Case::empty();
    let settings = case.settings("out");
    assert!(matches!(run(&settings, &Silent), Err(IngestError::NothingFound(_))));
    case.put("a.txt", "no picture");
    let error = run(&settings, &Silent).unwrap_err();
    assert!(matches!(error, IngestError::NothingAccepted { rejected: 1, .. }), "{error}");
    assert!(!out(&settings).join("manifest.json").exists());
    assert!(out(&settings).join("rejects.jsonl").exists());
}

#[test]
fn a_shard_without_rows_leaves_no_file() {
    let case = Case::empty();
    for index in 0..11 {
        case.put(&format!("{index}.txt"), "no picture");
    }
    case.put("good.png", encoded(picture(50, 50), ImageFormat::Png));
    let settings = case.settings("out");
    let manifest = run(&settings, &Silent).unwrap().manifest;
    assert_eq!((manifest.shards.len(), manifest.rows, manifest.rejected), (1, 1, 11));
    assert_eq!(files(out(&settings)).len(), 5);
}

#[test]
fn the_preview_has_a_panel_for_every_cell_size() {
    let case = Case::with_sample(6);
    let settings = case.settings("out");
    run(&settings, &Silent).unwrap();
    let set = ShardSet::open(out(&settings)).unwrap();
    let rows = ingest::inspect::sample(&set, 2, 0).unwrap();
    let sheet = ingest::inspect::preview(set.manifest(), &rows);
    let decoded = image::load_from_memory(&sheet.png().unwrap()).unwrap();
    assert_eq!(
        (decoded.width() as usize, decoded.height() as usize),
        (sheet.width(), sheet.height())
    );
    assert_eq!(sheet.width() - 8, (sheet.height() - 8) / 2 * 4, "a view and three cell sizes");
    let text = ingest::inspect::describe(set.manifest(), &set.rejects().unwrap(), &rows);
    for row in &rows {
        assert!(text.contains(&row.source), "{text}");
    }
}

#[test]
fn the_command_line_counts_last_and_leaves_with_zero_though_some_were_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let ingest = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_ingest"))
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    assert!(ingest(&["sample", "--out", "raw", "--pictures", "12"]).0);
    // As it was given before there was --out.
    assert!(ingest(&["sample", "raw-too", "--pictures", "12"]).0);
    let root = folder.path();
    let pictures = |folder| fs::read_dir(root.join(folder)).unwrap().count();
    assert_eq!(pictures("raw"), pictures("raw-too"));
    let flags = ["--size", "32", "--cells", "4,8", "--bins", "18", "--seed", "3", "--threads", "2"];
    let command = [&["raw", "--out", "shards", "--views", "2", "--strict"], &flags[..]].concat();
    let (success, stdout, _) = ingest(&command);
    assert!(success);
    assert_eq!(stdout.lines().last(), Some("12 accepted, 7 rejected"));
    let (success, stdout, _) = ingest(&["inspect", "shards", "--preview", "preview.png"]);
    assert!(success && stdout.contains("24 in 1 shard,"), "{stdout}");
    image::open(folder.path().join("preview.png")).unwrap();
    assert!(ingest(&["inspect", "shards", "--out", "sheet.png"]).0);
    image::open(folder.path().join("sheet.png")).unwrap();

    let (success, _, stderr) = ingest(&["raw", "--out", "shards", "--views", "3"]);
    assert!(!success && stderr.contains("--views was 2 in the earlier run, is 3 now"), "{stderr}");
    let (success, _, stderr) = ingest(&["nowhere", "--out", "other"]);
    assert!(!success && stderr.contains("nowhere: no such folder or file"), "{stderr}");
}
