//! What columns are called: without the groups that only make a list of its elements.

use std::collections::HashMap;

use parquet::basic::{ConvertedType, LogicalType, Repetition};
use parquet::schema::types::{SchemaDescriptor, Type};

/// The names of a file's columns, by their place in it.
pub(crate) struct Names {
    paths: Vec<String>,
    plain: Vec<String>,
}

impl Names {
    pub(crate) fn of(schema: &SchemaDescriptor) -> Self {
        let paths = schema.columns().iter().map(|column| column.path().string()).collect();
        let mut plain = Vec::new();
        for field in schema.root_schema().get_fields() {
            leaves(field, field.name().to_owned(), &mut plain);
        }
        Self { paths, plain }
    }

    /// The whole path, as in `images.list.element.bytes`.
    pub(crate) fn path(&self, column: usize) -> &str {
        &self.paths[column]
    }

    /// The path as a user thinks of it, as in `images.bytes`.
    pub(crate) fn plain(&self, column: usize) -> &str {
        self.plain.get(column).map_or(self.path(column), String::as_str)
    }

    /// The name that is told: the plain one, where no other column has it.
    pub(crate) fn shown(&self, column: usize) -> &str {
        let mut count: HashMap<_, u64> = HashMap::new();
        for name in &self.plain {
            *count.entry(name.as_str()).or_default() += 1;
        }
        match count.get(self.plain(column)) {
            Some(1) => self.plain(column),
            _ => self.path(column),
        }
    }
}

fn leaves(node: &Type, name: String, names: &mut Vec<String>) {
    if node.is_primitive() {
        names.push(name);
        return;
    }
    match (kind(node), node.get_fields()) {
        (Group::List, [repeated]) if is_repeated(repeated) => {
            // Early writers leave the inner group out.
            let is_element = repeated.is_primitive()
                || repeated.get_fields().len() != 1
                || repeated.name() == "array"
                || repeated.name().ends_with("_tuple");
            if is_element {
                below(repeated, name, names);
            } else {
                leaves(&repeated.get_fields()[0], name, names);
            }
        }
        (Group::Map, [repeated]) if is_repeated(repeated) => below(repeated, name, names),
        _ => below(node, name, names),
    }
}

/// The columns in a node whose own name says nothing.
fn below(node: &Type, name: String, names: &mut Vec<String>) {
    if node.is_primitive() {
        names.push(name);
        return;
    }
    for field in node.get_fields() {
        leaves(field, format!("{name}.{}", field.name()), names);
    }
}

enum Group {
    List,
    Map,
    Other,
}

fn kind(node: &Type) -> Group {
    let info = node.get_basic_info();
    match (info.logical_type_ref(), info.converted_type()) {
        (Some(LogicalType::List), _) | (None, ConvertedType::LIST) => Group::List,
        (Some(LogicalType::Map), _) | (None, ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE) => {
            Group::Map
        }
        _ => Group::Other,
    }
}

fn is_repeated(node: &Type) -> bool {
    let info = node.get_basic_info();
    info.has_repetition() && info.repetition() == Repetition::REPEATED
}
