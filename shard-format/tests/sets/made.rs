//! A small set, made without pictures: each byte of its wide columns is drawn from its place.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use schemas::{
    CLASSES_FILE, CodebookLayout, Crop, FileEntry, IngestSettings, MANIFEST_FILE, Manifest, Part,
    Reason, Reject, SCHEMA_VERSION, ShardEntry, ShardLayout, ShardTable,
};
use shards::ShardSet;
use shards::set::names::rejects_file;
use shards::write::{Encoder, Row};
use storage::{Address, Storage};
use tempfile::TempDir;

pub const VIEWS: u32 = 2;
const PICTURES_PER_SHARD: u64 = 3;
const ROWS_PER_GROUP: usize = 4;

/// A set of two versions: three pictures, then two more.
pub struct Made {
    folder: TempDir,
    /// The rows of the newest version, in order.
    pub rows: Vec<Row>,
    /// Both manifests.
    pub manifests: [Manifest; 2],
}

impl Made {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings();
        let rows: Vec<_> = (0..5)
            .flat_map(|number| (0..VIEWS).map(move |view| (number, view)))
            .map(|(number, view)| row(number, view, &settings.layout))
            .collect();
        let mut manifests = vec![];
        let mut all = Manifest {
            schema_version: SCHEMA_VERSION,
            created_by: "a test".into(),
            version: 0,
            settings,
            parts: vec![],
            classes: vec!["cat".into()],
            class_pictures: vec![0],
            accepted: 0,
            cut_short: 0,
            rejected: 0,
            rows: 0,
            bytes: 0,
            shards: ShardTable::default(),
        };
        for (pictures, shard) in [(0..3, 0), (3..5, 1)] {
            all = grown(folder.path(), &all, &rows, pictures, shard);
            let text = all.to_text();
            fs::write(folder.path().join(Manifest::file_of_version(all.version)), &text).unwrap();
            fs::write(folder.path().join(MANIFEST_FILE), &text).unwrap();
            fs::write(folder.path().join(CLASSES_FILE), all.classes_text()).unwrap();
            manifests.push(all.clone());
        }
        let manifests = manifests.try_into().unwrap();
        Self { folder, rows, manifests }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn set(&self) -> ShardSet {
        ShardSet::open_whole(self.path()).unwrap()
    }
}

fn settings() -> IngestSettings {
    let codebook = CodebookLayout { cell: 16, codes: 512, blake3: "0f".repeat(32) };
    let layout = ShardLayout::new(32, vec![4, 8], 9).unwrap();
    IngestSettings {
        layout: ShardLayout { codebooks: vec![codebook], ..layout },
        views: VIEWS,
        seed: 0,
        central: false,
        strict: false,
        min_decoded: 90,
        min_side: 1,
        max_pixels: 1 << 20,
        max_bytes: None,
        max_aspect: 0,
        one_colour: 4,
        background: [255; 3],
        scaled_decode: false,
        pictures_per_shard: PICTURES_PER_SHARD as u32,
        rows_per_group: ROWS_PER_GROUP as u32,
        zstd_level: -5,
        keep_duplicates: false,
        near_duplicates: None,
        classes: None,
    }
}

/// The view of a row before it is stored.
pub fn picture(id: u64, layout: &ShardLayout) -> Vec<u8> {
    (0..layout.picture_bytes()).map(|at| (at as u64 * (id + 3) / 7) as u8).collect()
}

fn row(number: u64, view: u32, layout: &ShardLayout) -> Row {
    let id = number * u64::from(VIEWS) + u64::from(view);
    let bytes = |length: usize, column: usize| {
        (0..length).map(|at| (at + column * 31 + id as usize * 17) as u8).collect::<Vec<_>>()
    };
    let mut wide = vec![layout.picture_filter.apply(picture(id, layout), layout.size as usize)];
    for &cell in &layout.cells {
        wide.push(bytes(layout.hog_bytes(cell), wide.len()));
        wide.push(bytes(layout.tie_bytes(cell), wide.len()));
    }
    for &patch in &layout.cells {
        let floats = |sign: f32| {
            let values = (0..layout.grid(patch).pow(2)).map(|at| sign * (at as f32 + id as f32));
            values.flat_map(f32::to_le_bytes).collect::<Vec<_>>()
        };
        wide.extend([floats(1.0), floats(-1.0)]);
    }
    for codebook in &layout.codebooks {
        let words = |more: u16| {
            let values = (0..layout.grid(codebook.cell).pow(2)).map(|at| at as u16 * 100 + more);
            values.flat_map(u16::to_le_bytes).collect::<Vec<_>>()
        };
        wide.extend([words(0), words(1)]);
    }
    Row {
        id,
        source: format!("raw/{number}.png"),
        content_hash: *blake3::hash(&number.to_le_bytes()).as_bytes(),
        perceptual_hash: (number != 1).then_some(number * 1000),
        label: number.is_multiple_of(2).then(|| "cat".to_owned()),
        view,
        source_size: (100 + number as u32, 50),
        crop: Crop { x: 1, y: 2, width: 30 + view, height: 20 },
        wide,
    }
}

/// The set with one more part of one shard and one reject, whose files are written.
fn grown(
    folder: &Path,
    before: &Manifest,
    rows: &[Row],
    pictures: std::ops::Range<u64>,
    number: u64,
) -> Manifest {
    let (storage, out) = (Storage::local(), Address::from(folder));
    let encoder = Encoder::new(&out, &before.settings, "a test").unwrap();
    let mut file = encoder.create(&storage, number).unwrap();
    let of_shard = |id: u64| id * u64::from(VIEWS);
    let rows = &rows[of_shard(pictures.start) as usize..of_shard(pictures.end) as usize];
    for rows in rows.chunks(ROWS_PER_GROUP) {
        file.append(encoder.encode(rows).unwrap()).unwrap();
    }
    let entry = file.close().unwrap().publish().unwrap();
    let accepted = pictures.end - pictures.start;
    // The reject comes after the shard's last picture, which took it from the stream.
    let first = pictures.start + before.rejected;
    let entry = ShardEntry { first, pictures: accepted + 1, ..entry };
    let version = before.version + 1;
    let reject = Reject {
        source: format!("raw/broken-{version}.png"),
        bytes: 0,
        reason: Reason::Empty,
        message: "no bytes".into(),
        label: None,
    };
    let list = format!("{}\n", serde_json::to_string(&reject).unwrap());
    fs::write(folder.join(rejects_file(version)), &list).unwrap();
    let part = Part {
        sources: vec!["raw".into()],
        follow_links: false,
        image_column: None,
        label_column: None,
        url_column: None,
        listing: "00".into(),
        first,
        pictures: accepted + 1,
        first_shard: number,
        shards: 1,
        accepted,
        cut_short: 0,
        rejected: BTreeMap::from([(Reason::Empty, 1)]),
        passed: BTreeMap::new(),
        rejects: FileEntry {
            file: rejects_file(version),
            bytes: list.len() as u64,
            blake3: blake3::hash(list.as_bytes()).to_hex().to_string(),
        },
    };
    let mut all = before.clone();
    all.version = version;
    all.class_pictures[0] +=
        rows.iter().filter(|row| row.view == 0 && row.label.is_some()).count() as u64;
    all.parts.push(part);
    all.shards.extend([entry]);
    all.with_totals()
}
