//! Which columns hold picture, label and name.

use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::schema::types::ColumnDescriptor;
use serde_json::Value as Json;

use super::super::addresses::LABELS;
use super::super::{ContainerError, sniff};
use super::{File, Value};
use crate::caught::caught;

/// Columns of pictures by convention: img2dataset's, Hugging Face's, and the plainest names.
const IMAGES: [&str; 9] =
    ["jpg", "jpeg", "png", "webp", "image.bytes", "image", "img.bytes", "img", "image_bytes"];
const NAMES: [&str; 6] = ["__key__", "key", "path", "file_name", "filename", "url"];
/// Rows that are looked at to find the column of pictures by its content.
const LOOK: u64 = 16;

/// The columns that are read, by their place in the file.
pub(super) struct Columns {
    pub(super) image: usize,
    pub(super) label: Option<Label>,
    pub(super) name: Option<usize>,
}

/// A column of labels.
pub(super) struct Label {
    pub(super) column: usize,
    /// Names of the whole numbers from 0 on, if the file has them.
    pub(super) names: Vec<String>,
}

impl Columns {
    pub(super) fn find(file: &mut File) -> Result<Self, ContainerError> {
        let image = match &file.limits.image_column {
            Some(name) => named_image(file, name)?,
            None => found_image(file)?,
        };
        let label = match &file.limits.label_column {
            Some(name) => Some(find(file, name, is_label).ok_or_else(|| {
                ContainerError::Columns(format!(
                    "no column `{name}` of texts or whole numbers for the label; there are {}",
                    all(file)
                ))
            })?),
            None => find_any(file, &LABELS, is_label),
        };
        let label = label.map(|column| Label { column, names: class_names(file, column) });
        // Hugging Face keeps the file's name beside the bytes.
        let beside = path(file, image).strip_suffix(".bytes").map(|image| format!("{image}.path"));
        let name = find_any(file, &NAMES, is_name);
        let name = name.or_else(|| beside.and_then(|beside| find(file, &beside, is_name)));
        Ok(Self { image, label, name })
    }
}

pub(super) fn descriptors(file: &File) -> &[parquet::schema::types::ColumnDescPtr] {
    file.metadata.file_metadata().schema_descr().columns()
}

pub(super) fn path(file: &File, column: usize) -> String {
    descriptors(file)[column].path().string()
}

fn all(file: &File) -> String {
    let names: Vec<_> = descriptors(file).iter().map(|column| column.path().string()).collect();
    names.join(", ")
}

fn find(file: &File, name: &str, fits: fn(&ColumnDescriptor) -> bool) -> Option<usize> {
    descriptors(file).iter().position(|column| column.path().string() == name && fits(column))
}

/// The first of these names that a column has, as it is written here or in other cases.
pub(super) fn find_any(
    file: &File,
    names: &[&str],
    fits: fn(&ColumnDescriptor) -> bool,
) -> Option<usize> {
    let in_any_case = |name: &&str| {
        descriptors(file)
            .iter()
            .position(|column| column.path().string().eq_ignore_ascii_case(name) && fits(column))
    };
    let exact = names.iter().find_map(|name| find(file, name, fits));
    exact.or_else(|| names.iter().find_map(in_any_case))
}

/// One value a row at most, not a list of them.
fn is_flat(column: &ColumnDescriptor) -> bool {
    column.max_rep_level() == 0
}

pub(super) fn is_bytes(column: &ColumnDescriptor) -> bool {
    is_flat(column) && column.physical_type() == Type::BYTE_ARRAY
}

/// Bytes that are not said to be text or numbers.
fn is_binary(column: &ColumnDescriptor) -> bool {
    is_bytes(column)
        && column.logical_type_ref().is_none()
        && column.converted_type() == ConvertedType::NONE
}

/// Floats too: they are what pandas makes of whole numbers in a column with gaps.
pub(super) fn is_label(column: &ColumnDescriptor) -> bool {
    use Type::{BOOLEAN, DOUBLE, FLOAT, INT32, INT64};
    let is_number = matches!(column.physical_type(), INT32 | INT64 | BOOLEAN | FLOAT | DOUBLE);
    is_flat(column) && is_number && !is_decimal(column) || is_bytes(column)
}

