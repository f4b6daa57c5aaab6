//! Parquet files as their many writers make them.

use std::sync::Arc;

use archives::{ArchiveError, Kind, Limits};
use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int64Array,
    LargeBinaryArray, LargeListArray, ListArray, StringArray, StructArray, UInt32Array,
    UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};
use bytes::Bytes;
use parquet::basic::{Compression as Codec, Encoding};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use schemas::Reason;

use crate::make::{self, binary, columns, picture};
use crate::{names, read, read_from, reason, sound, told};

fn codecs() -> [Codec; 7] {
    [
        Codec::UNCOMPRESSED,
        Codec::SNAPPY,
        Codec::GZIP(Default::default()),
        Codec::BROTLI(Default::default()),
        Codec::ZSTD(Default::default()),
        Codec::LZ4,
        Codec::LZ4_RAW,
    ]
}

#[test]
fn pictures_come_out_whatever_writer_codec_and_encoding() {
    let pictures = || binary((0..9).map(|at| (at != 4).then(|| picture(at))));
    let keys: Vec<_> = (0..9).map(|at| format!("photos/2026/{at:03}")).collect();
    let labels = ["cat", "catfish", "dog"];
    for codec in codecs() {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for encoding in [
                None,
                Some(Encoding::PLAIN),
                Some(Encoding::DELTA_LENGTH_BYTE_ARRAY),
                Some(Encoding::DELTA_BYTE_ARRAY),
            ] {
                let properties = WriterProperties::builder()
                    .set_compression(codec)
                    .set_writer_version(version)
                    .set_max_row_group_row_count(Some(5))
                    .set_data_page_row_count_limit(2)
                    .set_write_batch_size(1);
                // By itself a writer takes a dictionary.
                let properties = match encoding {
                    Some(encoding) => {
                        properties.set_dictionary_enabled(false).set_encoding(encoding)
                    }
                    None => properties,
                };
                let key: ArrayRef = Arc::new(StringArray::from_iter_values(&keys));
                let label = (0..9).map(|at| labels[at % 3]);
                let label: ArrayRef = Arc::new(StringArray::from_iter_values(label));
                let file = vec![("key", key), ("jpg", pictures()), ("label", label)];
                let members = sound(Kind::Parquet, columns(file, properties.build()));
                for (at, (name, label, body)) in told(&members).into_iter().enumerate() {
                    let case = format!("{codec} {version:?} {encoding:?}");
                    assert_eq!((name, label), (&*keys[at], Some(labels[at % 3])), "{case}");
                    let whole = picture(at);
                    let expected = if at == 4 { Err(Reason::Empty) } else { Ok(&whole[..]) };
                    assert_eq!(body, expected, "{case}");
                }
                assert_eq!(members.len(), 9);
            }
        }
    }
}

#[test]
fn labels_are_read_in_the_encodings_of_numbers() {
    let numbers: Vec<i64> = (0..300).map(|at| at * at % 17).collect();
    let columns_of = |label: ArrayRef, encoding| {
        let pictures = binary((0..300).map(|at| Some(picture(at % 5))));
        let properties = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_column_dictionary_enabled(ColumnPath::from("label"), false)
            .set_column_encoding(ColumnPath::from("label"), encoding)
            .set_data_page_row_count_limit(70)
            .set_write_batch_size(10)
            .build();
        let members =
            sound(Kind::Parquet, columns(vec![("png", pictures), ("label", label)], properties));
        members.into_iter().map(|member| member.label.unwrap()).collect::<Vec<_>>()
    };
    let expected: Vec<_> = numbers.iter().map(i64::to_string).collect();
    let whole = Arc::new(Int64Array::from(numbers.clone()));
    assert_eq!(columns_of(whole.clone(), Encoding::DELTA_BINARY_PACKED), expected);
    assert_eq!(columns_of(whole, Encoding::BYTE_STREAM_SPLIT), expected);
    let floats = Float64Array::from_iter_values(numbers.iter().map(|&number| number as f64));
    assert_eq!(columns_of(Arc::new(floats), Encoding::BYTE_STREAM_SPLIT), expected);
    let bits = BooleanArray::from_iter(numbers.iter().map(|number| Some(number % 2 == 1)));
    let odd: Vec<_> = numbers.iter().map(|number| (number % 2).to_string()).collect();
    assert_eq!(columns_of(Arc::new(bits), Encoding::RLE), odd);
}

