//! An evaluation as a page: the figures, and which classes are taken for which.

use maud::{Markup, html};
use voice::html::{data_url, document, facts, table};

use super::error::KeepError;
use super::record::{EvalRecord, LayerScore, Side};
use super::score::{Chance, ClassScore, percent};

/// The most classes whose matrix is a table of numbers; of more it is a picture.
const TABLE_CLASSES: usize = 24;
/// Confusions that are named.
const CONFUSIONS: usize = 20;

/// The page of a record, with everything it shows inside it.
///
/// # Errors
/// [`KeepError::Draw`] if the matrix can't be drawn.
pub fn page(record: &EvalRecord) -> Result<String, KeepError> {
    let EvalRecord { method, recipe, model, step, score, .. } = record;
    let title = format!("{} · {recipe} · {model} at step {step}", method.name());
    let confusions = confusions(record);
    let body = html! {
        h1 { (title) }
        @for warning in record.warnings() { p.warning { (sentence(&warning)) } }
        (facts(told(record)))
        @if !record.layers.is_empty() {
            h2 { "Accuracy of each layer" }
            p { "All else on this page is told of the best." }
            (table(&["Layer", "Top-1 accuracy"], record.layers.iter().map(of_layer)))
        }
        h2 { "Confusion matrix" }
        p {
            "A row is a class, a column what its test rows were taken for; the shade is the share of "
            "the row."
        }
        @if score.classes.len() <= TABLE_CLASSES { (matrix_table(record)) }
        @else { (matrix_picture(record)?) }
        @if !confusions.is_empty() {
            h2 { "Most frequent confusions" }
            (table(&["Class", "Taken for", "Rows", "Share of the class"], confusions))
        }
        h2 { "Accuracy of each class" }
        (table(&["Class", "Test rows", "Correct", "Accuracy"], score.classes.iter().map(of_class)))
    };
    Ok(document(&title, &body))
}

fn of_class(class: &ClassScore) -> [String; 4] {
    let accuracy = class.accuracy.map_or("–".to_owned(), percent);
    [class.class.clone(), class.rows.to_string(), class.correct.to_string(), accuracy]
}

fn of_layer(of: &LayerScore) -> [String; 2] {
    [of.layer.to_string(), percent(of.top1)]
}

/// A warning with a capital and a full stop.
fn sentence(warning: &str) -> String {
    let mut characters = warning.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), characters.as_str())
}

/// Names and values of everything but the classes.
fn told(record: &EvalRecord) -> Vec<(&'static str, String)> {
    let mut told = vec![("Top-1 accuracy", percent(record.score.top1))];
    told.extend(record.score.top5.map(|top5| ("Top-5 accuracy", percent(top5))));
    let classes = record.score.classes.len();
    told.extend(record.score.chance.as_ref().map(|chance| ("Chance", of_chance(chance, classes))));
    told.extend([("Train", of_side(&record.train)), ("Test", of_side(&record.test))]);
    told.extend(record.split.map(|split| {
        let share = percent(split.test_share);
        let text = format!(
            "{share} of the pictures for the test, by the hash of their content (seed {})",
            record.seed
        );
        ("Split", text)
    }));
    if record.shared_pictures > 0 {
        let text = format!("{} test pictures are train pictures too", record.shared_pictures);
        told.push(("Warning", text));
    }
    told.extend([
        ("Feature", format!("{} numbers: {}", record.dim, record.feature)),
        ("Settings", serde_json::to_string(&record.method).unwrap_or_default()),
        ("Checkpoint", record.checkpoint.display().to_string()),
    ]);
    told
}

/// How many would be right by chance.
fn of_chance(chance: &Chance, classes: usize) -> String {
    let (top1, uniform) = (percent(chance.top1), percent(chance.uniform));
    let mut text = format!("{top1} by always naming `{}`, the largest class", chance.class);
    if uniform != top1 {
        text += &format!("; {uniform} by naming any of the {classes}");
    }
    if let Some(top5) = chance.top5 {
        text += &format!("; top-5 {} by the five largest", percent(top5));
    }
    text
}

fn of_side(side: &Side) -> String {
    let without = match side.unlabelled {
        0 => String::new(),
        rows => format!("; {rows} rows of the set have no label and are left out"),
    };
    format!("{} rows of {} pictures, {}{without}", side.rows, side.pictures, side.shards)
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

fn matrix_table(record: &EvalRecord) -> Markup {
    let classes = &record.score.classes;
    html! {
        div.scroll {
            table.matrix {
                tr {
                    th {}
                    @for class in classes { th { span.across { (class.class) } } }
                }
                @for (at, class) in classes.iter().enumerate() {
                    tr {
                        th { (class.class) }
                        @for (count, share) in shares(record, at) {
                            td style=(shaded(share)) { (count) }
                        }
                    }
                }
            }
        }
    }
}

/// A cell in its shade, with an ink that can be read on it.
fn shaded(share: f64) -> String {
    let [r, g, b] = shade(share);
    let ink = if share > 0.3 { "#fff" } else { "#1c1c1c" };
    format!("background:rgb({r},{g},{b});color:{ink}")
}

fn matrix_picture(record: &EvalRecord) -> Result<Markup, KeepError> {
    let side = record.score.classes.len();
    let rgb: Vec<u8> =
        (0..side).flat_map(|at| shares(record, at)).flat_map(|(_, share)| shade(share)).collect();
    let png = voice::draw::png(&rgb, side as u32, side as u32)
        .map_err(|error| KeepError::Draw(error.to_string()))?;
    let width = side * 640usize.div_ceil(side);
    Ok(html! {
        figure {
            figcaption { (side) " classes, in the order of the table below" }
            img.pixels width=(width) height=(width) alt="confusion matrix"
                src=(data_url("image/png", &png));
        }
    })
}

fn confusions(record: &EvalRecord) -> Vec<[String; 4]> {
    let classes = &record.score.classes;
    let mut all: Vec<_> = (0..classes.len())
        .flat_map(|at| shares(record, at).enumerate().map(move |(to, pair)| (at, to, pair)))
        .filter(|(at, to, (count, _))| at != to && *count > 0)
        .collect();
    all.sort_by(|a, b| b.2.0.cmp(&a.2.0).then((a.0, a.1).cmp(&(b.0, b.1))));
    all.iter()
        .take(CONFUSIONS)
        .map(|&(at, to, (count, share))| {
            let (class, taken_for) = (classes[at].class.clone(), classes[to].class.clone());
            [class, taken_for, count.to_string(), percent(share)]
        })
        .collect()
}