fn is_decimal(column: &ColumnDescriptor) -> bool {
    matches!(column.logical_type_ref(), Some(LogicalType::Decimal { .. }))
        || column.converted_type() == ConvertedType::DECIMAL
}

/// Whether a column's whole numbers have no sign.
pub(super) fn is_unsigned(column: &ColumnDescriptor) -> bool {
    use ConvertedType::{UINT_8, UINT_16, UINT_32, UINT_64};
    matches!(column.logical_type_ref(), Some(LogicalType::Integer(kind)) if !kind.is_signed)
        || matches!(column.converted_type(), UINT_8 | UINT_16 | UINT_32 | UINT_64)
}

fn is_name(column: &ColumnDescriptor) -> bool {
    let is_number = matches!(column.physical_type(), Type::INT32 | Type::INT64);
    is_bytes(column) || is_flat(column) && is_number
}

/// The column that the user named, or the bytes in a group of that name.
fn named_image(file: &File, name: &str) -> Result<usize, ContainerError> {
    let column = find(file, name, is_bytes);
    column.or_else(|| find(file, &format!("{name}.bytes"), is_bytes)).ok_or_else(|| {
        ContainerError::Columns(format!(
            "no column `{name}` of bytes for the pictures; there are {}",
            all(file)
        ))
    })
}

pub(super) fn found_image(file: &File) -> Result<usize, ContainerError> {
    if let Some(column) = find_any(file, &IMAGES, is_binary) {
        return Ok(column);
    }
    let binary = (0..descriptors(file).len()).filter(|&at| is_binary(&descriptors(file)[at]));
    let mut pictures = Vec::new();
    for column in binary {
        if begins_with_a_picture(file, column)? {
            pictures.push(column);
        }
    }
    match pictures[..] {
        [column] => Ok(column),
        [] => Err(ContainerError::Columns(format!(
            "no column holds pictures; name the one that does, out of {}",
            all(file)
        ))),
        _ => {
            let names: Vec<_> = pictures.into_iter().map(|column| path(file, column)).collect();
            let names = names.join(", ");
            Err(ContainerError::Columns(format!(
                "several columns hold pictures ({names}); name the one to take"
            )))
        }
    }
}

/// Whether the first value of a column that is not null is a picture.
fn begins_with_a_picture(file: &File, column: usize) -> Result<bool, ContainerError> {
    let Some(group) = (0..).map_while(|at| file.rows_of(at)).position(|rows| rows > 0) else {
        return Ok(false);
    };
    let look = || {
        let mut values = file.column(group, column, 0)?;
        for _ in 0..file.rows_of(group).unwrap_or(0).min(LOOK) {
            if let Some(Value::Bytes(bytes)) = values.next()? {
                return Ok(sniff::is_picture(bytes.data()));
            }
        }
        Ok(false)
    };
    // A column that can't be read is not the one.
    let trouble = match caught(look) {
        Ok(Ok(found)) => return Ok(found),
        Ok(Err(error)) => file.trouble(Ok(error)),
        Err(panic) => file.trouble(Err(panic)),
    };
    match trouble {
        Ok(_) => Ok(false),
        Err(source) => Err(ContainerError::Io { offset: 0, source }),
    }
}

/// The names that Hugging Face's metadata gives to the whole numbers of a column.
pub(super) fn class_names(file: &File, column: usize) -> Vec<String> {
    let names = || {
        let pairs = file.metadata.file_metadata().key_value_metadata()?;
        let pair = pairs.iter().find(|pair| pair.key == "huggingface")?;
        let json: Json = serde_json::from_str(pair.value.as_deref()?).ok()?;
        let feature = json.get("info")?.get("features")?.get(path(file, column))?;
        let names = feature.get("names")?.as_array()?;
        Some(names.iter().map(|name| name.as_str().unwrap_or_default().to_owned()).collect())
    };
    names().unwrap_or_default()
}
