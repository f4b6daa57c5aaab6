//! Lists of addresses of every form, as people write them.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use archives::addresses::{Compression, Entry, Form, open};
use archives::{ArchiveError, Cursor, Limits, Origin};
use arrow::array::{ArrayRef, Int64Array, StringArray};
use bytes::Bytes;
use parquet::basic::Compression as Codec;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use schemas::Reason;

use crate::make::{self, binary, columns, gzip};

fn read_from(form: Form, bytes: &Bytes, from: Cursor, limits: &Limits) -> Vec<Entry> {
    let entries = open(form, Arc::new(bytes.clone()), from, limits).unwrap();
    entries.collect::<Result<_, _>>().unwrap()
}

/// All rows of a list that is told by its name and content.
fn rows(name: &str, bytes: impl Into<Bytes>) -> Vec<Entry> {
    let (bytes, limits) = (bytes.into(), Limits::default());
    let form = Form::of(&bytes[..bytes.len().min(4096)], name, &limits).unwrap();
    read_from(form, &bytes, Cursor::default(), &limits)
}

fn parquet(bytes: impl Into<Bytes>, limits: &Limits) -> Vec<Entry> {
    let bytes = bytes.into();
    assert!(Form::is_in_parquet(Arc::new(bytes.clone()), limits).unwrap());
    read_from(Form::Parquet, &bytes, Cursor::default(), limits)
}

/// Address, or why there is none, and label of each row.
fn told(entries: &[Entry]) -> Vec<(Result<&str, Reason>, Option<&str>)> {
    entries
        .iter()
        .map(|entry| {
            let address = entry.address.as_deref().map_err(|fault| fault.reason);
            (address, entry.label.as_deref())
        })
        .collect()
}

fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.address.as_deref().unwrap_or("none")).collect()
}

const NONE: Result<&str, Reason> = Err(Reason::NoAddress);

