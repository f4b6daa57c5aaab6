//! Every recipe trains, goes on where it was stopped, is exported and reported.

use clap::ValueEnum;
use shards::ShardSource;
use trainer::checkpoint::Checkpoint;
use trainer::export;
use trainer::model::TargetKind;
use trainer::progress::Console;
use trainer::report::{self, Contents};
use trainer::settings::{Options, Recipe, Settings};

use crate::case::{Case, settings_of};

/// A recipe at a size that takes no time.
pub fn small(recipe: Recipe, change: impl FnOnce(&mut Options)) -> Settings {
    settings_of(recipe, |options| {
        options.width = Some(24);
        if recipe.needs_swin() {
            options.depths = Some(vec![1, 2, 1, 1]);
            options.heads = Some(vec![1, 2, 2, 2]);
            options.window = Some(4);
        } else {
            options.depths = Some(vec![6]);
            options.heads = Some(vec![2]);
        }
        if recipe == Recipe::Simmim {
            options.input_size = Some(32 * 2);
        }
        options.decoder_depth = Some(1);
        options.mask_ratio = Some(0.5);
        options.max_steps = Some(4);
        options.epochs = Some(2);
        change(options);
    })
}

/// The checkpoint at the end of the run `NAME-whole`, where one that was stopped after `part` and
/// resumed (`NAME-part`) ends too.
fn trained_and_resumed(case: &Case, name: &str, whole: &Settings, part: &Settings) -> Checkpoint {
    let outcome = case.train(&format!("{name}-whole"), whole, false).unwrap();
    case.train(&format!("{name}-part"), part, false).unwrap();
    let resumed = case.train(&format!("{name}-part"), whole, true).unwrap();
    let (whole, resumed) = (case.checkpoint(&outcome), case.checkpoint(&resumed));
    assert!(whole.model == resumed.model, "{name}: a resumed run should end the same");
    assert!(whole.moments == resumed.moments, "{name}: a resumed run should end the same");
    whole
}

#[test]
fn every_recipe_trains_resumes_and_exports() {
    let case = Case::with_shards(20);
    for &recipe in Recipe::value_variants() {
        let name = recipe.name();
        let part = small(recipe, |options| options.max_steps = Some(2));
        let whole = trained_and_resumed(&case, name, &small(recipe, |_| ()), &part);
        assert_eq!(whole.header.step, 4, "{name}");

        let timm = export::to_timm(&whole).unwrap();
        assert!(timm.contains_key("norm.weight"), "{name}");
        assert!(!timm.keys().any(|key| key.contains("mask_token") || key.contains("decoder")));
        let page = case.path("report.html");
        let contents = Contents { views: 2, sample: 0 };
        let shards = ShardSource::local(case.shards());
        report::write(
            &case.path(&format!("{name}-part")),
            &shards,
            &page,
            contents,
            &Console::quiet(),
        )
        .unwrap();
        let html = std::fs::read_to_string(&page).unwrap();
        assert_eq!(html.matches("data:image/png;base64,").count(), 2, "{name}");
    }
}

#[test]
fn every_recipe_lowers_its_loss() {
    let case = Case::with_shards(20);
    for &recipe in Recipe::value_variants() {
        let settings = small(recipe, |options| {
            options.max_steps = None;
            options.epochs = Some(6);
            options.clip_grad = Some(1.0);
        });
        case.train(recipe.name(), &settings, false).unwrap();
        let losses: Vec<f64> =
            case.records(recipe.name()).iter().map(|record| record.loss).collect();
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let (first, last) = (mean(&losses[..4]), mean(&losses[losses.len() - 4..]));
        assert!(last < first, "{}: {first} became {last}", recipe.name());
    }
}

#[test]
fn codes_of_a_codebook_are_learned_by_every_tap() {
    let case = Case::with_codes(20);
    for &recipe in Recipe::value_variants() {
        let name = recipe.name();
        let with = |steps| {
            small(recipe, |options| {
                options.target = Some(TargetKind::Code);
                options.max_steps = Some(steps);
            })
        };
        let whole = trained_and_resumed(&case, name, &with(8), &with(3));
        assert!(export::to_timm(&whole).unwrap().contains_key("norm.weight"), "{name}");

        let losses: Vec<f64> =
            case.records(&format!("{name}-whole")).iter().map(|record| record.loss).collect();
        let (first, last) = (losses[0] + losses[1], losses[6] + losses[7]);
        assert!(last < first, "{name}: {losses:?}");
        let page = case.path("report.html");
        let contents = Contents { views: 2, sample: 0 };
        let shards = ShardSource::local(case.shards());
        report::write(
            &case.path(&format!("{name}-whole")),
            &shards,
            &page,
            contents,
            &Console::quiet(),
        )
        .unwrap();
        let html = std::fs::read_to_string(&page).unwrap();
        assert!(html.contains("the likeliest code"), "{name}");
    }

    let settings = small(Recipe::LocalmimHog, |options| {
        options.target = Some(TargetKind::Code);
        options.max_steps = None;
        options.epochs = Some(12);
        options.clip_grad = Some(1.0);
    });
    case.train("long", &settings, false).unwrap();
    let records = case.records("long");
    for tap in 0..records[0].tap_losses.len() {
        let losses: Vec<f64> = records.iter().map(|record| record.tap_losses[tap]).collect();
        let (first, last) = (&losses[..8], &losses[losses.len() - 8..]);
        assert!(last.iter().sum::<f64>() < first.iter().sum(), "tap {tap}: {losses:?}");
    }

    let plain = Case::with_shards(20);
    let settings = small(Recipe::Mae, |options| options.target = Some(TargetKind::Code));
    let error = plain.train("plain", &settings, false).unwrap_err().to_string();
    assert!(error.contains("--codebook"), "{error}");
}

#[test]
fn a_swin_learns_by_localmim_with_its_own_taps() {
    let case = Case::with_shards(20);
    let settings = settings_of(Recipe::LocalmimHog, |options| {
        options.model = Some(trainer::model::ModelName::SwinTiny7);
        options.width = Some(16);
        options.depths = Some(vec![1, 1, 1, 1]);
        options.heads = Some(vec![1, 2, 2, 2]);
        options.mask_ratio = Some(0.5);
        options.max_steps = Some(2);
    });
    let outcome = case.train("swin", &settings, false).unwrap();
    assert_eq!(case.records("swin")[0].tap_losses.len(), 4);
    let timm = export::to_timm(&case.checkpoint(&outcome)).unwrap();
    // timm merges at the beginning of a stage.
    assert_eq!(timm["layers.1.downsample.reduction.weight"].shape, [32, 64]);
    assert!(!timm.contains_key("layers.0.downsample.reduction.weight"));
}
