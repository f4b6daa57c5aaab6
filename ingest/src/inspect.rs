//! What is in a shard set, told in text and drawn.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use schemas::{CodebookLayout, IngestSettings, Manifest, Reject, code};
use shards::{ShardSet, ShardsError, StoredRow};
use voice::draw::Canvas;
use voice::terminal::{counted, name, size};

/// Shards, classes or rejects that are told one by one; of more, the rest is counted.
const LISTED: usize = 12;
/// Side of a panel of the preview in pixels.
const PANEL: usize = 448;

/// Reads `count` rows of the set, drawn by `seed`, in their order.
///
/// # Errors
/// [`ShardsError`] if a shard can't be read.
pub fn sample(set: &ShardSet, count: usize, seed: u64) -> Result<Vec<StoredRow>, ShardsError> {
    let rows = set.manifest().rows as usize;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut indices = rand::seq::index::sample(&mut rng, rows, count.min(rows)).into_vec();
    indices.sort_unstable();
    indices.into_iter().map(|index| set.row(index as u64)).collect()
}

/// Tells settings, counts, shards, classes, the given rows, and rejects by reason.
pub fn describe(manifest: &Manifest, rejects: &[Reject], rows: &[StoredRow]) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = describe_to(&mut text, manifest, rejects, rows);
    text
}

fn describe_to(
    text: &mut String,
    manifest: &Manifest,
    rejects: &[Reject],
    rows: &[StoredRow],
) -> fmt::Result {
    tell_settings(text, manifest)?;
    tell_counts(text, manifest)?;
    tell_shards(text, manifest)?;
    tell_classes(text, manifest)?;
    tell_rows(text, rows)?;
    tell_rejects(text, manifest, rejects)
}

fn tell_settings(text: &mut String, manifest: &Manifest) -> fmt::Result {
    let settings = &manifest.settings;
    let layout = &settings.layout;
    let size = layout.size;
    writeln!(text, "made by        {}", name(&manifest.created_by))?;
    writeln!(text, "views          {size}×{size} pixels, {} a picture", settings.views)?;
    writeln!(
        text,
        "HOG            cells of {:?} pixels, {} bins a channel",
        layout.cells, layout.bins
    )?;
    for CodebookLayout { cell, codes, blake3 } in &layout.codebooks {
        let hash = name(start(blake3));
        writeln!(text, "codebook       {codes} codes of patches of {cell} pixels, {hash}…")?;
    }
    writeln!(
        text,
        "settings       seed {}, picture filter {}, zstd level {}, {}",
        settings.seed,
        layout.picture_filter,
        settings.zstd_level,
        filters(settings).join(", ")
    )
}

fn tell_counts(text: &mut String, manifest: &Manifest) -> fmt::Result {
    for (version, part) in (1..).zip(&manifest.parts) {
        let sources: Vec<_> = part.sources.iter().map(|source| name(source)).collect();
        let pictures = counted(part.pictures, "picture");
        writeln!(text, "version {version:<7}{pictures} of {}", sources.join(", "))?;
    }
    writeln!(
        text,
        "pictures       {} accepted ({} of them cut short), {} rejected",
        manifest.accepted, manifest.cut_short, manifest.rejected
    )?;
    writeln!(
        text,
        "rows           {} in {}, {} ({} a row)",
        manifest.rows,
        counted(manifest.shards.len() as u64, "shard"),
        size(manifest.bytes),
        size(manifest.bytes / manifest.rows.max(1))
    )
}

fn tell_shards(text: &mut String, manifest: &Manifest) -> fmt::Result {
    writeln!(text, "\nshard                        rows  groups      bytes  blake3")?;
    for shard in manifest.shards.iter().take(LISTED) {
        writeln!(
            text,
            "{:24} {:>8} {:>7} {:>10}  {}…",
            name(shard.file),
            shard.rows,
            shard.row_groups().len(),
            size(shard.bytes),
            name(start(&shard.blake3.to_string()))
        )?;
    }
    rest(text, manifest.shards.len())
}

