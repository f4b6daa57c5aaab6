//! The page of a set.

use ingest::report::{self, Scope};
use shards::ShardSet;

use crate::case::{Case, members, scene};

fn page(case: &Case, scope: Scope) -> String {
    report::page(&ShardSet::open(&case.path("out")).unwrap(), scope).unwrap()
}

#[test]
fn a_set_is_told_on_one_page_that_stands_alone() {
    let case = Case::empty();
    for (name, bytes) in members(0..9, "<i>cat") {
        case.put(&format!("raw/{name}"), bytes);
    }
    // Too small for the set, but not to be shown.
    case.put("raw/small.png", scene(3, 12));
    case.put("raw/none.jpg", "no picture");
    let summary = case.run(&["raw"], "out");
    let page = page(&case, Scope { views: 4, ..Scope::default() });

    assert!(page.contains("9 accepted, 2 rejected"), "{page}");
    assert!(page.contains("&lt;i&gt;cat") && !page.contains("<i>cat"), "a name is text");
    for reason in ["too_small", "not_a_picture"] {
        assert!(page.contains(reason), "{reason}");
    }
    let small = page.split("small.png").count() - 1;
    assert!(small >= 2, "the small picture is named and shown");
    let scales = summary.manifest.settings.layout.cells.len();
    assert_eq!(page.matches("<svg").count(), scales, "a star for each scale");
    for link in ["http://", "https://", "src=\"/", "href="] {
        assert!(!page.contains(link), "the page should stand alone, but has {link}");
    }
}

#[test]
fn pictures_that_look_alike_are_shown_together_and_rows_are_looked_at_up_to_a_bound() {
    let case = Case::empty();
    for number in 0..6 {
        case.put(&format!("raw/{number}.png"), scene(number, 64));
    }
    // Other bytes, the same picture.
    let copy = image::load_from_memory(&scene(0, 64)).unwrap();
    let mut bmp = std::io::Cursor::new(Vec::new());
    copy.write_to(&mut bmp, image::ImageFormat::Bmp).unwrap();
    case.put("raw/copy.bmp", bmp.into_inner());
    let mut settings = case.settings(&["raw"], "out");
    settings.ingest.pictures_per_shard = 2;
    ingest::run(&settings, &ingest::Silent).unwrap();

    let all = page(&case, Scope::default());
    assert!(all.contains("1 cluster with 2 pictures"));
    assert!(all.contains("copy.bmp") && all.contains("0.png"));
    let part = page(&case, Scope { rows: 3, ..Scope::default() });
    assert!(part.contains("4 pictures of 2 shards"), "{part}");
}
