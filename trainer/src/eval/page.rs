//! An evaluation as a page: the figures, and which classes are taken for which.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::EvalError;
use super::record::EvalRecord;
pub use super::score::percent;
use crate::html::{document, escape, facts, table};

/// The most classes whose matrix is a table of numbers; of more it is a picture.
const TABLE_CLASSES: usize = 24;
/// Confusions that are named.
const CONFUSIONS: usize = 20;

/// The page of a record, with everything it shows inside it.
///
/// # Errors
/// [`EvalError::Draw`] if the matrix can't be drawn.
pub fn page(record: &EvalRecord) -> Result<String, EvalError> {
    let title = format!(
        "{} · {} · {} at step {}",
        record.method.name(),
        record.recipe,
        record.model,
        record.step
    );
    let mut body = format!("<h1>{}</h1>", escape(&title));
    for warning in record.score.warnings() {
        let _ = write!(body, "<p class=\"warning\">{}</p>", escape(&sentence(&warning)));
    }
    body += &facts(&told(record));
    body += "<h2>Confusion matrix</h2><p>A row is a class, a column what its test rows were taken \
             for; the shade is the share of the row.</p>";
    body += &if record.score.classes.len() <= TABLE_CLASSES {
        matrix_table(record)
    } else {
        matrix_picture(record)?
    };

    let confusions = confusions(record);
    if !confusions.is_empty() {
        body += "<h2>Most frequent confusions</h2>";
        body += &table(&["Class", "Taken for", "Rows", "Share of the class"], &confusions);
    }
    body += "<h2>Accuracy of each class</h2>";
    let classes: Vec<_> = record
        .score
        .classes
        .iter()
        .map(|class| {
            let accuracy = class.accuracy.map_or("–".to_owned(), percent);
            vec![class.class.clone(), class.rows.to_string(), class.correct.to_string(), accuracy]
        })
        .collect();
    body += &table(&["Class", "Test rows", "Correct", "Accuracy"], &classes);
    Ok(document(&title, &body))
}

/// A warning with a capital and a full stop.
fn sentence(warning: &str) -> String {
    let mut characters = warning.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), characters.as_str())
}

/// Names and values of everything but the classes.
fn told(record: &EvalRecord) -> Vec<(String, String)> {
    let mut told = vec![("Top-1 accuracy".to_owned(), percent(record.score.top1))];
    if let Some(top5) = record.score.top5 {
        told.push(("Top-5 accuracy".to_owned(), percent(top5)));
    }
    if let Some(chance) = &record.score.chance {
        let mut text = format!(
            "{} by always naming `{}`, the largest class",
            percent(chance.top1),
            chance.class
        );
        if percent(chance.uniform) != percent(chance.top1) {
            let classes = record.score.classes.len();
            text += &format!("; {} by naming any of the {classes}", percent(chance.uniform));
        }
        if let Some(top5) = chance.top5 {
            text += &format!("; top-5 {} by the five largest", percent(top5));
        }
        told.push(("Chance".to_owned(), text));
    }
    for (name, side) in [("Train", &record.train), ("Test", &record.test)] {
        let without = match side.unlabelled {
            0 => String::new(),
            rows => format!("; {rows} rows of the set have no label and are left out"),
        };
        told.push((
            name.to_owned(),
            format!("{} rows of {} pictures, {}{without}", side.rows, side.pictures, side.shards),
        ));
    }
    if let Some(split) = record.split {
        told.push((
            "Split".to_owned(),
            format!(
                "{} of the pictures for the test, by the hash of their content (seed {})",
                percent(split.test_share),
                record.seed
            ),
        ));
    }
    if record.shared_pictures > 0 {
        told.push((
            "Warning".to_owned(),
            format!("{} test pictures are train pictures too", record.shared_pictures),
        ));
    }
    told.push(("Feature".to_owned(), format!("{} numbers: {}", record.dim, record.feature)));
    told.push(("Settings".to_owned(), serde_json::to_string(&record.method).unwrap_or_default()));
    told.push(("Checkpoint".to_owned(), record.checkpoint.display().to_string()));
    told
}

/// The share of row `class` in each column.
fn shares(record: &EvalRecord, class: usize) -> impl Iterator<Item = (u64, f64)> {
    let rows = record.score.classes[class].rows.max(1) as f64;
    record.score.confusion[class].iter().map(move |&count| (count, count as f64 / rows))
}

/// White to dark blue.
fn shade(share: f64) -> [u8; 3] {
    let level = |light: f64, dark: f64| (light + (dark - light) * share.sqrt()).round() as u8;
    [level(246.0, 31.0), level(248.0, 73.0), level(251.0, 125.0)]
}

fn matrix_table(record: &EvalRecord) -> String {
    let classes = &record.score.classes;
    let mut rows = String::from("<tr><th></th>");
    for class in classes {
        let _ = write!(rows, "<th><span class=\"across\">{}</span></th>", escape(&class.class));
    }
    rows += "</tr>";
    for (at, class) in classes.iter().enumerate() {
        let _ = write!(rows, "<tr><th>{}</th>", escape(&class.class));
        for (count, share) in shares(record, at) {
            let [r, g, b] = shade(share);
            let ink = if share > 0.3 { "#fff" } else { "#1c1c1c" };
            let _ =
                write!(rows, "<td style=\"background:rgb({r},{g},{b});color:{ink}\">{count}</td>");
        }
        rows += "</tr>";
    }
    format!("<div class=\"scroll\"><table class=\"matrix\">{rows}</table></div>")
}

fn matrix_picture(record: &EvalRecord) -> Result<String, EvalError> {
    let side = record.score.classes.len();
    let rgb: Vec<u8> =
        (0..side).flat_map(|at| shares(record, at)).flat_map(|(_, share)| shade(share)).collect();
    let png = voice::draw::png(&rgb, side as u32, side as u32)
        .map_err(|error| EvalError::Draw(error.to_string()))?;
    Ok(format!(
        "<figure><figcaption>{side} classes, in the order of the table below</figcaption>\
         <img class=\"pixels\" width=\"{width}\" height=\"{width}\" alt=\"confusion matrix\" \
         src=\"data:image/png;base64,{}\"></figure>",
        STANDARD.encode(png),
        width = side * 640usize.div_ceil(side)
    ))
}

fn confusions(record: &EvalRecord) -> Vec<Vec<String>> {
    let classes = &record.score.classes;
    let mut all: Vec<_> = (0..classes.len())
        .flat_map(|at| shares(record, at).enumerate().map(move |(to, pair)| (at, to, pair)))
        .filter(|(at, to, (count, _))| at != to && *count > 0)
        .collect();
    all.sort_by(|a, b| b.2.0.cmp(&a.2.0).then((a.0, a.1).cmp(&(b.0, b.1))));
    all.iter()
        .take(CONFUSIONS)
        .map(|&(at, to, (count, share))| {
            vec![
                classes[at].class.clone(),
                classes[to].class.clone(),
                count.to_string(),
                percent(share),
            ]
        })
        .collect()
}
