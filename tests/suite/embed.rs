//! What an encoder makes of pictures: a table of embeddings, and the nearest of each.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float32Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use shards::{ShardSet, ShardSource};
use storage::testing::{S3Server, StoreServer};
use storage::{Address, Storage};
use trainer::checkpoint::Checkpoint;
use trainer::device::DeviceKind;
use trainer::embed::{self, EmbedError};
use trainer::encode::EncodeError;
use trainer::encode::encoder::Layers;
use trainer::encode::pictures::Given;
use trainer::encode::rows::Encoders;
use trainer::eval::features::{Features, extract};
use trainer::eval::finetune::FinetuneSettings;
use trainer::eval::record::Method;
use trainer::export;
use trainer::neighbours::{self, Found, Neighbour, NeighbourSettings, NeighboursError};
use trainer::progress::Console;

use crate::case::{Case, settings};
use crate::eval::{fine_tuning, judge, trained, trained_on};

/// A file of embeddings.
struct Table {
    keys: Vec<String>,
    labels: Vec<Option<String>>,
    values: Vec<f32>,
    width: usize,
    told: Vec<(String, String)>,
}

impl Table {
    fn read(path: &Path) -> Self {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        let told = builder.metadata().file_metadata().key_value_metadata().unwrap();
        let told =
            told.iter().map(|pair| (pair.key.clone(), pair.value.clone().unwrap_or_default()));
        let told = told.collect();
        let DataType::FixedSizeList(element, width) = builder.schema().field(2).data_type() else {
            panic!("{:?}", builder.schema());
        };
        assert_eq!(*element.data_type(), DataType::Float32);
        let width = *width as usize;
        let mut table = Self { keys: vec![], labels: vec![], values: vec![], width, told };
        for batch in builder.build().unwrap() {
            let batch = batch.unwrap();
            let keys = batch["key"].as_string::<i32>();
            table.keys.extend(keys.iter().map(|key| key.unwrap().to_owned()));
            let labels = batch["label"].as_string::<i32>();
            table.labels.extend(labels.iter().map(|label| label.map(str::to_owned)));
            let lists = batch["embedding"].as_fixed_size_list();
            assert_eq!(lists.null_count(), 0);
            table.values.extend(lists.values().as_primitive::<Float32Type>().values());
        }
        table
    }

    fn told(&self, key: &str) -> &str {
        let name = format!("localmim.{key}");
        &self.told.iter().find(|(key, _)| *key == name).unwrap().1
    }
}

fn request(case: &Case, given: Given, out: &str) -> embed::EmbedRequest {
    embed::EmbedRequest {
        checkpoint: case.path("run"),
        storage: Storage::local(),
        given,
        out: Address::from(case.path(out)),
        normalize: false,
        cache: None,
    }
}

fn embed(request: &embed::EmbedRequest) -> Result<embed::Embedded, EmbedError> {
    embed::run(request, DeviceKind::Cpu, &Console::quiet())
}

fn shards(case: &Case) -> Given {
    Given::Shards(Address::from(case.shards()))
}

fn pictures<const N: usize>(all: [PathBuf; N]) -> Given {
    Given::Pictures(all.map(Address::from).to_vec())
}

/// What `eval` takes as features of a set.
fn features(case: &Case, set: &ShardSet) -> Features {
    let (path, checkpoint) = export::find_checkpoint(&case.path("run"), &Console::quiet()).unwrap();
    let checkpoints = [&checkpoint];
    let encoders = Encoders {
        device: DeviceKind::Cpu,
        path: &path,
        checkpoints: &checkpoints,
        layers: Layers::Top,
    };
    extract(encoders, set, "features", None, &Console::quiet()).unwrap()
}

#[test]
fn embeddings_are_evals_features_in_the_sets_order() {
    let case = trained();
    let request = request(&case, shards(&case), "out/embeddings.parquet");
    let done = embed(&request).unwrap();
    let table = Table::read(&case.path("out/embeddings.parquet"));
    let expected = features(&case, &case.dataset());
    assert_eq!((done.rows, done.width), (case.dataset().rows(), expected.dim));
    assert_eq!((table.keys.len() as u64, table.width), (done.rows, done.width));
    assert_eq!(table.values, expected.values);
    let set = ShardSet::open(&case.shards()).unwrap();
    for (row, (key, label)) in table.keys.iter().zip(&table.labels).enumerate() {
        let stored = set.row(row as u64).unwrap();
        assert_eq!((key, label), (&stored.source, &stored.label));
    }
    assert_eq!((table.told("model"), table.told("step")), ("vit-tiny-16", "4"));
    assert_eq!(table.told("width"), done.width.to_string());
    assert!(table.told("checkpoint").ends_with("step-00000004.safetensors"));

    // The same again; and of length 1, if that is asked for.
    let bytes = fs::read(case.path("out/embeddings.parquet")).unwrap();
    embed(&request).unwrap();
    assert!(fs::read(case.path("out/embeddings.parquet")).unwrap() == bytes);
    embed(&embed::EmbedRequest { normalize: true, ..request }).unwrap();
    let unit = Table::read(&case.path("out/embeddings.parquet"));
    for (unit, plain) in unit.values.chunks(unit.width).zip(table.values.chunks(table.width)) {
        let length = |row: &[f32]| row.iter().map(|value| value * value).sum::<f32>().sqrt();
        assert!((length(unit) - 1.0).abs() < 1e-5);
        assert!((unit[0] * length(plain) - plain[0]).abs() < 1e-4);
    }
}