/// Lists of these lengths, or nulls, over the elements.
fn list(elements: ArrayRef, lengths: &[Option<usize>]) -> ArrayRef {
    let nulls = NullBuffer::from_iter(lengths.iter().map(Option::is_some));
    let offsets = OffsetBuffer::from_lengths(lengths.iter().map(|length| length.unwrap_or(0)));
    let field = Arc::new(Field::new("element", elements.data_type().clone(), true));
    Arc::new(ListArray::new(field, offsets, elements, Some(nulls)))
}

fn structs(pictures: ArrayRef) -> ArrayRef {
    let paths: ArrayRef =
        Arc::new(StringArray::from_iter((0..pictures.len()).map(|_| Some("picture.jpg"))));
    Arc::new(StructArray::from(vec![
        (Arc::new(Field::new("bytes", DataType::Binary, true)), pictures),
        (Arc::new(Field::new("path", DataType::Utf8, true)), paths),
    ]))
}

const LENGTHS: [Option<usize>; 6] = [Some(2), Some(0), None, Some(3), Some(1), Some(1)];

/// Six rows, of which two have no picture, and of seven pictures one is null.
fn lists(elements: impl Fn(ArrayRef) -> ArrayRef, properties: WriterProperties) -> Bytes {
    let pictures = binary((0..7).map(|at| (at != 3).then(|| picture(at))));
    let labels: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d", "e", "f"]));
    columns(vec![("images", list(elements(pictures), &LENGTHS)), ("label", labels)], properties)
        .into()
}

#[test]
fn each_picture_of_a_list_has_the_label_of_its_row_and_a_name_of_its_own() {
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        for codec in codecs() {
            let properties = || {
                WriterProperties::builder()
                    .set_compression(codec)
                    .set_writer_version(version)
                    .set_max_row_group_row_count(Some(4))
                    .set_data_page_row_count_limit(1)
                    .set_write_batch_size(1)
                    .build()
            };
            for file in [lists(structs, properties()), lists(|pictures| pictures, properties())] {
                let members = sound(Kind::Parquet, file.clone());
                let pictures: Vec<_> = (0..7).map(picture).collect();
                let expected = [
                    ("row 0/0", Some("a"), Ok(&pictures[0][..])),
                    ("row 0/1", Some("a"), Ok(&pictures[1])),
                    ("row 3/0", Some("d"), Ok(&pictures[2])),
                    ("row 3/1", Some("d"), Err(Reason::Empty)),
                    ("row 3/2", Some("d"), Ok(&pictures[4])),
                    ("row 4/0", Some("e"), Ok(&pictures[5])),
                    ("row 5/0", Some("f"), Ok(&pictures[6])),
                ];
                assert_eq!(told(&members), expected, "{codec} {version:?}");
                for (place, member) in members.iter().enumerate() {
                    let origin = Arc::new(file.clone());
                    let (rest, error) =
                        read_from(Kind::Parquet, origin, member.next, &Limits::default());
                    assert!(error.is_none(), "{error:?}");
                    assert_eq!(rest, members[place + 1..], "from {:?}", member.next);
                }
            }
        }
    }
}

#[test]
fn the_names_that_a_message_tells_are_taken() {
    let two = || {
        let pictures = || binary((0..2).map(|at| Some(picture(at))));
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let front = list(structs(pictures()), &[Some(1), Some(1)]);
        let back = list(pictures(), &[Some(0), Some(2)]);
        columns(vec![("front", front), ("back", back), ("id", ids)], WriterProperties::default())
    };
    let (_, error) = read(Kind::Parquet, two(), &Limits::default());
    let message = error.unwrap().to_string();
    assert!(message.contains("(front.bytes, back)"), "{message}");
    let named = |name: &str| {
        let limits = Limits { image_column: Some(name.into()), ..Limits::default() };
        read(Kind::Parquet, two(), &limits)
    };
    for (name, expected) in [
        ("front.bytes", ["row 0/0", "row 1/0"]),
        ("front", ["row 0/0", "row 1/0"]),
        ("front.list.element.bytes", ["row 0/0", "row 1/0"]),
        ("back", ["row 1/0", "row 1/1"]),
        ("back.list.element", ["row 1/0", "row 1/1"]),
    ] {
        let (members, error) = named(name);
        assert!(error.is_none(), "{name}: {error:?}");
        assert_eq!(names(&members), expected, "{name}");
    }
    let message = named("id").1.unwrap().to_string();
    assert!(message.contains("there are front.bytes, front.path, back"), "{message}");
}

