//! The page itself.

use std::collections::BTreeMap;

use maud::{Markup, html};
use schemas::{Manifest, Reason, Reject};
use voice::html::{document, facts, sheet, table};
use voice::terminal::{counted, rate};

use super::ReportError;
use super::panels::Drawn;
use crate::checkpoint::Header;
use crate::metrics::Record;
use crate::model::{ModelConfig, TargetKind};
use crate::plot::{Axes, Series, figure};

/// Rejects listed by name; beyond these only the counts are shown.
const REJECTS_LISTED: usize = 40;

/// What was made of the pictures.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// Views and their reconstructions.
    pub drawn: &'a Drawn,
    /// The part on what was learned.
    pub learned: &'a Markup,
}

/// The report as HTML, with everything it shows inside it.
pub fn page(
    header: &Header,
    manifest: &Manifest,
    rejects: &[Reject],
    records: &[Record],
    Shown { drawn, learned }: Shown<'_>,
) -> Result<String, ReportError> {
    let settings = &header.settings;
    let title = format!("{} · {}", settings.recipe.name(), settings.model.name());
    let text = toml::to_string(settings).map_err(|error| ReportError::Draw(error.to_string()))?;
    let body = html! {
        h1 { (title) }
        (facts(of_run(header, manifest).into_iter().chain(of_records(records))))
        h2 { "Loss at each tap" }
        (losses(&header.network, records)?)
        h2 { "Reconstructions" }
        p { (what_is_reconstructed(header.network.target)) }
        @for view in &drawn.views { (sheet(&view.caption, &view.png)) }
        (learned)
        (rejected(rejects))
        h2 { "Settings" }
        pre { (text) }
    };
    Ok(document(&title, &body))
}

/// A name and a value.
type Fact = (&'static str, String);

fn of_run(header: &Header, manifest: &Manifest) -> Vec<Fact> {
    let settings = &header.settings;
    let side = manifest.settings.layout.size;
    let shards = format!(
        "{} accepted, {} rejected; {} of {side}×{side} pixels in {}",
        counted(manifest.accepted, "picture"),
        manifest.rejected,
        counted(manifest.rows, "row"),
        counted(manifest.shards.len() as u64, "shard")
    );
    vec![
        ("Steps", header.step.to_string()),
        ("Views a step", (settings.batch_size * settings.accum).to_string()),
        ("Shards", shards),
    ]
}

fn of_records(records: &[Record]) -> Vec<Fact> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return vec![] };
    let loss =
        format!("{:.4} at step {}, {:.4} at step {}", first.loss, first.step, last.loss, last.step);
    let shares = &last.shares;
    let time = format!(
        "{} views/s; data {:.0} %, encoder {:.0} %, decoders {:.0} %, optimizer {:.0} %",
        rate(last.views_per_s),
        100.0 * shares.data,
        100.0 * shares.encoder,
        100.0 * shares.decoders,
        100.0 * shares.optimizer
    );
    vec![("Loss", loss), ("Time of the last steps", time)]
}

fn losses(network: &ModelConfig, records: &[Record]) -> Result<Markup, ReportError> {
    let layer = network.encoder.layer_name();
    let lines: Vec<_> = network
        .taps
        .iter()
        .enumerate()
        .map(|(i, tap)| {
            let name = format!("after {layer} {}, cells of {} px", tap.layer, tap.cell);
            let point = |record: &Record| Some((record.step as f64, *record.tap_losses.get(i)?));
            Series::line(name, records.iter().filter_map(point).collect())
        })
        .collect();
    Ok(figure(&lines, &Axes { log_y: true, ..Axes::new("step", "loss (logarithmic)") })?)
}

fn what_is_reconstructed(target: TargetKind) -> Markup {
    html! {
        "For each view: what the picture is, what the encoder saw, and for each tap the target and "
        "the prediction. In a prediction, cells the encoder saw are the target's"
        (match target {
            TargetKind::Hog => {
                ", dimmed, and the others are brightened alike, until the strongest stroke is white."
            }
            TargetKind::Pixel | TargetKind::RawPixel => ".",
            TargetKind::Code => {
                ", and the others have the likeliest code. Each code has a colour of its own, which means nothing else."
            }
        })
    }
}

fn rejected(rejects: &[Reject]) -> Markup {
    let mut counts: BTreeMap<Reason, usize> = BTreeMap::new();
    for reject in rejects {
        *counts.entry(reject.reason).or_default() += 1;
    }
    let row = |reject: &Reject| {
        let Reject { source, bytes, reason, message, .. } = reject;
        [source.clone(), bytes.to_string(), reason.code().to_owned(), message.clone()]
    };
    html! {
        h2 { "Rejected pictures: " (rejects.len()) }
        (facts(counts.into_iter().map(|(reason, count)| (reason.code(), count))))
        @if !rejects.is_empty() {
            (table(&["File", "Bytes", "Reason", ""], rejects.iter().take(REJECTS_LISTED).map(row)))
        }
        @if rejects.len() > REJECTS_LISTED {
            p { (rejects.len() - REJECTS_LISTED) " more are in rejects.jsonl." }
        }
    }
}
