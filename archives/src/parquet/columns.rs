//! Which columns hold picture, label and name.

use formats::caught;
use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::schema::types::ColumnDescriptor;
use serde_json::Value as Json;

use super::names::Names;
use super::{File, Value, Values};
use crate::{ArchiveError, LABELS};

/// Columns of pictures by convention: img2dataset's, Hugging Face's, and the plainest names.
const IMAGES: [&str; 11] = [
    "jpg",
    "jpeg",
    "png",
    "webp",
    "image.bytes",
    "image",
    "img.bytes",
    "img",
    "image_bytes",
    "images.bytes",
    "images",
];
const NAMES: [&str; 6] = ["__key__", "key", "path", "file_name", "filename", "url"];
/// Rows that are looked at to find the column of pictures by its content.
const LOOK: u64 = 16;

/// The columns that are read, by their place in the file.
pub(super) struct Columns {
    pub(super) image: usize,
    /// Whether a row may have several pictures, or none.
    pub(super) listed: bool,
    pub(super) label: Option<Label>,
    pub(super) name: Option<usize>,
}

/// A column of labels.
pub(crate) struct Label {
    pub(crate) column: usize,
    /// Names of the whole numbers from 0 on, if the file has them.
    pub(crate) names: Vec<String>,
}

impl Columns {
    pub(super) fn find(file: &File) -> Result<Self, ArchiveError> {
        let all = All::of(file);
        let image = match &file.limits.image_column {
            Some(name) => all.named_image(name)?,
            None => all.found_image(file)?,
        };
        let label = match &file.limits.label_column {
            Some(name) => Some(all.find(name, is_label).ok_or_else(|| {
                ArchiveError::Columns(format!(
                    "no column `{name}` of texts or whole numbers for the label; there are {}",
                    all.that(is_label)
                ))
            })?),
            None => all.find_any(&LABELS, is_label),
        };
        let label = label.map(|column| Label { column, names: class_names(file, column) });
        // Hugging Face keeps the file's name beside the bytes.
        let beside =
            all.names.plain(image).strip_suffix(".bytes").map(|image| format!("{image}.path"));
        let name = all.find_any(&NAMES, is_name);
        let name = name.or_else(|| beside.and_then(|beside| all.find(&beside, is_name)));
        let listed = !is_flat(&descriptors(file)[image]);
        Ok(Self { image, listed, label, name })
    }
}

/// Whether they are of addresses and what became of them, and none could hold a picture.
pub(super) fn are_metadata(file: &File) -> bool {
    let all = All::of(file);
    let has = |name: &str| all.find(name, is_flat).is_some();
    has("url") && (has("status") || has("key")) && all.fitting(is_binary).next().is_none()
}

fn descriptors(file: &File) -> &[parquet::schema::types::ColumnDescPtr] {
    file.metadata.file_metadata().schema_descr().columns()
}

type Fits = fn(&ColumnDescriptor) -> bool;

/// All columns of a file, with their names.
pub(crate) struct All<'a> {
    columns: &'a [parquet::schema::types::ColumnDescPtr],
    pub(crate) names: Names,
}

impl<'a> All<'a> {
    pub(crate) fn of(file: &'a File) -> Self {
        let schema = file.metadata.file_metadata().schema_descr();
        Self { columns: schema.columns(), names: Names::of(schema) }
    }

    pub(crate) fn fitting(&self, fits: Fits) -> impl Iterator<Item = usize> {
        (0..self.columns.len()).filter(move |&column| fits(&self.columns[column]))
    }

    /// The names of the columns that fit; of all, if none does.
    fn that(&self, fits: Fits) -> String {
        let names = |fits: Fits| {
            let names: Vec<_> = self.fitting(fits).map(|column| self.names.shown(column)).collect();
            names.join(", ")
        };
        Some(names(fits)).filter(|names| !names.is_empty()).unwrap_or_else(|| names(|_| true))
    }

    fn find(&self, name: &str, fits: Fits) -> Option<usize> {
        let exact = self.fitting(fits).find(|&column| self.names.path(column) == name);
        exact.or_else(|| self.fitting(fits).find(|&column| self.names.plain(column) == name))
    }

    /// The first of these names that a column has, as it is written here or in other cases.
    pub(crate) fn find_any(&self, names: &[&str], fits: Fits) -> Option<usize> {
        let in_any_case = |name: &&str| {
            self.fitting(fits).find(|&column| self.names.plain(column).eq_ignore_ascii_case(name))
        };
        let exact = names.iter().find_map(|name| self.find(name, fits));
        exact.or_else(|| names.iter().find_map(in_any_case))
    }

