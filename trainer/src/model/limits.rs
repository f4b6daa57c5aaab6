//! Bounds that every size is held to.

/// Sizes that do not fit together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// More is a slip of the keyboard, not a network.
pub(super) const MOST_WIDTH: usize = 16_384;
/// More blocks, likewise.
pub(super) const MOST_BLOCKS: usize = 256;

/// Checks that a size lies between 1 and `most`.
///
/// # Errors
/// [`ConfigError`] that names it by `what`.
pub(super) fn bounded(what: &str, value: usize, most: usize) -> Result<(), ConfigError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError(format!("{what} is {value}; it must lie between 1 and {most}")))
}

/// Checks a width and its heads.
///
/// # Errors
/// [`ConfigError`] that names them by `what`.
pub(super) fn width(what: &str, dim: usize, heads: usize) -> Result<(), ConfigError> {
    if dim == 0 || !dim.is_multiple_of(4) || heads == 0 || !dim.is_multiple_of(heads) {
        return Err(ConfigError(format!(
            "the {what} width {dim} must be a multiple of 4 and of its {heads} heads"
        )));
    }
    bounded(&format!("the {what} width"), dim, MOST_WIDTH)
}