/// The error with which a list is refused.
fn refused(name: &str, bytes: impl Into<Bytes>, limits: &Limits) -> String {
    let bytes = bytes.into();
    let form = Form::of(&bytes, name, limits).unwrap_or(Form::Parquet);
    match open(form, Arc::new(bytes), Cursor::default(), limits) {
        Ok(_) => panic!("{name} is read"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_csv_is_read_as_spreadsheets_write_it() {
    let csv = "\u{feff}caption,URL,label\r\n\
               \"two\r\nlines, with a comma\",https://a/1.jpg,cat\r\n\
               \"a \"\"quoted\"\" word\", https://a/2.jpg?w=64&h=64 ,\r\n\
               \r\n\
               short\r\n\
               ,,dog\r\n\
               ,ftp://a/3.jpg,dog\r\n\
               ,\"https://a/b,c.jpg\",dog";
    let rows = rows("list.csv", csv);
    assert_eq!(
        told(&rows),
        [
            (Ok("https://a/1.jpg"), Some("cat")),
            (Ok("https://a/2.jpg?w=64&h=64"), None),
            (NONE, None),
            (NONE, Some("dog")),
            (NONE, Some("dog")),
            (Ok("https://a/b,c.jpg"), Some("dog")),
        ]
    );
    let message = &rows[4].address.as_ref().unwrap_err().message;
    assert!(message.contains("ftp://a/3.jpg"), "{message}");
    assert_eq!(rows[4].rows, 4..5);
}

#[test]
fn the_first_row_need_not_name_the_columns() {
    let one = ["https://a/1.jpg", "https://a/2.jpg"];
    assert_eq!(names(&rows("list.csv", "https://a/1.jpg\nhttps://a/2.jpg\n")), one);
    // As Conceptual Captions has it, and the other way round.
    let caption = "a cat, on a mat\thttps://a/1.jpg\nit's \"good\"\thttps://a/2.jpg\n";
    assert_eq!(names(&rows("train.tsv", caption)), one);
    assert_eq!(names(&rows("list", "https://a/1.jpg\ta\nhttps://a/2.jpg\tb\n")), one);
    assert_eq!(names(&rows("list.csv", "https://a/1.jpg;x, y\nhttps://a/2.jpg;z\n")), one);
}

#[test]
fn a_column_is_found_by_name_by_content_or_named() {
    let one = ["https://a/1.jpg"];
    for header in ["url", "IMAGE_URL", "Image Link", "contentUrl", "src", "where it lies"] {
        let csv = format!("id,{header},text\n1,https://a/1.jpg,a link: https://b/\n");
        assert_eq!(names(&rows("list.csv", csv)), one, "{header}");
    }
    let csv = "page,thumb\nhttps://a/,https://a/1.jpg\n";
    let error = refused("list.csv", csv, &Limits::default());
    assert!(error.contains("page, thumb") && error.contains("--url-column"), "{error}");
    let error = refused("list.csv", "id,text\n1,a\n", &Limits::default());
    assert!(error.contains("id, text") && error.contains("--url-column"), "{error}");

    let named = |url: &str, label: &str| Limits {
        url_column: Some(url.into()),
        label_column: Some(label.into()),
        ..Limits::default()
    };
    let read = |name: &str, text: &str, limits: &Limits| {
        let form = Form::of(text.as_bytes(), name, limits).unwrap();
        let rows = read_from(form, &text.to_owned().into(), Cursor::default(), limits);
        told(&rows)
            .into_iter()
            .map(|(at, label)| (at.map(str::to_owned), label.map(str::to_owned)))
            .collect::<Vec<_>>()
    };
    let expected = [(Ok("https://a/1.jpg".to_owned()), Some("https://a/".to_owned()))];
    assert_eq!(read("list.csv", csv, &named("thumb", "page")), expected);
    assert_eq!(read("list.txt", csv, &named("thumb", "page")), expected);
    // Without names they go by their numbers.
    let csv = "https://a/,https://a/1.jpg\n";
    assert_eq!(read("list.csv", csv, &named("2", "1")), expected);
    let json = r#"{"image": {"url": "https://a/1.jpg"}, "page": "https://a/"}"#;
    assert_eq!(read("list.jsonl", json, &named("image.url", "page")), expected);

    let parquet = addresses_of(&["https://a/1.jpg"], "thumb");
    for (list, text) in [("list.csv", "url,text\nhttps://a/1.jpg,a\n"), ("list.jsonl", json)] {
        let error = refused(list, text, &named("gone", "page"));
        assert!(error.contains("`gone`"), "{error}");
    }
    let error = refused("list.parquet", parquet, &named("thumb", "gone"));
    assert!(error.contains("`gone`"), "{error}");
}

#[test]
fn a_quotation_mark_that_stands_alone_costs_no_row() {
    let expected: Vec<_> = (0..6).map(|number| format!("https://a/{number}.jpg")).collect();
    for captions in [
        ["a", "\"b", "c", "say \"hi\" there", "e", "f"],
        ["a", "b", "c", "d", "\"e", "f"],
        ["\"a", "b\"", "\"c", "d", "e\"", "\"f"],
    ] {
        for (name, delimiter) in [("list.tsv", '\t'), ("list.csv", ',')] {
            for url_first in [true, false] {
                let row = |url: &str, caption: &str| match url_first {
                    true => format!("{url}{delimiter}{caption}\n"),
                    false => format!("{caption}{delimiter}{url}\n"),
                };
                let mut text = row("url", "caption");
                for (url, caption) in expected.iter().zip(captions) {
                    text += &row(url, caption);
                }
                assert_eq!(names(&rows(name, text)), expected, "{captions:?}, {url_first}");
            }
        }
    }
}

#[test]
fn of_json_lines_a_bad_one_is_a_reject() {
    let json = "\u{feff}\n{\"url\": \"https://a/1.jpg\", \"label\": \"cat\", \"caption\": \"two\\nlines\"}\r\n\
                {\"url\": \"https://a/2.jpg\", \"label\": 7}\n\
                {\"url\": \"https://a/3.jpg\", \"label\": 2.0\n\
                \n\
                [1]\n\
                {\"url\": null}\n\
                {\"label\": \"dog\"}\n\
                {\"url\": \"https://a/8.jpg\", \"label\": null}";
    let rows = rows("list.txt", json);
    assert_eq!(
        told(&rows),
        [
            (Ok("https://a/1.jpg"), Some("cat")),
            (Ok("https://a/2.jpg"), Some("7")),
            (NONE, None),
            (NONE, None),
            (NONE, None),
            (NONE, Some("dog")),
            (Ok("https://a/8.jpg"), None),
        ]
    );
    let array = refused("list.json", r#"[{"url": "https://a/1.jpg"}]"#, &Limits::default());
    assert!(array.contains("jq"), "{array}");
}

#[test]
fn a_row_that_goes_on_and_on_is_a_reject() {
    let long = "x".repeat(5 << 20);
    let csv = format!("url,text\nhttps://a/1.jpg,{long}\nhttps://a/2.jpg,b\n");
    assert_eq!(told(&rows("list.csv", csv)), [(NONE, None), (Ok("https://a/2.jpg"), None)]);
    let json = format!("{{\"url\": \"https://a/1.jpg\"}}\n{{\"url\": \"{long}\"}}\n");
    assert_eq!(told(&rows("list.jsonl", json)), [(Ok("https://a/1.jpg"), None), (NONE, None)]);
}

#[test]
fn utf_16_is_refused_with_a_way_out() {
    let text: Vec<_> = "\u{feff}url\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(refused("list.csv", text, &Limits::default()).contains("iconv"));
}

/// A Parquet file with addresses in three row groups of several pages, and labels.
fn addresses_of(addresses: &[&str], column: &str) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(Codec::UNCOMPRESSED)
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(Some(4))
        .set_data_page_row_count_limit(2)
        .set_write_batch_size(1)
        .build();
    let addresses = addresses.iter().map(|text| (!text.is_empty()).then_some(*text));
    let addresses: Vec<_> = addresses.collect();
    let labels = (0..addresses.len() as i64).map(|number| Some(number % 3));
    columns(
        vec![
            (
                "TEXT",
                Arc::new(StringArray::from_iter(addresses.iter().map(|_| Some("a")))) as ArrayRef,
            ),
            (column, Arc::new(StringArray::from(addresses))),
            ("label", Arc::new(Int64Array::from_iter(labels))),
        ],
        properties,
    )
}

#[test]
fn a_parquet_file_with_addresses_and_no_pictures_is_a_list() {
    let limits = Limits::default();
    let file = addresses_of(&["https://a/1.jpg", "", "none", "s3://b/4.jpg", "https://a/5"], "URL");
    assert_eq!(
        told(&parquet(file, &limits)),
        [
            (Ok("https://a/1.jpg"), Some("0")),
            (NONE, Some("1")),
            (NONE, Some("2")),
            (Ok("s3://b/4.jpg"), Some("0")),
            (Ok("https://a/5"), Some("1")),
        ]
    );
    let texts = |text: &'static str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let is_list = |fields, limits: &Limits| {
        let file: Bytes = columns(fields, WriterProperties::default()).into();
        Form::is_in_parquet(Arc::new(file), limits).unwrap()
    };
    // One with pictures stays what it is, whatever columns it has beside them.
    let pictures =
        || vec![("url", texts("https://a/1")), ("jpg", binary([Some(make::picture(1))]))];
    assert!(!is_list(pictures(), &limits));
    let named = Limits { image_column: Some("jpg".into()), ..Limits::default() };
    assert!(!is_list(pictures(), &named));
    assert!(!is_list(vec![("text", texts("a"))], &limits));
    // Bytes that are no pictures, and texts that are not said to be any.
    let features = vec![("url", texts("https://a/1")), ("features", binary([Some(vec![1, 2])]))];
    assert!(is_list(features, &limits));
    assert!(is_list(vec![("image", binary([Some(b"https://a/1.jpg".to_vec())]))], &limits));
    let damaged = Form::is_in_parquet(Arc::new(Bytes::from_static(b"PAR1PAR1")), &limits);
    assert!(matches!(damaged, Ok(false)), "it is told where it is read");
}

#[test]
fn labels_of_a_parquet_list_have_the_names_that_the_file_gives_them() {
    let names = r#"{"info": {"features": {"label": {"names": ["cat", "dog"]}}}}"#;
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(vec![KeyValue::new(
            "huggingface".to_owned(),
            names.to_owned(),
        )]))
        .build();
    let urls = Arc::new(StringArray::from(vec!["https://a/1", "https://a/2"])) as ArrayRef;
    let labels = Arc::new(Int64Array::from(vec![1, -1])) as ArrayRef;
    let rows =
        parquet(columns(vec![("url", urls), ("label", labels)], properties), &Limits::default());
    assert_eq!(told(&rows), [(Ok("https://a/1"), Some("dog")), (Ok("https://a/2"), None)]);
}

#[test]
fn what_is_damaged_in_a_parquet_list_is_one_reject() {
    let addresses: Vec<_> = (0..12).map(|number| format!("https://a/{number}.jpg")).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    let mut file = addresses_of(&addresses, "url");
    let at = file.windows(15).position(|window| window == b"https://a/5.jpg").unwrap();
    // The header of the page before it: a size that can't be.
    file[at - 30..at].fill(0xff);
    let rows = parquet(file, &Limits::default());
    let lost: Vec<_> = rows.iter().filter(|row| row.address.is_err()).collect();
    assert_eq!(lost.len(), 1, "{rows:?}");
    assert!(lost[0].rows.contains(&5) && lost[0].rows.end == 8, "{rows:?}");
    assert_eq!(rows.last().unwrap().address.as_deref(), Ok("https://a/11.jpg"));
}

/// A list of each form, with quotes, blank lines and bad rows.
fn all() -> Vec<(Form, Bytes)> {
    let csv = "url,caption,label\r\nhttps://a/1.jpg,\"two\r\nlines\",cat\r\n\r\n,none,\r\n\
               https://a/3.jpg,\"alone,x\r\nhttps://a/4.jpg,b,dog\nftp://a,c,d\nhttps://a/6.jpg,e,f";
    let json = "{\"url\": \"https://a/1.jpg\", \"label\": 1}\n\n{\"url\n{\"url\": \"https://a/3.jpg\"}\r\n{}";
    let addresses: Vec<_> = (0..11).map(|number| format!("https://a/{number}.jpg")).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    let mut all = vec![(Form::Parquet, addresses_of(&addresses, "url").into())];
    for (compression, packed) in [
        (Compression::Plain, (|bytes: &[u8]| bytes.to_vec()) as fn(&[u8]) -> Vec<u8>),
        // In two members.
        (Compression::Gzip, |bytes| [gzip(&bytes[..9]), gzip(&bytes[9..])].concat()),
        (Compression::Zstd, |bytes| zstd::encode_all(bytes, 1).unwrap()),
    ] {
        all.push((Form::Delimited(compression), packed(csv.as_bytes()).into()));
        all.push((Form::Json(compression), packed(json.as_bytes()).into()));
    }
    all
}

#[test]
fn reading_goes_on_behind_any_row() {
    for (form, bytes) in all() {
        let limits = Limits::default();
        let whole = read_from(form, &bytes, Cursor::default(), &limits);
        assert!(whole.len() > 3, "{form:?}");
        let told = |entries: &[Entry]| -> Vec<_> {
            let each = entries.iter().map(|entry| {
                (entry.address.clone(), entry.rows.clone(), entry.label.clone(), entry.next)
            });
            each.collect()
        };
        for (at, entry) in whole.iter().enumerate() {
            let rest = read_from(form, &bytes, entry.next, &limits);
            assert_eq!(told(&rest), told(&whole[at + 1..]), "{form:?} from {:?}", entry.next);
        }
    }
}

#[test]
fn a_compressed_list_is_told_and_read_like_a_plain_one() {
    for (form, bytes) in all() {
        if form != Form::Parquet {
            let told = Form::of(&bytes, "list.csv", &Limits::default());
            assert_eq!(told, Some(form));
        }
    }
    let cut = gzip(b"https://a/1.jpg\n".repeat(5000).as_slice());
    let entries = open(
        Form::Delimited(Compression::Gzip),
        Arc::new(Bytes::from(cut[..cut.len() / 2].to_vec())),
        Cursor::default(),
        &Limits::default(),
    );
    let mut entries: Vec<_> = entries.unwrap().collect();
    let last = entries.pop().unwrap();
    assert!(matches!(last, Err(ArchiveError::Cut { .. })), "{last:?}");
    assert!(entries.len() > 100, "what comes before is there: {}", entries.len());
    for entry in entries {
        assert_eq!(entry.unwrap().address.as_deref(), Ok("https://a/1.jpg"));
    }
}

/// A CSV that is made while it is read, of ten million million rows.
struct Endless;

impl Origin for Endless {
    fn bytes(&self) -> u64 {
        u64::MAX
    }

    fn reader(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let rows =
            (from / 32..10_000_000_000_000).map(|row| format!("https://host/{row:014}.jpg\n"));
        Ok(Box::new(Rows { rows: Box::new(rows), left: Vec::new() }))
    }

    fn read_range(&self, _: Range<u64>) -> io::Result<Bytes> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

struct Rows {
    rows: Box<dyn Iterator<Item = String> + Send>,
    left: Vec<u8>,
}

impl Read for Rows {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.left.len() < into.len() {
            let Some(row) = self.rows.next() else { break };
            self.left.extend(row.into_bytes());
        }
        let count = into.len().min(self.left.len());
        into[..count].copy_from_slice(&self.left[..count]);
        self.left.drain(..count);
        Ok(count)
    }
}

#[test]
fn a_list_without_end_is_read_row_by_row_from_any_place() {
    let form = Form::Delimited(Compression::Plain);
    let open = |from| open(form, Arc::new(Endless), from, &Limits::default()).unwrap();
    let tenth = open(Cursor::default()).nth(9).unwrap().unwrap();
    assert_eq!(tenth.address.as_deref(), Ok("https://host/00000000000009.jpg"));
    let far = Cursor { members: 1 << 40, offset: 32 << 40, skip: 0 };
    let entry = open(far).next().unwrap().unwrap();
    assert_eq!(entry.address.as_deref(), Ok("https://host/01099511627776.jpg"));
    assert_eq!(entry.rows, 1 << 40..(1 << 40) + 1);
}