#[test]
fn pictures_are_read_out_of_every_type_of_bytes() {
    let pictures: Vec<_> = (0..3).map(picture).collect();
    let large: ArrayRef = Arc::new(LargeBinaryArray::from_iter_values(&pictures));
    let element = Arc::new(Field::new("item", DataType::Binary, false));
    let values = Arc::new(BinaryArray::from_iter_values(&pictures));
    let offsets = OffsetBuffer::from_lengths([1, 2]);
    let large_lists: ArrayRef = Arc::new(LargeListArray::new(element, offsets, values, None));
    let bodies = |column: ArrayRef| {
        let file = columns(vec![("blob", column)], WriterProperties::default());
        let members = sound(Kind::Parquet, file).into_iter();
        members.map(|member| member.body.unwrap().to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(bodies(large), pictures);
    assert_eq!(bodies(large_lists), pictures);

    let same: Vec<_> = pictures.iter().map(|picture| picture[..40].to_vec()).collect();
    let fixed =
        || -> ArrayRef { Arc::new(FixedSizeBinaryArray::try_from_iter(same.iter()).unwrap()) };
    assert_eq!(bodies(fixed()), same);
    assert_eq!(bodies(list(fixed(), &[Some(3)])), same);
    let inner =
        list(binary(pictures.iter().map(|picture| Some(picture.clone()))), &[Some(1), Some(2)]);
    assert_eq!(bodies(list(inner, &[Some(2)])), pictures, "a list of lists");
}

#[test]
fn a_row_of_more_than_there_is_room_for_is_rejected() {
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_data_page_size_limit(1000)
        .set_write_batch_size(1)
        .build();
    let pictures = binary((0..3).map(|at| Some([picture(at), vec![0; 3000]].concat())));
    let file = columns(vec![("images", list(pictures, &[Some(3)]))], properties);
    assert_eq!(sound(Kind::Parquet, file.clone()).len(), 3);
    let limits = Limits { page_bytes: 2000, ..Limits::default() };
    let (members, error) = read(Kind::Parquet, file, &limits);
    assert!(error.is_none());
    assert_eq!(reason(&members[0]), Some(Reason::TooLarge));
}

#[test]
fn values_that_repeat_each_other_without_end_are_given_up() {
    // Each is the one before, of which nothing more is stored.
    let whole = [picture(1), vec![0; 1 << 20]].concat();
    let pictures = binary((0..2000).map(|_| Some(whole.clone())));
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::DELTA_BYTE_ARRAY)
        .set_data_page_size_limit(1 << 30)
        .build();
    let file = columns(vec![("jpg", pictures)], properties);
    assert!(file.len() < 2 << 20);
    let (members, error) = read(Kind::Parquet, file, &Limits::default());
    assert!(error.is_none());
    assert_eq!(members.len(), 1);
    assert_eq!(reason(&members[0]), Some(Reason::TooLarge));
}

/// What can't be read without a key is told as that, and not as damage.
#[test]
fn an_encrypted_file_is_told_of_as_one() {
    let mut file = make::small_parquet(Codec::SNAPPY);
    let end = file.len() - 4;
    file[..4].copy_from_slice(b"PARE");
    file[end..].copy_from_slice(b"PARE");
    let (members, error) = read(Kind::Parquet, file, &Limits::default());
    assert!(members.is_empty());
    let error = error.unwrap();
    assert!(matches!(&error, ArchiveError::Columns(_)), "{error:?}");
    assert!(error.to_string().contains("encrypted"), "{error}");
}

#[test]
fn labels_are_told_whatever_numbers_they_are_kept_as() {
    let one = |name: &str, labels: ArrayRef| {
        let images = binary((0..labels.len()).map(|at| Some(picture(at))));
        let file = columns(vec![("Image", images), (name, labels)], WriterProperties::default());
        let labels = sound(Kind::Parquet, file).into_iter().map(|member| member.label);
        labels.collect::<Vec<_>>()
    };
    let told = |labels: &[&str]| labels.iter().map(|label| Some(label.to_string())).collect();
    let large: Vec<Option<String>> = told(&["18446744073709551615", "3"]);
    assert_eq!(one("label", Arc::new(UInt64Array::from(vec![u64::MAX, 3]))), large);
    assert_eq!(one("Label", Arc::new(UInt32Array::from(vec![u32::MAX]))), told(&["4294967295"]));
    let gaps = Float64Array::from(vec![Some(5.0), None, Some(-1.0), Some(0.5), Some(f64::NAN)]);
    let whole = [Some("5".to_owned()), None, Some("-1".to_owned()), None, None];
    assert_eq!(one("CLASS", Arc::new(gaps)), whole);
}

#[test]
fn rows_have_key_and_label_and_nulls_are_rejected() {
    let members = sound(Kind::Parquet, make::small_parquet(Codec::SNAPPY));
    assert_eq!(members.len(), 10);
    for (number, member) in members.iter().enumerate() {
        assert_eq!(member.name, format!("{number:05}"));
        assert_eq!(member.label, Some((number % 3).to_string()));
        if number == 2 {
            assert_eq!(reason(member), Some(Reason::Empty));
        } else {
            assert_eq!(member.body.as_deref(), Ok(&picture(number)[..]));
        }
    }
}

/// Rows as Hugging Face writes them: a struct of bytes and path, and classes by number.
fn hugging_face() -> Vec<u8> {
    let bytes = binary((0..3).map(|number| Some(picture(number))));
    let paths: ArrayRef = Arc::new(StringArray::from(vec![Some("a.jpg"), None, Some("c.jpg")]));
    let image = StructArray::from(vec![
        (Arc::new(Field::new("bytes", DataType::Binary, true)), bytes),
        (Arc::new(Field::new("path", DataType::Utf8, true)), paths),
    ]);
    let features =
        r#"{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(vec![KeyValue::new(
            "huggingface".into(),
            features.to_owned(),
        )]))
        .build();
    let labels: ArrayRef = Arc::new(Int64Array::from(vec![1, -1, 0]));
    columns(vec![("image", Arc::new(image)), ("label", labels)], properties)
}