fn tell_classes(text: &mut String, manifest: &Manifest) -> fmt::Result {
    writeln!(text, "\n{}", counted(manifest.classes.len() as u64, "class"))?;
    for (class, pictures) in manifest.classes.iter().zip(&manifest.class_pictures).take(LISTED) {
        writeln!(text, "  {pictures:>8}  {}", name(class))?;
    }
    rest(text, manifest.classes.len())
}

fn tell_rows(text: &mut String, rows: &[StoredRow]) -> fmt::Result {
    writeln!(text, "\n{}, drawn at random", counted(rows.len() as u64, "row"))?;
    for row in rows {
        let ((width, height), crop) = (row.source_size, row.crop);
        writeln!(
            text,
            "  {:>8}  {}  {}  {width}×{height}, view {}: {}×{} at ({}, {})",
            row.id,
            name(&row.source),
            row.label.as_deref().map_or("(no class)".into(), name),
            row.view,
            crop.width,
            crop.height,
            crop.x,
            crop.y
        )?;
    }
    Ok(())
}

fn tell_rejects(text: &mut String, manifest: &Manifest, rejects: &[Reject]) -> fmt::Result {
    // The manifest knows how many they are, whether or not the lists can be read.
    let mut reasons = BTreeMap::<_, u64>::new();
    for (&reason, pictures) in manifest.parts.iter().flat_map(|part| &part.rejected) {
        *reasons.entry(reason).or_default() += pictures;
    }
    writeln!(text, "\n{}", counted(manifest.rejected, "reject"))?;
    for (reason, pictures) in reasons {
        writeln!(text, "  {pictures:>6}  {}", reason.code())?;
        for reject in rejects.iter().filter(|reject| reject.reason == reason).take(3) {
            writeln!(text, "          {}: {}", name(&reject.source), name(&reject.message))?;
        }
    }
    Ok(())
}

/// As much of a hash as tells it from others.
fn start(hash: &str) -> &str {
    hash.get(..16).unwrap_or(hash)
}

fn rest(text: &mut String, count: usize) -> fmt::Result {
    if count > LISTED {
        writeln!(text, "  and {} more", count - LISTED)?;
    }
    Ok(())
}

/// What a picture must be to be kept, filter by filter, with the flags that change it.
pub fn filters(settings: &IngestSettings) -> Vec<String> {
    let mut filters = vec![
        format!("at least {} pixels a side (--min-side)", settings.min_side),
        format!("at most {} pixels (--max-pixels)", settings.max_pixels),
    ];
    if let Some(bytes) = settings.max_bytes {
        filters.push(format!("at most {} a file (--max-bytes)", size(bytes)));
    }
    if settings.classes.is_some() {
        filters.push("of no other class than those given (--classes)".into());
    }
    match (settings.strict, settings.min_decoded) {
        (true, _) => filters.push("not cut short (--strict)".into()),
        (false, 0) => {}
        (false, share) => filters.push(format!("at least {share} % there (--min-decoded)")),
    }
    if settings.max_aspect > 0 {
        filters
            .push(format!("at most {} times as long as wide (--max-aspect)", settings.max_aspect));
    }
    if settings.one_colour > 0 {
        let levels = settings.one_colour;
        filters.push(format!("more than {levels} levels of colour (--one-colour)"));
    }
    if !settings.keep_duplicates {
        filters.push("no two of the same bytes (--keep-duplicates keeps them)".into());
    }
    if let Some(bits) = settings.near_duplicates {
        filters.push(format!("none within {bits} bits of another (--near-duplicates)"));
    }
    filters
}

/// Draws each row's view beside its HOG at every cell size, finest first.
pub fn preview(manifest: &Manifest, rows: &[StoredRow]) -> Canvas {
    let layout = &manifest.settings.layout;
    let panels: Vec<_> = rows
        .iter()
        .map(|row| {
            let mut panels = vec![Canvas::picture(&row.picture, layout.size as usize, PANEL)];
            panels.extend(row.cells.iter().map(|cells| {
                let values: Vec<_> = cells.hog.iter().map(|&value| code::decode(value)).collect();
                Canvas::hog(&values, layout.grid(cells.cell), layout.bins as usize, PANEL)
            }));
            panels
        })
        .collect();
    Canvas::sheet(&panels, 8, [40; 3])
}
