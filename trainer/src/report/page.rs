//! The page itself.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemas::{Manifest, Reason, Reject};

use super::ReportError;
use super::panels::Drawn;
use super::plot::{self, Line};
use crate::checkpoint::Header;
use crate::metrics::Record;
use crate::model::TargetKind;

/// Rejects listed by name; beyond these only the counts are shown.
const REJECTS_LISTED: usize = 40;

/// Text made safe for HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

fn table(rows: &[(String, String)]) -> String {
    let rows: String = rows
        .iter()
        .map(|(name, value)| {
            format!("<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value))
        })
        .collect();
    format!("<table class=\"facts\">{rows}</table>")
}

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem;
       color: #1c1c1c; background: #fff; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: 0.92rem; }
th, td { text-align: left; padding: 0.2rem 1rem 0.2rem 0; vertical-align: top;
         border-bottom: 1px solid #e6e6e6; }
.facts th { font-weight: 500; color: #555; }
figure { margin: 1.2rem 0; } figcaption { font-size: 0.88rem; color: #555; margin-bottom: 0.3rem; }
img, svg { max-width: 100%; height: auto; }
.scroll { overflow-x: auto; }
";

/// The report as HTML, with everything it shows inside it.
pub fn page(
    header: &Header,
    manifest: &Manifest,
    rejects: &[Reject],
    records: &[Record],
    drawn: &Drawn,
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
                "{} pictures accepted, {} rejected; {} rows of {}×{} pixels in {} shards",
                manifest.accepted,
                manifest.rejected,
                manifest.rows,
                manifest.settings.layout.size,
                manifest.settings.layout.size,
                manifest.shards.len()
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
                "{:.0} views/s; data {:.0} %, encoder {:.0} %, decoders {:.0} %, optimizer {:.0} %",
                last.views_per_s,
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
        .map(|(i, tap)| Line {
            name: format!(
                "after {} {}, cells of {} px",
                header.network.encoder.layer_name(),
                tap.layer,
                tap.cell
            ),
            points: records
                .iter()
                .filter_map(|record| Some((record.step as f64, *record.tap_losses.get(i)?)))
                .collect(),
        })
        .collect();
    body += &format!("<figure>{}</figure>", plot::lines(&losses, "step", "loss")?);

    body += "<h2>Reconstructions</h2><p>";
    body += "For each view: what the picture is, what the encoder saw, and for each tap the target \
             and the prediction. In a prediction, cells the encoder saw are the target's";
    body += match header.network.target {
        TargetKind::Hog => {
            ", dimmed, and the others are brightened alike, until the strongest stroke is white."
        }
        TargetKind::Pixel | TargetKind::RawPixel => ".",
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
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title>\
         <style>{STYLE}</style></head><body>{body}</body></html>\n",
        escape(&title)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_the_web_stay_text() {
        assert_eq!(escape("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
