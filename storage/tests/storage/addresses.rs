//! Addresses as texts.

use std::path::Path;

use storage::{Address, Storage, StorageError, StorageOptions};

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

#[test]
fn an_address_is_shown_as_it_was_given_and_joined_by_a_slash() {
    for (text, joined) in [
        ("pictures", "pictures/a/b.jpg"),
        ("/pictures/", "/pictures/a/b.jpg"),
        ("/", "/a/b.jpg"),
        ("s3://bucket", "s3://bucket/a/b.jpg"),
        ("s3://bucket/crawl/", "s3://bucket/crawl/a/b.jpg"),
        ("s3://bucket/50% off?#1", "s3://bucket/50% off?#1/a/b.jpg"),
        ("gs://bucket/crawl", "gs://bucket/crawl/a/b.jpg"),
        ("az://container@account/crawl", "az://container@account/crawl/a/b.jpg"),
        ("https://host:8080/crawl", "https://host:8080/crawl/a/b.jpg"),
        ("file:///crawl", "file:///crawl/a/b.jpg"),
    ] {
        let address = address(text);
        assert_eq!(address.to_string(), text);
        assert_eq!(address.join("a/b.jpg").to_string(), joined);
        assert_eq!(address.join("a").join("b.jpg").to_string(), joined);
        assert_eq!(address.join("a/b.jpg").name(), "b.jpg");
    }
}

#[test]
fn paths_and_file_urls_are_local() {
    assert_eq!(address("a b/c").local(), Some(Path::new("a b/c")));
    assert_eq!(address("file:///a%20b/c").local(), Some(Path::new("/a b/c")));
    assert_eq!(address("file:///a").join("b").local(), Some(Path::new("/a/b")));
    assert_eq!(address("s3://bucket/key").local(), None);
}

#[test]
fn secrets_of_a_web_address_are_not_shown() {
    let address = address("https://user:hidden@host/folder/file?token=hidden#hidden");
    let shown = format!("{address} {address:?} {} {}", address.join("other"), address.name());
    assert!(!shown.contains("hidden"), "{shown}");
    assert_eq!(address.to_string(), "https://host/folder/file");
    assert_eq!(address.name(), "file");
}

#[test]
fn a_web_address_is_published_with_its_query_unless_that_is_signed() {
    let published = |text: &str| address(text).published();
    assert_eq!(
        published("HTTPS://user:hidden@Host/a.php?id=7&w=64#x"),
        "https://host/a.php?id=7&w=64"
    );
    assert_eq!(published("https://host/a.jpg"), "https://host/a.jpg");
    for signed in
        ["X-Amz-Date=1&X-Amz-Signature=hidden", "se=1&sig=hidden", "alt=media&token=hidden"]
    {
        assert_eq!(published(&format!("https://host/a.jpg?{signed}")), "https://host/a.jpg");
    }
    assert_eq!(published("s3://bucket/a?b"), "s3://bucket/a?b");
}

#[test]
fn what_is_no_address_is_refused_with_a_way_out() {
    for (text, word) in [
        ("", "empty"),
        ("ftp://host/file", "s3://"),
        ("s3://", "bucket"),
        ("s3:///key", "bucket"),
        ("s3://bucket/a//b", "empty part"),
        ("s3://bucket/a/../b", ".."),
        ("https://", "host"),
        ("file://elsewhere/file", "file:///"),
    ] {
        let error = Address::parse(text).unwrap_err();
        assert!(error.to_string().contains(word), "{text}: {error}");
    }
    let error = Address::parse("s3://key:hidden@bucket/object").unwrap_err();
    assert!(error.to_string().contains("AWS_ACCESS_KEY_ID"), "{error}");
    assert!(!error.to_string().contains("hidden"), "{error}");
}

#[test]
fn an_endpoint_that_is_no_url_is_refused() {
    let options = StorageOptions { endpoint: Some("localhost".into()), ..Default::default() };
    assert!(matches!(Storage::new(options), Err(StorageError::Address { .. })));
}