#[test]
fn a_bucket_gets_the_bytes_that_a_file_gets() {
    let case = trained_on(12);
    let server = S3Server::start().unwrap();
    let local = request(&case, shards(&case), "local.parquet");
    embed(&local).unwrap();
    let storage = Storage::new(server.options()).unwrap();
    let out = server.address("lake/embeddings.parquet");
    embed(&embed::EmbedRequest { storage: storage.clone(), out: out.clone(), ..local }).unwrap();
    // Where the checkpoint and the shards lie is the same, so all bytes are.
    assert!(storage.read(&out).unwrap() == fs::read(case.path("local.parquet")).unwrap());
}

#[test]
fn pictures_from_several_places_give_a_row_each_with_a_class_or_none() {
    let case = trained_on(24);
    let loose = case.path("loose");
    fs::create_dir_all(&loose).unwrap();
    flat(&loose.join("one.png"), [200, 30, 30], 1);
    let given = pictures([case.path("raw"), loose]);
    let done = embed(&request(&case, given.clone(), "embeddings.parquet")).unwrap();
    let table = Table::read(&case.path("embeddings.parquet"));
    assert_eq!(table.keys.len() as u64, done.rows);
    let keys: BTreeSet<_> = table.keys.iter().collect();
    assert_eq!(keys.len(), table.keys.len(), "each picture once");
    let unlabelled: Vec<_> =
        table.keys.iter().zip(&table.labels).filter(|(_, l)| l.is_none()).collect();
    assert_eq!(unlabelled.len(), 1);
    assert!(unlabelled[0].0.ends_with("one.png"), "{unlabelled:?}");
    // What was made of the pictures is found the next time.
    let made = fs::read_dir(case.path("run/eval")).unwrap().count();
    embed(&request(&case, given, "embeddings.parquet")).unwrap();
    assert_eq!(fs::read_dir(case.path("run/eval")).unwrap().count(), made);
}

#[test]
fn what_cannot_be_embedded_is_told_with_the_way_out() {
    let case = trained_on(12);
    let error = embed(&request(&case, pictures([case.shards()]), "a.parquet")).unwrap_err();
    assert!(matches!(&error, EmbedError::Views(EncodeError::IsSet(_))), "{error}");
    assert!(error.to_string().contains("--shards"), "{error}");
    let error = embed(&request(&case, shards(&case), "raw")).unwrap_err();
    assert!(matches!(&error, EmbedError::Folder(_)), "{error}");
    let nothing = embed::EmbedRequest {
        checkpoint: case.path("raw"),
        ..request(&case, shards(&case), "a.parquet")
    };
    let error = embed(&nothing).unwrap_err().to_string();
    assert!(error.contains("holds no checkpoint"), "{error}");

    // An encoder whose training came to no numbers.
    let (path, mut checkpoint) =
        export::find_checkpoint(&case.path("run"), &Console::quiet()).unwrap();
    checkpoint.model.get_mut("patch_embed.proj.bias").unwrap().data.fill(f32::NAN);
    checkpoint.write(&path).unwrap();
    let error = embed(&request(&case, shards(&case), "a.parquet")).unwrap_err();
    assert!(matches!(&error, EmbedError::NotFinite { .. }), "{error}");
    assert!(!case.path("a.parquet").exists(), "nothing is left of a failure");
}

