//! Files of tars → members with their labels, by WebDataset's convention.

use std::io;

use archives::{Kind, Packing};
use bytes::Bytes;
use schemas::Reason;

use crate::make::{self, gzip, picture, tar};
use crate::{names, reason, sound, told};

#[test]
fn files_of_one_key_are_one_sample_of_a_tar() {
    let (one, two, three) = (picture(1), picture(2), picture(3));
    let members = sound(Kind::Tar(Packing::Plain), make::small_tar());
    let long = "a folder with a long name ".repeat(5);
    let long = long.trim();
    assert_eq!(
        told(&members),
        [
            ("train/cat/0001.jpg", Some("7"), Ok(&one[..])),
            ("train/cat/0002.jpg", Some("cat"), Ok(&two)),
            ("train/cat/0002.seg.png", Some("cat"), Ok(&three)),
            ("train/page.html", Some("train"), Ok(b"<!doctype html>")),
            (&format!("{long}/0004.jpg"), Some(long), Ok(&picture(4))),
            ("0005", None, Ok(&picture(5))),
        ]
    );
}

#[test]
fn the_label_comes_from_the_class_before_the_json_before_the_folder() {
    let json = br#"{"label": "in json"}"#.to_vec();
    let members = sound(
        Kind::Tar(Packing::Plain),
        tar(&[
            ("f/a.cls", b" in cls\n".to_vec()),
            ("f/a.jpg", picture(1)),
            ("f/a.json", json.clone()),
            ("f/b.json", json),
            ("f/b.png", picture(2)),
            ("f/c.jpg", picture(3)),
            ("f/c.txt", b"a caption is no label".to_vec()),
        ]),
    );
    let labels: Vec<_> = members.iter().map(|member| member.label.as_deref()).collect();
    assert_eq!(labels, [Some("in cls"), Some("in json"), Some("f")]);
}

#[test]
fn companions_alone_are_no_members_but_unknown_files_are() {
    let members = sound(
        Kind::Tar(Packing::Plain),
        tar(&[
            ("stats.json", b"{}".to_vec()),
            ("empty.cls", b"".to_vec()),
            ("a.txt", b"caption of a lost picture".to_vec()),
            ("film.mp4", b"\0\0\0\x20ftypisom".to_vec()),
            ("b.jpg", b"<html>no picture</html>".to_vec()),
            ("c.bin", picture(1)),
            ("d.mp4", b"beside a picture".to_vec()),
            ("d.jpg", picture(2)),
            (".hidden/e.jpg", picture(3)),
        ]),
    );
    assert_eq!(names(&members), ["film.mp4", "b.jpg", "c.bin", "d.jpg"]);
}