    /// The column that the user named, or the bytes in a group of that name.
    pub(crate) fn named_image(&self, name: &str) -> Result<usize, ArchiveError> {
        let within = || {
            let group = format!("{name}.");
            let is_within = |&column: &usize| self.names.plain(column).starts_with(&group);
            let mut within = self.fitting(is_binary).filter(is_within);
            within.next().filter(|_| within.next().is_none())
        };
        let column = self.find(name, is_bytes);
        let column = column.or_else(|| self.find(&format!("{name}.bytes"), is_bytes));
        column.or_else(within).ok_or_else(|| {
            ArchiveError::Columns(format!(
                "no column `{name}` of bytes for the pictures; there are {}",
                self.that(is_bytes)
            ))
        })
    }

    /// The column of pictures, by name or content; one with a picture a row before one of lists.
    pub(crate) fn found_image(&self, file: &File) -> Result<usize, ArchiveError> {
        let flat: Fits = |column| is_flat(column) && is_binary(column);
        let listed: Fits = |column| !is_flat(column) && is_binary(column);
        for fits in [flat, listed] {
            if let Some(column) = self.find_any(&IMAGES, fits) {
                return Ok(column);
            }
            let mut pictures = Vec::new();
            for column in self.fitting(fits) {
                if begins_with_a_picture(file, column)? {
                    pictures.push(column);
                }
            }
            match pictures[..] {
                [] => {}
                [column] => return Ok(column),
                _ => {
                    let names: Vec<_> =
                        pictures.into_iter().map(|column| self.names.shown(column)).collect();
                    let names = names.join(", ");
                    return Err(ArchiveError::Columns(format!(
                        "several columns hold pictures ({names}); name the one to take"
                    )));
                }
            }
        }
        let encrypted =
            if file.encrypted { " (some are encrypted, which is not read)" } else { "" };
        Err(ArchiveError::Columns(format!(
            "no column holds pictures; name the one that does, out of {}{encrypted}",
            self.that(is_bytes)
        )))
    }
}

/// One value a row at most, not a list of them.
pub(crate) fn is_flat(column: &ColumnDescriptor) -> bool {
    column.max_rep_level() == 0
}

/// Bytes of any length, or of a fixed one that are nothing else.
pub(crate) fn is_bytes(column: &ColumnDescriptor) -> bool {
    match column.physical_type() {
        Type::BYTE_ARRAY => true,
        Type::FIXED_LEN_BYTE_ARRAY => is_plain(column),
        _ => false,
    }
}

/// Bytes that are not said to be text or numbers.
fn is_binary(column: &ColumnDescriptor) -> bool {
    is_bytes(column) && is_plain(column)
}

fn is_plain(column: &ColumnDescriptor) -> bool {
    column.logical_type_ref().is_none() && column.converted_type() == ConvertedType::NONE
}

/// Floats too: they are what pandas makes of whole numbers in a column with gaps.
pub(crate) fn is_label(column: &ColumnDescriptor) -> bool {
    use Type::{BOOLEAN, DOUBLE, FLOAT, INT32, INT64};
    let is_number = matches!(column.physical_type(), INT32 | INT64 | BOOLEAN | FLOAT | DOUBLE);
    is_flat(column) && (is_number && !is_decimal(column) || is_bytes(column))
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
    is_flat(column) && (is_bytes(column) || is_number)
}

/// Whether the first value of a column that is not null is a picture.
fn begins_with_a_picture(file: &File, column: usize) -> Result<bool, ArchiveError> {
    let Some(group) = (0..).map_while(|at| file.rows_of(at)).position(|rows| rows > 0) else {
        return Ok(false);
    };
    let look = || {
        let mut values = Values::open(file, group, column, 0)?;
        for _ in 0..file.rows_of(group).unwrap_or(0).min(LOOK) {
            if let Some(Value::Bytes(bytes)) = values.row()?.into_iter().flatten().next() {
                return Ok(formats::is_picture(bytes.data()));
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
        Err(source) => Err(ArchiveError::Io { offset: 0, source }),
    }
}

/// The names that Hugging Face's metadata gives to the whole numbers of a column.
pub(crate) fn class_names(file: &File, column: usize) -> Vec<String> {
    let names = || {
        let pairs = file.metadata.file_metadata().key_value_metadata()?;
        let pair = pairs.iter().find(|pair| pair.key == "huggingface")?;
        let json: Json = serde_json::from_str(pair.value.as_deref()?).ok()?;
        let feature =
            json.get("info")?.get("features")?.get(descriptors(file)[column].path().string())?;
        let names = feature.get("names")?.as_array()?;
        Some(names.iter().map(|name| name.as_str().unwrap_or_default().to_owned()).collect())
    };
    names().unwrap_or_default()
}