#[test]
fn exported_and_fine_tuned_encoders_are_taken_too() {
    let case = trained_on(12);
    let with = |checkpoint: PathBuf| {
        let request =
            embed::EmbedRequest { checkpoint, ..request(&case, shards(&case), "a.parquet") };
        embed(&request).unwrap();
        Table::read(&case.path("a.parquet"))
    };
    let of_run = with(case.path("run"));
    let exported = case.path("encoder.safetensors");
    let (_, checkpoint) = export::find_checkpoint(&case.path("run"), &Console::quiet()).unwrap();
    export::export(&checkpoint, &exported).unwrap();
    assert_eq!(with(exported).values, of_run.values);

    let tune =
        FinetuneSettings { epochs: 2, warmup_epochs: 0.0, batch_size: 12, ..fine_tuning(&[]) };
    let tuned = judge(&case, Method::Finetune(tune), case.shards(), None).unwrap();
    let of_tuned = with(tuned.weights.unwrap());
    assert_eq!(of_tuned.told("step"), "4");
    assert!(of_tuned.values != of_run.values, "fine-tuning moves the encoder");
    assert!(of_tuned.values.iter().all(|value| value.is_finite()));
    assert!(Checkpoint::read(&case.path("run/checkpoints/step-00000004.safetensors")).is_ok());
}

/// A picture of one colour with a little noise.
fn flat(path: &Path, colour: [u8; 3], seed: usize) {
    let side = 48;
    let noise = |at: usize| (at.wrapping_mul(2_654_435_761).wrapping_add(seed * 977) >> 7) % 9;
    let rgb: Vec<u8> = (0..side * side * 3)
        .map(|at| colour[at % 3].saturating_add(noise(at + seed * 131) as u8))
        .collect();
    fs::write(path, voice::draw::png(&rgb, side as u32, side as u32).unwrap()).unwrap();
}

/// A class whose name is markup.
const MARKUP: &str = "<b onclick=\"x\">&amp;";

/// Three classes of six pictures, each about one colour; one of them is there twice.
fn clusters(case: &Case) -> PathBuf {
    let root = case.path("clusters");
    let colours = [("red", [210, 20, 20]), ("green", [20, 200, 30]), (MARKUP, [20, 30, 220])];
    for (class, colour) in colours {
        fs::create_dir_all(root.join(class)).unwrap();
        for seed in 0..6 {
            flat(&root.join(class).join(format!("{seed}.png")), colour, seed);
        }
    }
    fs::copy(root.join("red/0.png"), root.join("red/copy.png")).unwrap();
    root
}

fn find(case: &Case, given: Given, queries: &[&str]) -> Result<Found, NeighboursError> {
    let request = neighbours::NeighboursRequest {
        checkpoint: case.path("run"),
        storage: Storage::local(),
        given,
        queries: queries.iter().map(ToString::to_string).collect(),
        settings: NeighbourSettings { queries: 6, k: 5, ..NeighbourSettings::default() },
        cache: None,
    };
    neighbours::find(&request, DeviceKind::Cpu, &Console::quiet())
}

fn keys(strip: &[Neighbour]) -> Vec<&str> {
    strip.iter().map(|neighbour| neighbour.shown.key.as_str()).collect()
}

#[test]
fn neighbours_are_of_the_same_cluster_and_those_of_a_plain_search() {
    let case = trained_on(12);
    let root = clusters(&case);
    let found = find(&case, pictures([root]), &[]).unwrap();
    assert_eq!((found.sampled, found.is_whole, found.rows.len()), (18, true, 6));
    let asked: Vec<_> = found.rows.iter().map(|row| row.query.label.clone().unwrap()).collect();
    assert_eq!(asked.iter().collect::<BTreeSet<_>>().len(), 3, "of all classes: {asked:?}");

    let agreement = found.agreement.as_ref().unwrap();
    assert_eq!((agreement.judged, agreement.classes), (18, 3));
    assert!((agreement.chance - 5.0 / 17.0).abs() < 1e-9, "{agreement:?}");
    assert_eq!((agreement.trained, agreement.untrained), (1.0, 1.0));

    let cached = fs::read_dir(case.path("run/eval")).unwrap().next().unwrap().unwrap().path();
    let set = ShardSet::open_whole(ShardSource::local(cached)).unwrap();
    let all = features(&case, &set);
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    let sources = sources(&set);
    for row in &found.rows {
        assert_eq!((row.trained.len(), row.untrained.len()), (5, 5));
        let query = sources.iter().position(|key| *key == row.query.key).unwrap();
        let mut best: Vec<f64> = (0..all.rows())
            .filter(|&other| all.pictures[other] != all.pictures[query])
            .filter(|&other| !sources[other].ends_with("copy.png"))
            .map(|other| cosine(all.row(query), all.row(other)))
            .collect();
        best.sort_by(|a, b| b.total_cmp(a));
        for (neighbour, best) in row.trained.iter().zip(best) {
            assert!((f64::from(neighbour.similarity) - best).abs() < 1e-5);
        }
        for neighbour in row.trained.iter().chain(&row.untrained) {
            assert_eq!(neighbour.same_class, Some(true), "{}", row.query.key);
            assert!(neighbour.shown.thumbnail.starts_with(&[0xff, 0xd8]), "a JPEG");
        }
        let unique: BTreeSet<_> = keys(&row.trained).into_iter().collect();
        assert!(unique.len() == 5 && !unique.contains(row.query.key.as_str()));
    }
}