#[test]
fn a_label_that_does_not_stand_beside_its_picture_is_told() {
    let members = sound(
        Kind::Tar(Packing::Plain),
        tar(&[
            ("f/a.jpg", picture(1)),
            ("f/b.jpg", picture(2)),
            ("f/a.cls", b"cat".to_vec()),
            ("f/c.json", br#"{"label": "dog"}"#.to_vec()),
        ]),
    );
    assert_eq!(names(&members), ["f/a.jpg", "f/b.jpg", "f/a.cls", "f/c.json"]);
    for (member, label) in members[2..].iter().zip(["cat", "dog"]) {
        let fault = member.body.as_ref().unwrap_err();
        assert_eq!(fault.reason, Reason::StrayLabel);
        assert!(
            fault.message.contains(label) && fault.message.contains("--sort=name"),
            "{fault:?}"
        );
    }
}

#[test]
fn names_with_dots_keep_their_own_labels() {
    let cls = |label: &str| label.as_bytes().to_vec();
    let members = sound(
        Kind::Tar(Packing::Plain),
        tar(&[
            ("d/www.a.org.cls", cls("cat")),
            ("d/www.a.org.jpg", picture(1)),
            ("d/www.b.org.cls", cls("\u{feff}dog")),
            ("d/www.b.org.jpg", picture(2)),
            ("d/www.c.org.jpg", picture(3)),
            ("d/www.e.org.cls", cls("cow")),
            ("d/clip.1.jpg", picture(4)),
            ("d/clip.2.jpg", picture(5)),
            ("d/clip.cls", cls("run")),
        ]),
    );
    let labels: Vec<_> =
        members.iter().map(|member| (member.body.is_ok(), member.label.as_deref())).collect();
    let own = |label| (true, Some(label));
    let expected = [own("cat"), own("dog"), own("d"), (false, Some("d")), own("run"), own("run")];
    assert_eq!(labels, expected);
    assert_eq!(members[3].name, "d/www.e.org.cls");
}

#[test]
fn links_to_pictures_are_told() {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name) in [
        (tar::EntryType::Symlink, "a.jpg"),
        (tar::EntryType::Link, "b.jpg"),
        (tar::EntryType::Link, "notes.txt"),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(0);
        builder.append_link(&mut header, name, "elsewhere.jpg").unwrap();
    }
    let members = sound(Kind::Tar(Packing::Plain), builder.into_inner().unwrap());
    assert_eq!(names(&members), ["a.jpg", "b.jpg"]);
    for (member, way_out) in members.iter().zip([" `--dereference`", "--hard-dereference"]) {
        let fault = member.body.as_ref().unwrap_err();
        assert_eq!(fault.reason, Reason::Unsupported);
        assert!(fault.message.contains(way_out), "{fault:?}");
    }
}

#[test]
fn pax_names_and_sizes_hold_and_odd_entries_are_passed_over() {
    let name = format!("{}/ü.jpg", "x".repeat(300));
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    builder.append_data(&mut header, "folder/", io::empty()).unwrap();
    header.set_entry_type(tar::EntryType::Symlink);
    builder.append_link(&mut header, "link.jpg", "elsewhere.jpg").unwrap();
    let length = picture(9).len().to_string();
    let records = [("path", name.as_bytes()), ("size", length.as_bytes())];
    builder.append_pax_extensions(records).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("short.jpg").unwrap();
    header.set_size(picture(9).len() as u64);
    header.set_cksum();
    builder.append(&header, &picture(9)[..]).unwrap();
    let mut sparse = tar::Header::new_gnu();
    sparse.set_path("sparse.jpg").unwrap();
    sparse.set_entry_type(tar::EntryType::GNUSparse);
    sparse.set_size(600);
    sparse.set_cksum();
    builder.append(&sparse, &[0; 600][..]).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    builder.append_data(&mut header, "./last.jpg", &b"abc"[..]).unwrap();

    let members = sound(Kind::Tar(Packing::Plain), builder.into_inner().unwrap());
    assert_eq!(names(&members), ["link.jpg", &*name, "sparse.jpg", "last.jpg"]);
    assert_eq!(members[1].body.as_deref(), Ok(&picture(9)[..]));
    for told in [0, 2] {
        assert_eq!(reason(&members[told]), Some(Reason::Unsupported));
    }
}

#[test]
fn tars_put_one_behind_the_other_are_read_as_one() {
    let both = [tar(&[("a.jpg", picture(1))]), tar(&[("b.jpg", picture(2))])].concat();
    assert_eq!(names(&sound(Kind::Tar(Packing::Plain), both.clone())), ["a.jpg", "b.jpg"]);
    assert_eq!(names(&sound(Kind::Tar(Packing::Gzip), gzip(&both))), ["a.jpg", "b.jpg"]);
}

#[test]
fn names_with_many_dots_do_not_make_one_sample_of_the_whole_archive() {
    let files: Vec<_> = (0..300).map(|i| (format!("photo.{i}.jpg"), picture(i % 5))).collect();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (&**name, bytes.clone())).collect();
    let archive = Bytes::from(tar(&files));
    let members = sound(Kind::Tar(Packing::Plain), archive.clone());
    assert_eq!(members.len(), 300);
    let begun: Vec<_> = members.iter().filter(|member| member.next.skip == 0).collect();
    assert!(begun.len() > 2, "one sample holds everything");
}
