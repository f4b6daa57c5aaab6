//! Looks into a trained encoder: how much its attention depends on the position, and where it
//! goes.

pub mod attention;
mod error;
pub mod nmi;
pub mod views;

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use maud::{Markup, html};
use serde::{Deserialize, Serialize};
use voice::html::{document, facts, table};

use crate::encode::encoder::Attention;
use crate::eval::record;
use crate::model::EncoderConfig;
use crate::plot::{Axes, PlotError, Series, Shape, figure};
use crate::progress::Console;
pub use error::AnalyzeError;
use views::{ANALYSIS_FOLDER, AnalyzeRequest, Views};

/// What files of mutual information are called.
const NMI: &str = "nmi";

/// The mutual information of one block's attention maps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// The block, from 1.
    pub layer: usize,
    /// Its patches along a side of a view.
    pub grid: usize,
    /// The mean over heads.
    pub mean: f64,
    /// Each head's, averaged over views.
    pub heads: Vec<f64>,
}

/// The mutual information of every block and head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NmiRecord {
    /// The checkpoint.
    pub checkpoint: PathBuf,
    /// Its step.
    pub step: u64,
    /// The run's recipe.
    pub recipe: String,
    /// The run's encoder.
    pub model: String,
    /// The shards.
    pub shards: String,
    /// Views that were averaged.
    pub views: u64,
    /// Side of a Swin's windows in patches, the queries and keys of which are those of one window;
    /// none for a ViT, whose are those of the view.
    pub window: Option<usize>,
    /// The blocks, from the lowest up.
    pub layers: Vec<Layer>,
}

impl NmiRecord {
    /// A line of text a block.
    pub fn text(&self) -> String {
        let heads = self.most_heads();
        let mut text = String::from("layer   mean");
        for head in 1..=heads {
            let _ = write!(text, " {:>6}", format!("head{head}"));
        }
        text.push('\n');
        for layer in &self.layers {
            let _ = write!(text, "{:>5} {:>6.3}", layer.layer, layer.mean);
            for head in &layer.heads {
                let _ = write!(text, " {head:>6.3}");
            }
            text.push('\n');
        }
        text
    }

    /// Blocks may have more heads than those below.
    fn most_heads(&self) -> usize {
        self.layers.iter().map(|layer| layer.heads.len()).max().unwrap_or(0)
    }

    /// What queries and keys are.
    fn tokens(&self) -> String {
        let patches = |layer: Option<&Layer>| layer.map_or(0, |layer| layer.grid.pow(2));
        let (first, last) = (patches(self.layers.first()), patches(self.layers.last()));
        match self.window {
            None => format!("{first} patches"),
            Some(side) => format!("{first} to {last} patches, in windows of {side}×{side}"),
        }
    }

    fn csv(&self) -> String {
        let mut text = String::from("layer,head,nmi\n");
        for layer in &self.layers {
            for (head, nmi) in (1..).zip(&layer.heads) {
                let _ = writeln!(text, "{},{head},{nmi}", layer.layer);
            }
        }
        text
    }
}