fn sources(set: &ShardSet) -> Vec<String> {
    let read = |group| {
        let batch = set.read(group, &["source".to_owned()]).unwrap();
        let sources = batch["source"].as_string::<i32>();
        sources.iter().map(|key| key.unwrap().to_owned()).collect::<Vec<_>>()
    };
    set.groups().flat_map(read).collect()
}

#[test]
fn files_and_keys_can_be_asked_for_and_no_copy_is_a_neighbour() {
    let case = trained_on(12);
    let root = clusters(&case);
    let file = root.join("red/copy.png");
    let other = case.path("other.png");
    flat(&other, [20, 200, 30], 77);
    let names = ["green/3.png", file.to_str().unwrap(), other.to_str().unwrap()];
    let found = find(&case, pictures([root.clone()]), &names).unwrap();
    let asked: Vec<_> = found.rows.iter().map(|row| row.query.key.as_str()).collect();
    assert_eq!(asked, names);
    let labels: Vec<_> = found.rows.iter().map(|row| row.query.label.as_deref()).collect();
    assert_eq!(labels, [Some("green"), Some("red"), None], "a known content has its class");
    let copies = keys(&found.rows[1].trained);
    assert_eq!(copies.len(), 5);
    assert!(!copies.contains(&"red/0.png") && !copies.contains(&"red/copy.png"), "{copies:?}");
    assert!(keys(&found.rows[2].trained).iter().all(|key| key.starts_with("green/")));
    assert!(found.rows[2].trained.iter().all(|neighbour| neighbour.same_class.is_none()));

    let error = find(&case, pictures([root.clone()]), &["red/none.png"]).unwrap_err();
    assert!(matches!(&error, NeighboursError::NoQuery { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("red/none.png") && text.contains("`source`"), "{text}");
    let text = case.path("text.png");
    fs::write(&text, "no picture").unwrap();
    let error = find(&case, pictures([root]), &[text.to_str().unwrap()]).unwrap_err();
    assert!(error.to_string().contains("text.png"), "{error}");
}

#[test]
fn the_page_is_whole_and_names_stay_text() {
    let case = trained_on(12);
    let found = find(&case, pictures([clusters(&case)]), &[]).unwrap();
    let page = neighbours::page(&found);
    let images = page.matches("<img ").count();
    assert_eq!(images, 6 * (1 + 5 + 5));
    assert_eq!(page.matches("src=\"data:image/jpeg;base64,").count(), images);
    for outside in ["http:", "https:", "<script", "<link", "url(", "@import", MARKUP, "<b "] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("&lt;b onclick=&quot;x&quot;&gt;&amp;amp;"));
    assert!(page.contains("100.0 %") && page.contains(&neighbours::section(&found).into_string()));
}

#[test]
fn of_a_large_set_a_sample_stands_for_it() {
    let case = trained();
    let draw = |seed| {
        let request = neighbours::NeighboursRequest {
            checkpoint: case.path("run"),
            storage: Storage::local(),
            given: shards(&case),
            queries: vec![],
            settings: NeighbourSettings { queries: 6, k: 3, sample: 20, seed },
            cache: None,
        };
        neighbours::find(&request, DeviceKind::Cpu, &Console::quiet()).unwrap()
    };
    let found = draw(1);
    assert!(!found.is_whole && (2..=20).contains(&found.sampled), "{}", found.sampled);
    assert_eq!(found.rows_of_set, case.dataset().rows());
    assert!(neighbours::page(&found).contains("drawn by seed 1"));
    // No picture is there twice, though the set has two views of each.
    for row in &found.rows {
        assert_eq!(keys(&row.trained).iter().collect::<BTreeSet<_>>().len(), 3);
        assert!(!keys(&row.trained).contains(&row.query.key.as_str()));
    }
    assert_eq!(draw(1), found);
    assert_ne!(draw(2).rows, found.rows);
}

#[test]
fn an_untrained_encoder_is_the_one_that_the_run_began_with() {
    let case = Case::with_shards(12);
    let begun = settings(|options| {
        options.max_steps = Some(1);
        options.lr = Some(0.0);
    });
    case.train("run", &begun, false).unwrap();
    let found = find(&case, shards(&case), &[]).unwrap();
    for row in &found.rows {
        assert_eq!(keys(&row.trained), keys(&row.untrained));
    }
}
