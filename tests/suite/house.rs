//! What ARCHITECTURE.md says of every file of the house, held against the files themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use schemas::{PictureFilter, ShardLayout};

/// Longest source file, its unit tests included.
const MOST_LINES: usize = 500;

/// A path of modules from a crate's root.
type Module = Vec<String>;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The folders of the workspace's members.
pub fn members() -> Vec<PathBuf> {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let line = text.lines().find(|line| line.starts_with("members")).unwrap();
    line.split('"').skip(1).step_by(2).map(|member| root().join(member)).collect()
}

/// All files of Rust below a folder.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.extension() {
            _ if path.is_dir() => found.extend(sources(&path)),
            Some(extension) if extension == "rs" => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}

/// The module that a file of `src` is.
fn module(src: &Path, file: &Path) -> Module {
    let path = file.strip_prefix(src).unwrap().with_extension("");
    let mut parts: Vec<_> = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// A file's code without comments and unit tests.
pub fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// All paths in the code that begin with `crate` or `super`, those in braces written out.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = vec![];
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':')) {
                expand(&mut code[at..].chars().peekable(), &mut vec![], &mut paths);
            }
        }
    }
    paths
}

type Letters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Reads one path, or a group of them, behind `before`.
fn expand(rest: &mut Letters<'_>, before: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let depth = before.len();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.next_if_eq(&'{').is_some() {
            loop {
                expand(rest, before, paths);
                while rest.next_if(|c| c.is_whitespace() || *c == ',').is_some() {}
                if rest.peek().is_none() || rest.next_if_eq(&'}').is_some() {
                    break;
                }
            }
            break;
        }
        let mut name = String::new();
        while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
            name.push(c);
        }
        if name.is_empty() {
            // What is no path, such as `*`: passed over, so that a group comes to its end.
            rest.next_if(|c| !matches!(c, '}' | ','));
            paths.push(before.clone());
            break;
        }
        before.push(name);
        if rest.next_if_eq(&':').is_none() || rest.next_if_eq(&':').is_none() {
            paths.push(before.clone());
            break;
        }
    }
    before.truncate(depth);
}

/// The module that a path leads to from `from`; what lies above it or in it is none.
fn target(from: &Module, path: &[String], modules: &BTreeMap<Module, PathBuf>) -> Option<Module> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let mut at = match path.first()?.as_str() {
        "crate" => vec![],
        _ => from[..from.len().checked_sub(ups)?].to_vec(),
    };
    at.extend(path[ups.max(1)..].iter().cloned());
    while !modules.contains_key(&at) {
        at.pop()?;
    }
    (!from.starts_with(&at) && !at.starts_with(from)).then_some(at)
}

/// Which modules of one parent import from which, each with all that is in it.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

fn imports(member: &Path) -> Imports {
    let src = member.join("src");
    let modules: BTreeMap<_, _> =
        sources(&src).into_iter().map(|file| (module(&src, &file), file)).collect();
    let mut imports = Imports::new();
    // Unit tests count no more in a file of their own than in their module's.
    let of_code = modules.iter().filter(|(_, file)| !file.ends_with("tests.rs"));
    for (from, file) in of_code {
        for to in paths(&code(file)).iter().filter_map(|path| target(from, path, &modules)) {
            let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            let (a, b) = (from[..=shared].to_vec(), to[..=shared].to_vec());
            imports.entry(a).or_default().insert(b);
        }
    }
    imports
}

/// Modules that can be reached from `start` through one import or more.
fn reached<'a>(start: &'a Module, imports: &'a Imports) -> BTreeSet<&'a Module> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
    while let Some(module) = open.pop() {
        let to = imports.get(module).into_iter().flatten();
        open.extend(to.filter(|to| seen.insert(*to)));
    }
    seen
}

#[test]
fn no_file_is_longer_than_a_sitting() {
    let mut long: Vec<_> = members()
        .iter()
        .flat_map(|member| sources(member))
        .filter(|file| fs::read_to_string(file).unwrap().lines().count() > MOST_LINES)
        .map(|file| file.strip_prefix(root()).unwrap().display().to_string())
        .collect();
    long.sort();
    assert!(long.is_empty(), "more than {MOST_LINES} lines: {long:?}");
}

#[test]
fn every_crate_says_its_one_idea_and_the_architecture_draws_it() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for member in members() {
        let manifest = fs::read_to_string(member.join("Cargo.toml")).unwrap();
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
        let name = name.trim_matches('"');
        let readme = fs::read_to_string(member.join("README.md"));
        let readme = readme.unwrap_or_else(|error| panic!("{name}/README.md: {error}"));
        assert!(readme.starts_with(&format!("# {name}\n")), "{name}/README.md has another title");
        assert!(architecture.contains(&format!("| `{name}` |")), "{name} is in no row");
    }
}

#[test]
fn what_the_architecture_points_at_is_there() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let quoted = architecture.split('`').skip(1).step_by(2);
    let mut seen = 0;
    for (file, item) in quoted.filter_map(|quoted| {
        let (file, item) = quoted.split_once("::").unwrap_or((quoted, ""));
        (file.contains('/') && file.ends_with(".rs")).then_some((file, item))
    }) {
        let code = fs::read_to_string(root().join(file));
        let code = code.unwrap_or_else(|error| panic!("{file}: {error}"));
        // A type, or a function of it.
        for name in item.split("::").filter(|name| !name.is_empty()) {
            let is_defined = ["fn ", "struct ", "enum ", "trait "].iter().any(|word| {
                let definition = format!("{word}{name}");
                let mut parts = code.split(&definition).skip(1);
                parts.any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            });
            assert!(is_defined, "{file} has no {name}");
        }
        seen += 1;
    }
    assert!(seen > 10, "ARCHITECTURE.md leads to {seen} places in the code");
}

#[test]
fn no_modules_import_each_other() {
    let mut circles = vec![];
    for member in members() {
        let name = member.file_name().unwrap().to_str().unwrap().to_owned();
        let imports = imports(&member);
        for (from, all) in &imports {
            for to in all.iter().filter(|to| reached(to, &imports).contains(from)) {
                circles.push(format!("{name}: {} -> {}", from.join("::"), to.join("::")));
            }
        }
    }
    circles.sort();
    assert!(circles.is_empty(), "imports that close a circle: {circles:#?}");
}

#[test]
fn shards_md_names_every_column() {
    let text = include_str!("../../SHARDS.md");
    let mut layout = ShardLayout::new(32, vec![4], 9).unwrap();
    for filter in [PictureFilter::GreenUp, PictureFilter::None] {
        layout.picture_filter = filter;
        assert!(text.contains(&format!("`{filter}`")), "{filter}");
        for field in layout.arrow_schema().fields() {
            let name = field.name().replace("_4", "_C");
            assert!(text.contains(&format!("`{name}`")), "{name}");
        }
    }
}

#[test]
fn paths_are_read_out_of_code() {
    let found = paths("use crate::{a::{b, C}, d::*};\nlet x = super::super::e::f(y); mycrate::no");
    let found: Vec<_> = found.iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["crate::a::b", "crate::a::C", "crate::d", "super::super::e::f"]);
}
