//! Codebooks whose codes are stored.

use std::fs;

use ingest::repair::{Repair, repair};
use ingest::{Codebook, LEAST_MEMORY, Settings, Silent, run};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use shards::ShardSet;
use storage::Storage;
use targets::{View, mirror_picture};

use crate::case::Case;

/// The file of a codebook of so many codes for patches of `patch` pixels.
fn file(patch: usize, codes: usize) -> Vec<u8> {
    let dim = patch * patch * 3;
    let value = |i: usize| ((i / dim * 7919 + i % dim * 31) % 97) as f32 / 24.0 - 2.0;
    let bytes: Vec<u8> = (0..codes * dim).flat_map(|i| value(i).to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![codes, dim], &bytes).unwrap();
    safetensors::serialize([("codes", view)], None).unwrap()
}

fn codebooks() -> Vec<Codebook> {
    [file(16, 40), file(8, 300)].iter().map(|bytes| Codebook::parse(bytes).unwrap()).collect()
}

fn with_codebooks(case: &Case, sources: &[&str], out: &str) -> Settings {
    case.settings(sources, out).with_codebooks(codebooks())
}

#[test]
fn a_row_has_the_nearest_codes_of_its_view_and_of_the_mirrored_one() {
    let case = Case::mixed();
    run(&with_codebooks(&case, &["raw", "part.tar"], "out"), &Silent).unwrap();
    let rows = case.rows("out");
    assert!(rows.len() > 15);
    let mut seen: Vec<u16> = vec![];
    for row in &rows {
        let mut mirrored = vec![0; row.picture.len()];
        mirror_picture(&row.picture, 32, &mut mirrored).unwrap();
        assert_eq!(row.codes.iter().map(|codes| codes.cell).collect::<Vec<_>>(), [8, 16]);
        for (stored, book) in row.codes.iter().zip(Codebook::by_patch(codebooks())) {
            let of = |rgb: &[u8]| book.nearest(View::new(rgb, 32).unwrap()).unwrap();
            assert_eq!(stored.codes, of(&row.picture));
            assert_eq!(stored.mirrored, of(&mirrored));
            seen.extend(&stored.codes);
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() > 10, "pictures differ, so that their codes do: {seen:?}");

    // What else is stored does not change.
    case.run(&["raw", "part.tar"], "plain");
    for (with, plain) in rows.iter().zip(case.rows("plain")) {
        assert!(plain.codes.is_empty());
        assert_eq!((&with.picture, &with.cells), (&plain.picture, &plain.cells));
    }
    // Nor do threads change a byte.
    let mut settings = with_codebooks(&case, &["raw", "part.tar"], "again");
    settings.threads = 1;
    run(&settings, &Silent).unwrap();
    assert!(case.files("again") == case.files("out"));
}

#[test]
fn a_set_stays_with_its_codebooks_when_it_grows_and_when_it_is_repaired() {
    let case = Case::mixed();
    run(&with_codebooks(&case, &["raw"], "out"), &Silent).unwrap();
    let without = Settings { append: true, ..case.settings(&["part.tar"], "out") };
    let error = run(&without, &Silent).unwrap_err().to_string();
    let hash = codebooks()[0].layout().blake3.clone();
    assert!(error.contains("--codebook was") && error.contains(hash.as_str()), "{error}");
    let grown = Settings { append: true, ..with_codebooks(&case, &["part.tar"], "out") };
    run(&grown, &Silent).unwrap();

    let whole = case.files("out");
    let settings = |codebooks| Repair {
        out: case.path("out").into(),
        from: vec![],
        codebooks,
        web: web::Options::new(ingest::USER_AGENT),
        threads: 2,
        memory: LEAST_MEMORY,
    };
    let mend = |codebooks| repair(&Storage::local(), &settings(codebooks), &Silent);
    let set = ShardSet::open(&case.path("out")).unwrap();
    let shard = set.manifest().shards.at(0).file.to_owned();
    for file in [shard.as_str(), "rejects.jsonl"] {
        fs::remove_file(case.path("out").join(file)).unwrap();
        let error = mend(vec![]).unwrap_err().to_string();
        assert!(
            error.contains(file) && error.contains("--codebook") && error.contains(hash.as_str()),
            "{error}"
        );
        let other = Codebook::parse(&self::file(16, 41)).unwrap();
        assert!(mend(vec![other]).is_err());
        mend(Codebook::by_patch(codebooks())).unwrap();
        assert!(case.files("out") == whole, "{file}");
    }
}

#[test]
fn the_command_line_takes_codebooks_and_says_what_is_wrong_with_one() {
    let case = Case::mixed();
    case.put("coarse.safetensors", file(16, 40));
    case.put("fine.safetensors", file(8, 300));
    case.put("alike.safetensors", file(16, 41));
    case.put("odd.safetensors", file(5, 40));
    case.put("text.safetensors", "no codebook");
    let with = |files: &[&str], out: &str| {
        let flags: Vec<_> = files.iter().flat_map(|file| ["--codebook", file]).collect();
        case.ingest(&[&["raw"], &flags[..], &["--out", out], &Case::FLAGS[..]].concat())
    };
    let (_, said) = with(&["coarse.safetensors", "fine.safetensors"], "out");
    assert!(said.contains("accepted"), "{said}");
    let (_, said) = case.ingest(&["inspect", "out"]);
    assert!(said.contains("300 codes of patches of 8 pixels"), "{said}");

    for (files, expected) in [
        (&["text.safetensors"][..], "no safetensors file"),
        (&["none.safetensors"], "can't be read"),
        (&["odd.safetensors"], "5 does not"),
        (&["coarse.safetensors", "alike.safetensors"], "one for each"),
    ] {
        let (success, said) = with(files, "other");
        assert!(!success && said.contains("--codebook") && said.contains(expected), "{said}");
        assert!(!case.path("other").exists());
    }
}