#[test]
fn hugging_faces_struct_and_class_names_are_understood() {
    let members = sound(Kind::Parquet, hugging_face());
    assert_eq!(
        told(&members),
        [
            ("a.jpg", Some("dog"), Ok(&picture(0)[..])),
            ("row 1", None, Ok(&picture(1))),
            ("c.jpg", Some("cat"), Ok(&picture(2))),
        ]
    );
}

#[test]
fn the_column_is_found_by_content_or_named() {
    let properties = || WriterProperties::builder().build();
    let pictures = || binary((0..3).map(|number| Some(picture(number))));
    let vectors = || binary((0..3).map(|_| Some(vec![1, 2, 3])));
    let titles: ArrayRef = Arc::new(StringArray::from(vec!["x", "y", "z"]));
    let found = columns(vec![("vector", vectors()), ("blob", pictures())], properties());
    assert_eq!(sound(Kind::Parquet, found).len(), 3);

    let two: Bytes =
        columns(vec![("a", pictures()), ("b", pictures()), ("title", titles)], properties()).into();
    let (_, error) = read(Kind::Parquet, two.clone(), &Limits::default());
    assert!(error.unwrap().to_string().contains("(a, b)"));
    let named = Limits {
        image_column: Some("b".into()),
        label_column: Some("title".into()),
        ..Limits::default()
    };
    let (members, error) = read(Kind::Parquet, two.clone(), &named);
    assert!(error.is_none());
    assert_eq!(members[2].label.as_deref(), Some("z"));
    let missing = Limits { image_column: Some("c".into()), ..Limits::default() };
    let (_, error) = read(Kind::Parquet, two, &missing);
    assert!(error.unwrap().to_string().contains("a, b, title"));

    let none = columns(vec![("vector", vectors())], properties());
    let (_, error) = read(Kind::Parquet, none, &Limits::default());
    assert!(matches!(error, Some(ArchiveError::Columns(_))));
}

#[test]
fn a_damaged_row_group_is_one_reject_and_the_next_is_read() {
    let mut bytes = make::small_parquet(Codec::ZSTD(Default::default()));
    let metadata = parquet::file::metadata::ParquetMetaDataReader::new()
        .parse_and_finish(&Bytes::from(bytes.clone()))
        .unwrap();
    // The header of the first page of pictures, in the second row group of three.
    let (start, _) = metadata.row_group(1).column(2).byte_range();
    bytes[start as usize..][..4].fill(0xff);
    let members = sound(Kind::Parquet, bytes);
    let expected = ["00000", "00001", "00002", "00003", "rows 4 to 7", "00008", "00009"];
    assert_eq!(names(&members), expected);
    assert_eq!(reason(&members[4]), Some(Reason::Corrupt));
}
