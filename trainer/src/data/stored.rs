//! What batches need of a shard, column by column.

use schemas::layout;
use shards::Columns;
use shards::columns::ColumnError;

use super::sample::StoredTarget;
use super::spec::SampleSpec;
use crate::model::TargetKind;

/// The columns that batches are made of.
pub fn columns(sample: &SampleSpec, picture: &str) -> Vec<String> {
    let mut columns = vec![layout::ID.to_owned(), picture.to_owned()];
    for tap in &sample.taps {
        columns.extend(target_columns(sample.target, tap.cell).into_iter().flatten());
    }
    columns.sort();
    columns.dedup();
    columns
}

/// The two columns of a target that is stored.
fn target_columns(target: TargetKind, cell: usize) -> Option<[String; 2]> {
    let cell = cell as u32;
    match target {
        TargetKind::Hog => Some([layout::hog(cell), layout::hog_ties(cell)]),
        TargetKind::Pixel => Some([layout::mean(cell), layout::inv_std(cell)]),
        TargetKind::RawPixel => None,
        TargetKind::Code => Some([layout::code(cell), layout::code_mirrored(cell)]),
    }
}

/// What is stored of a target for a row.
pub fn stored_target(
    columns: Columns<'_>,
    target: TargetKind,
    cell: u32,
    row: usize,
) -> Result<StoredTarget<'_>, ColumnError> {
    Ok(match target {
        TargetKind::Hog => {
            StoredTarget::Hog { codes: columns.hog(cell)?(row), ties: columns.hog_ties(cell)?(row) }
        }
        TargetKind::Pixel => StoredTarget::Pixel {
            mean: columns.mean(cell)?(row),
            inv_std: columns.inv_std(cell)?(row),
        },
        TargetKind::RawPixel => StoredTarget::RawPixel,
        TargetKind::Code => StoredTarget::Code {
            codes: columns.code(cell)?(row),
            mirrored: columns.code_mirrored(cell)?(row),
        },
    })
}