/// Measures the mutual information of query and key positions in every block and head, and writes
/// `nmi-step-N.json`, `.csv` and `.html` into the run's `analysis` folder. Gives the page's path.
///
/// # Errors
/// [`AnalyzeError`] if checkpoint or shards can't be read, or the files can't be written.
pub fn nmi(
    request: &AnalyzeRequest,
    console: &Console,
) -> Result<(NmiRecord, PathBuf), AnalyzeError> {
    let views = Views::open(request, console)?;
    let all = views.each(console, |_, blocks| {
        let of_block = |block: &Attention| -> (usize, Vec<f64>) {
            (block.grid, (0..block.heads).map(|head| nmi::of_head(block, head)).collect())
        };
        blocks.iter().map(of_block).collect::<Vec<_>>()
    })?;
    let count = all.len() as f64;
    let depth = all.first().map_or(0, Vec::len);
    let layers = (0..depth)
        .map(|block| {
            let (grid, ref first) = all[0][block];
            let mean_of =
                |head: usize| all.iter().map(|view| view[block].1[head]).sum::<f64>() / count;
            let heads: Vec<f64> = (0..first.len()).map(mean_of).collect();
            let mean = heads.iter().sum::<f64>() / heads.len() as f64;
            Layer { layer: block + 1, grid, mean, heads }
        })
        .collect();
    let header = &views.checkpoint.header;
    let record = NmiRecord {
        checkpoint: views.path.clone(),
        step: header.step,
        recipe: header.settings.recipe.name().to_owned(),
        model: header.settings.model.name().to_owned(),
        shards: request.shards.to_string(),
        views: views.count(),
        window: match header.network.encoder {
            EncoderConfig::Vit { .. } => None,
            EncoderConfig::Swin { window, .. } => Some(window),
        },
        layers,
    };
    let json = serde_json::to_vec_pretty(&record).expect("names and numbers are always JSON");
    let page = views.file(NMI, "html");
    views::write(&views.file(NMI, "json"), &json)?;
    views::write(&views.file(NMI, "csv"), record.csv().as_bytes())?;
    views::write(&page, nmi_page(&record, &views.title())?.as_bytes())?;
    Ok((record, page))
}

/// The record that [`nmi()`] leaves of a run's step.
pub fn nmi_file(run: &Path, step: u64) -> PathBuf {
    views::file(run, NMI, step, "json")
}

/// The records in a run's folder, by step.
///
/// # Errors
/// What the system or the parser says, with the file's name.
pub fn read_nmi(run: &Path) -> io::Result<Vec<NmiRecord>> {
    let mut records: Vec<NmiRecord> = record::read_folder(&run.join(ANALYSIS_FOLDER), NMI)?;
    records.sort_by_key(|record| record.step);
    Ok(records)
}

fn nmi_page(record: &NmiRecord, run: &str) -> Result<String, AnalyzeError> {
    let title = format!("Mutual information of attention · {run}");
    let heads = record.most_heads();
    let mut headings = vec!["Layer".to_owned(), "Mean".to_owned()];
    headings.extend((1..=heads).map(|head| format!("Head {head}")));
    let row = |layer: &Layer| {
        let numbers = std::iter::once(&layer.mean).chain(&layer.heads);
        let numbers = numbers.map(|nmi| format!("{nmi:.3}"));
        let mut cells: Vec<_> = std::iter::once(layer.layer.to_string()).chain(numbers).collect();
        cells.resize(headings.len(), String::new());
        cells
    };
    let body = html! {
        h1 { (title) }
        (facts([
            ("Views", format!("{} of {}", record.views, record.shards)),
            ("Tokens", record.tokens()),
            ("Checkpoint", record.checkpoint.display().to_string()),
        ]))
        p {
            "The normalised mutual information between the positions of queries and keys, "
            "I(q; k) / √(H(q) · H(k)) with uniform queries: 0 where attention does not depend on "
            "the query, 1 where each query looks at one key of its own. "
            @if record.window.is_none() {
                "The class token is left out as query and as key, and each query's weights over the "
                "patches are scaled to add up to 1. "
            } @else {
                "Queries and keys are those of one window; of all windows the mean is taken, each "
                "counted by its patches. "
            }
            "Averaged over views, the whole view visible."
        }
        (by_layer(&record.layers).map_err(|error| AnalyzeError::Draw(error.to_string()))?)
        (table(&headings, record.layers.iter().map(row)))
    };
    Ok(document(&title, &body))
}

/// A dot a head, and a line through their means.
fn by_layer(layers: &[Layer]) -> Result<Markup, PlotError> {
    let x = |layer: &Layer| layer.layer as f64;
    let dots = layers.iter();
    let dots = dots.flat_map(|layer| layer.heads.iter().map(move |&nmi| (x(layer), nmi)));
    let mean = layers.iter().map(|layer| (x(layer), layer.mean)).collect();
    let series =
        [Series::line("mean over heads", mean), Series::of("a head", dots.collect(), Shape::Dots)];
    let axes = Axes { from: Some(0.0), ..Axes::new("layer", "normalised mutual information") };
    figure(&series, &axes)
}
