//! A table as JSON: read without that any shard is a value of its own on the way.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::{Columns, Place, ShardTable};

/// What is told of a shard, as [`ShardEntry`](super::ShardEntry) is written.
#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    File,
    Rows,
    RowGroups,
    RowGroupEnds,
    RowGroupHashes,
    Bytes,
    Blake3,
    First,
    Pictures,
    Start,
    #[serde(other)]
    Other,
}

/// The names of all but the last.
const FIELDS: [&str; Field::Other as usize] = [
    "file",
    "rows",
    "row_groups",
    "row_group_ends",
    "row_group_hashes",
    "bytes",
    "blake3",
    "first",
    "pictures",
    "start",
];

impl Serialize for ShardTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|shard| shard.entry()))
    }
}

impl<'de> Deserialize<'de> for ShardTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Columns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut shards: A) -> Result<Columns, A::Error> {
                let mut columns = Columns::default();
                while shards.next_element_seed(Next(&mut columns))?.is_some() {}
                Ok(columns)
            }
        }

        deserializer.deserialize_seq(All).map(|columns| Self(Arc::new(columns)))
    }
}

/// The next shard of a table.
struct Next<'a>(&'a mut Columns);

impl<'de> DeserializeSeed<'de> for Next<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Next<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("struct ShardEntry")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let columns = self.0;
        let mut told = [false; FIELDS.len()];
        while let Some(field) = map.next_key()? {
            if let Some(told) = told.get_mut(field as usize)
                && std::mem::replace(told, true)
            {
                return Err(A::Error::duplicate_field(FIELDS[field as usize]));
            }
            match field {
                Field::File => map.next_value_seed(Name(&mut columns.names))?,
                Field::Rows => columns.rows.push(map.next_value()?),
                Field::RowGroups => {
                    let rows = &mut columns.row_groups.numbers;
                    map.next_value_seed(each(|of_group: u32| rows.push(of_group.into())))?;
                }
                Field::RowGroupEnds => {
                    let mut before = 0;
                    map.next_value_seed(each(|end| columns.push_end(end, &mut before)))?;
                }
                Field::RowGroupHashes => {
                    map.next_value_seed(each(|hash| columns.hashes.push(hash)))?;
                }
                Field::Bytes => columns.bytes.push(map.next_value()?),
                Field::Blake3 => columns.blake3.push(map.next_value()?),
                Field::First => columns.first.push(map.next_value()?),
                Field::Pictures => columns.pictures.push(map.next_value()?),
                Field::Start => columns.push_start(map.next_value::<Place>()?),
                Field::Other => {
                    let IgnoredAny = map.next_value()?;
                }
            }
        }
        if let Some(missing) = told.iter().position(|told| !told) {
            return Err(A::Error::missing_field(FIELDS[missing]));
        }
        columns.end();
        Ok(())
    }
}

/// A text that is added to another.
struct Name<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<(), E> {
        self.0.push_str(name);
        Ok(())
    }
}

/// A list of which each value is given away.
struct Each<T, F>(F, PhantomData<T>);

fn each<T, F: FnMut(T)>(give: F) -> Each<T, F> {
    Each(give, PhantomData)
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> DeserializeSeed<'de> for Each<T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Each<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(value) = list.next_element()? {
            (self.0)(value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::ShardEntry;

    const JSON: &str = r#"{"file":"shard-00000.parquet","rows":5,"row_groups":[4,1],
        "row_group_ends":[18915,24199],"row_group_hashes":["278ea8c4ef123c4f","cc28f8f179d32ce7"],
        "bytes":30793,"blake3":"c7367ec51f517ead36e11eaaa493348a3f1668c6516b7e88df77ad053f3e1900",
        "first":13,"pictures":5,"start":{"unit":0,"members":0,"offset":0,"skip":0}}"#;

    /// What is wrong with a shard's JSON, as an entry and as the next of a table.
    fn wrong(json: &str) -> [String; 2] {
        let json = format!("[{JSON},{json}]");
        let entries = serde_json::from_str::<Vec<ShardEntry>>(&json).unwrap_err();
        [entries.to_string(), serde_json::from_str::<ShardTable>(&json).unwrap_err().to_string()]
    }

    #[test]
    fn a_shard_of_a_table_is_read_as_an_entry_is() {
        let more = JSON.replacen('{', r#"{"more":[1,{"file":2}],"#, 1);
        let json = format!("[{JSON},{more}]");
        let table: ShardTable = serde_json::from_str(&json).unwrap();
        let entries: Vec<ShardEntry> = serde_json::from_str(&json).unwrap();
        assert_eq!(table, entries.into_iter().collect());
        let text = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<ShardTable>(&text).unwrap(), table);
    }

    #[test]
    fn what_is_wrong_is_told_as_of_an_entry() {
        let whole: Value = serde_json::from_str(JSON).unwrap();
        for name in FIELDS {
            let mut lacking = whole.clone();
            lacking.as_object_mut().unwrap().remove(name);
            let [entry, table] = wrong(&lacking.to_string());
            assert!(table.contains(&format!("missing field `{name}`")), "{table}");
            assert_eq!(table, entry);
            let twice = JSON.replacen('{', &format!(r#"{{"{name}":{},"#, whole[name]), 1);
            let [entry, table] = wrong(&twice);
            assert!(table.contains(&format!("duplicate field `{name}`")), "{table}");
            assert_eq!(table, entry);
            for value in ["null", "-1", "5000000000.5", "\"00\"", "[-1]", "[\"00\"]", "{}"] {
                let mut other = whole.clone();
                other[name] = serde_json::from_str(value).unwrap();
                if (name, value) != ("file", "\"00\"") {
                    let [entry, table] = wrong(&other.to_string());
                    assert_eq!(table, entry, "{name}: {value}");
                }
            }
        }
        for text in ["5", "", "{", &JSON[..200], &format!("{JSON},")] {
            let [entry, table] = wrong(text);
            assert_eq!(table, entry, "{text}");
        }
    }
}
