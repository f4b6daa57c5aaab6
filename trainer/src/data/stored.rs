//! What batches need of a shard, column by column.

use kernels::input::Target;
use schemas::layout;
use shards::Columns;
use shards::columns::ColumnError;

use super::sample::StoredTarget;
use super::spec::SampleSpec;

/// The columns that batches are made of.
pub fn columns(sample: &SampleSpec, picture: &str) -> Vec<String> {
    let mut columns = vec![layout::ID.to_owned(), picture.to_owned()];
    for cell in sample.one.distinct_cells() {
        columns.extend(target_columns(sample.one.target, cell).into_iter().flatten());
    }
    columns.sort();
    columns
}

/// The two columns of a target that is stored.
fn target_columns(target: Target, cell: usize) -> Option<[String; 2]> {
    let cell = cell as u32;
    match target {
        Target::Hog(_) => Some([layout::hog(cell), layout::hog_ties(cell)]),
        Target::Pixel => Some([layout::mean(cell), layout::inv_std(cell)]),
        Target::RawPixel => None,
        Target::Code => Some([layout::code(cell), layout::code_mirrored(cell)]),
    }
}

/// What is stored of a target for a row.
pub fn stored_target(
    columns: Columns<'_>,
    target: Target,
    cell: u32,
    row: usize,
) -> Result<StoredTarget<'_>, ColumnError> {
    Ok(match target {
        Target::Hog(_) => {
            StoredTarget::Hog { codes: columns.hog(cell)?(row), ties: columns.hog_ties(cell)?(row) }
        }
        Target::Pixel => StoredTarget::Pixel {
            mean: columns.mean(cell)?(row),
            inv_std: columns.inv_std(cell)?(row),
        },
        Target::RawPixel => StoredTarget::RawPixel,
        Target::Code => StoredTarget::Code {
            codes: columns.code(cell)?(row),
            mirrored: columns.code_mirrored(cell)?(row),
        },
    })
}
