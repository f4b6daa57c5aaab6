//! The page itself.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemas::{Manifest, Reason, Reject};
use voice::terminal::{self, counted};

use super::ReportError;
use super::panels::Drawn;
use crate::checkpoint::Header;
use crate::html::{document, escape, facts as table};
use crate::metrics::Record;
use crate::model::TargetKind;
use crate::plot::{Axes, Series, plot};

/// Rejects listed by name; beyond these only the counts are shown.
const REJECTS_LISTED: usize = 40;

/// What was made of the pictures.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// Views and their reconstructions.
    pub drawn: &'a Drawn,
    /// The part on what was learned, in HTML.
    pub learned: &'a str,
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
    let mut body = format!("<h1>{}</h1>", escape(&title));

    let mut facts = vec![
        ("Steps".to_owned(), header.step.to_string()),
        ("Views a step".to_owned(), (settings.batch_size * settings.accum).to_string()),
        (
            "Shards".to_owned(),
            format!(
                "{} accepted, {} rejected; {} of {}×{} pixels in {}",
                counted(manifest.accepted, "picture"),
                manifest.rejected,
                counted(manifest.rows, "row"),
                manifest.settings.layout.size,
                manifest.settings.layout.size,
                counted(manifest.shards.len() as u64, "shard")
            ),
        ),
    ];
    if let (Some(first), Some(last)) = (records.first(), records.last()) {
        facts.push((
            "Loss".to_owned(),
            format!(
                "{:.4} at step {}, {:.4} at step {}",
                first.loss, first.step, last.loss, last.step
            ),
        ));
        let shares = &last.shares;
        facts.push((
            "Time of the last steps".to_owned(),
            format!(
                "{} views/s; data {:.0} %, encoder {:.0} %, decoders {:.0} %, optimizer {:.0} %",
                terminal::rate(last.views_per_s),
                100.0 * shares.data,
                100.0 * shares.encoder,
                100.0 * shares.decoders,
                100.0 * shares.optimizer
            ),
        ));
    }
    body += &table(&facts);

    body += "<h2>Loss at each tap</h2>";
    let losses: Vec<_> = header
        .network
        .taps
        .iter()
        .enumerate()
        .map(|(i, tap)| {
            let losses = records.iter();
            Series::line(
                format!(
                    "after {} {}, cells of {} px",
                    header.network.encoder.layer_name(),
                    tap.layer,
                    tap.cell
                ),
                losses
                    .filter_map(|record| Some((record.step as f64, *record.tap_losses.get(i)?)))
                    .collect(),
            )
        })
        .collect();
    body += &format!(
        "<figure>{}</figure>",
        plot(&losses, &Axes { log_y: true, ..Axes::new("step", "loss (logarithmic)") })?
    );

    body += "<h2>Reconstructions</h2><p>";
    body += "For each view: what the picture is, what the encoder saw, and for each tap the target \
             and the prediction. In a prediction, cells the encoder saw are the target's";
    body += match header.network.target {
        TargetKind::Hog => {
            ", dimmed, and the others are brightened alike, until the strongest stroke is white."
        }
        TargetKind::Pixel | TargetKind::RawPixel => ".",
        TargetKind::Code => {
            ", and the others have the likeliest code. Each code has a colour of its own, which means nothing else."
        }
    };
    body += "</p>";
    for view in &drawn.views {
        let _ = write!(
            body,
            "<figure><figcaption>{}</figcaption><div class=\"scroll\"><img alt=\"{}\" \
             src=\"data:image/png;base64,{}\"></div></figure>",
            escape(&view.caption),
            escape(&view.caption),
            STANDARD.encode(&view.png)
        );
    }

    body += learned;

    let _ = write!(body, "<h2>Rejected pictures: {}</h2>", rejects.len());
    let mut counts: BTreeMap<Reason, usize> = BTreeMap::new();
    for reject in rejects {
        *counts.entry(reject.reason).or_default() += 1;
    }
    let counts: Vec<_> = counts
        .into_iter()
        .map(|(reason, count)| (reason.code().to_owned(), count.to_string()))
        .collect();
    body += &table(&counts);
    if !rejects.is_empty() {
        body += "<div class=\"scroll\"><table><tr><th>File</th><th>Bytes</th><th>Reason</th><th></th></tr>";
        for reject in rejects.iter().take(REJECTS_LISTED) {
            let _ = write!(
                body,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(&reject.source),
                reject.bytes,
                reject.reason.code(),
                escape(&reject.message)
            );
        }
        body += "</table></div>";
    }
    if rejects.len() > REJECTS_LISTED {
        let _ =
            write!(body, "<p>{} more are in rejects.jsonl.</p>", rejects.len() - REJECTS_LISTED);
    }

    body += "<h2>Settings</h2>";
    let text = toml::to_string(settings).map_err(|error| ReportError::Draw(error.to_string()))?;
    let _ = write!(body, "<pre>{}</pre>", escape(&text));
    Ok(document(&title, &body))
}
