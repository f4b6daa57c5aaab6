//! AVIF of every structure: brands, grids, transparency, properties, where data lie.

use image::{GenericImage, Rgb, RgbImage, imageops};
use pictures::{Decoder, MemoryBudget, Picture};
use schemas::{Fault, Reason};

use super::heif::{
    Form, HALVED, Heif, Item, alpha, boxed, coded, full, grid, payload, right_half_clear,
    same_cells,
};
use super::make::{HEIGHT, WIDTH};
use super::{assert_near, options};

/// Made of the slopes by ravif 0.13 at quality 95.
const WHOLE: &[u8] = include_bytes!("eight.avif");
const DEEP: &[u8] = include_bytes!("ten.avif");
const PLANES_OF_RGB: &[u8] = include_bytes!("identity.avif");
/// Made as [`HALVED`], of the slopes turned by 180 degrees, and of slopes of 33×17 pixels.
const TURNED: &[u8] = include_bytes!("turned.avif");
const ODD: &[u8] = include_bytes!("odd.avif");

/// Decodes with 256 MiB of memory.
fn decode(bytes: &[u8]) -> Result<Picture, Fault> {
    Decoder::new(options()).with_memory(MemoryBudget::new(256 << 20)).decode(bytes)
}

#[track_caller]
fn decoded(heif: &Heif) -> RgbImage {
    decode(&heif.bytes()).unwrap().rgb
}

#[track_caller]
fn refused(heif: &Heif, reason: Reason, word: &str) {
    let fault = decode(&heif.bytes()).unwrap_err();
    assert_eq!(fault.reason, reason, "{}", fault.message);
    assert!(fault.message.contains(word), "{}", fault.message);
}

/// The picture side by side, of which a part is shown.
fn tiled(cell: &RgbImage, (width, height): (u32, u32)) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| *cell.get_pixel(x % cell.width(), y % cell.height()))
}

#[test]
fn brands_of_any_order_tell_an_avif() {
    let wanted = decode(WHOLE).unwrap().rgb;
    let mut heif = Heif::new(vec![coded(payload(WHOLE))]);
    for brands in [&b"mif1avif"[..], b"miafMA1B", b"MA1Amif1", b"heicavif", b"avio", b"mif1miaf"] {
        heif.brands = brands.to_vec();
        assert!(decoded(&heif) == wanted, "{}", brands.escape_ascii());
    }
    heif.brands = [&b"mif1"[..], &b"none".repeat(700), b"avif"].concat();
    assert!(decoded(&heif) == wanted);
    heif.brands = b"mif1heic".to_vec();
    refused(&heif, Reason::Unsupported, "HEIC");
    heif.brands = b"isommp42".to_vec();
    refused(&heif, Reason::NotAPicture, "film");
}

#[test]
fn a_list_of_items_may_have_many_forms() {
    let wanted = decode(WHOLE).unwrap().rgb;
    let wanted = tiled(&wanted, (2 * WIDTH, 2 * HEIGHT));
    let plain = Form { pieces: 1, ..Form::default() };
    for form in [
        plain,
        Form { places: 1, pieces: 3, ..plain },
        Form { places: 2, wide: true, ..plain },
        Form { places: 1, inner: true, ..plain },
        Form { places: 2, wide: true, inner: true, pieces: 2, ..plain },
        Form { open: true, ..plain },
    ] {
        let mut heif = same_cells(payload(WHOLE), (2, 2), wanted.dimensions());
        heif.items[0] = grid(2, 2, wanted.dimensions(), form.wide);
        heif.form = form;
        assert!(decoded(&heif) == wanted, "{form:?}");
    }
}

#[test]
fn cells_lie_in_the_order_of_the_grid_and_are_cut_at_its_edge() {
    // The second item is the cell on the right.
    let size = (2 * WIDTH, HEIGHT);
    let items = vec![grid(1, 2, size, false), coded(payload(HALVED)), coded(payload(TURNED))];
    let found = decoded(&Heif::new(items).with(b"dimg", 1, [3, 2]));
    for (left, cell) in [(0, TURNED), (WIDTH, HALVED)] {
        let found = imageops::crop_imm(&found, left, 0, WIDTH, HEIGHT).to_image();
        assert_near(&found, &decode(cell).unwrap().rgb, 80, 1.0, "a cell");
    }

    for (data, size) in [
        (WHOLE, (2 * WIDTH - 1, HEIGHT + 1)),
        (DEEP, (2 * WIDTH - 13, 2 * HEIGHT - 31)),
        (HALVED, (WIDTH + 1, 2 * HEIGHT)),
        (HALVED, (2 * WIDTH - 3, HEIGHT + 5)),
    ] {
        let wanted = tiled(&decode(data).unwrap().rgb, size);
        let found = decoded(&same_cells(payload(data), (2, 2), size));
        assert_eq!(found.dimensions(), size);
        for (x, y, pixel) in found.enumerate_pixels() {
            // Where chroma is halved, cells bleed into each other by a pixel.
            let at_edge = |at: u32, side: u32| at.is_multiple_of(side) || at % side == side - 1;
            let bleeds = data == HALVED && (at_edge(x, WIDTH) || at_edge(y, HEIGHT));
            assert!(bleeds || pixel == wanted.get_pixel(x, y), "{x}, {y} of {size:?}");
        }
    }
}

#[test]
fn cells_of_odd_sides_and_halved_chroma_are_set_together() {
    let cell = decode(ODD).unwrap().rgb;
    let size = (2 * 33, 2 * 17);
    let found = decoded(&same_cells(payload(ODD), (2, 2), size));
    assert_near(&found, &tiled(&cell, size), 24, 3.0, "odd cells");
}

#[test]
fn what_is_said_of_colours_is_said_of_the_grid_or_of_its_cells() {
    let coding = || boxed(b"colr", b"nclx\0\x01\0\x0d\0\0\x80");
    let profile = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    let profile = boxed(b"colr", &[b"prof", &profile[..]].concat());
    let size = (2 * WIDTH, HEIGHT);
    let heif = || same_cells(payload(PLANES_OF_RGB), (2, 1), size);
    let wanted = tiled(&decode(PLANES_OF_RGB).unwrap().rgb, size);
    let mut of_grid = heif();
    of_grid.items[0].properties.push(coding());
    assert!(decoded(&of_grid) == wanted);
    let mut of_cells = heif();
    of_cells.items[1..].iter_mut().for_each(|cell| cell.properties.push(coding()));
    assert!(decoded(&of_cells) == wanted);
    let mut both = of_cells;
    both.items[0].properties.push(profile.clone());
    let mut single = Heif::new(vec![coded(payload(PLANES_OF_RGB))]);
    single.items[0].properties = vec![profile, coding()];
    let converted = decoded(&single);
    assert!(converted != decode(PLANES_OF_RGB).unwrap().rgb);
    assert!(decoded(&both) == tiled(&converted, size));
}

#[test]
fn transparency_is_that_of_the_grid_or_of_each_cell_in_any_size() {
    let cell = decode(include_bytes!("alpha.avif")).unwrap().rgb;
    let size = (2 * WIDTH, HEIGHT);
    let data = payload(WHOLE);
    let clear = right_half_clear();
    // Its colours are those of the opaque file.
    let of_cells = Heif::new(vec![
        grid(1, 2, size, false),
        coded(data),
        coded(data),
        alpha(clear),
        alpha(clear),
    ])
    .with(b"dimg", 1, [2, 3])
    .with(b"auxl", 4, [2])
    .with(b"auxl", 5, [3]);
    assert!(decoded(&of_cells) == tiled(&cell, size));

    let mut items = vec![grid(1, 2, size, false), coded(data), coded(data)];
    items.push(Item { properties: alpha(b"").properties, ..grid(1, 2, size, false) });
    items.extend([coded(clear), coded(clear)]);
    let of_grid =
        Heif::new(items).with(b"dimg", 1, [2, 3]).with(b"dimg", 4, [5, 6]).with(b"auxl", 4, [1]);
    assert!(decoded(&of_grid) == tiled(&cell, size));

    // One transparency, stretched over both cells.
    let single = Heif::new(vec![grid(1, 2, size, false), coded(data), coded(data), alpha(clear)])
        .with(b"dimg", 1, [2, 3])
        .with(b"auxl", 4, [1]);
    let mut wanted = tiled(&decode(WHOLE).unwrap().rgb, size);
    let white = RgbImage::from_pixel(WIDTH, HEIGHT, Rgb([255; 3]));
    wanted.copy_from(&white, WIDTH, 0).unwrap();
    let found = decoded(&single);
    for left in [0, WIDTH + 4] {
        let part = |it: &RgbImage| imageops::crop_imm(it, left, 0, WIDTH - 4, HEIGHT).to_image();
        assert_near(&part(&found), &part(&wanted), 4, 1.0, "one transparency");
    }

    // Colours that are multiplied already are not multiplied again.
    let premultiplied = single.with(b"prem", 1, [4]);
    let found = decoded(&premultiplied);
    let right = imageops::crop_imm(&found, WIDTH + 4, 0, WIDTH - 4, HEIGHT).to_image();
    assert!(right.pixels().all(|pixel| *pixel == Rgb([255; 3])));
    let part = |it: &RgbImage| imageops::crop_imm(it, 0, 0, WIDTH - 4, HEIGHT).to_image();
    assert_near(&part(&found), &part(&wanted), 4, 1.0, "premultiplied");
}

#[test]
fn a_grid_is_cropped_and_turned_in_the_order_of_its_properties() {
    let size = (2 * WIDTH, HEIGHT);
    let whole = tiled(&decode(WHOLE).unwrap().rgb, size);
    // 40×20 pixels about a point 3 to the left of the middle and 2 below it.
    let fields = [40, 1, 20, 1, -3, 1, 2, 1i32];
    let clap = boxed(b"clap", &fields.map(i32::to_be_bytes).concat());
    let cropped = |it: &RgbImage| {
        let (left, top) = ((it.width() - 40) / 2 - 3, (it.height() - 20) / 2 + 2);
        imageops::crop_imm(it, left, top, 40, 20).to_image()
    };
    let turn = |quarters: u8| boxed(b"irot", &[quarters]);
    let mirror = |axis: u8| boxed(b"imir", &[axis]);
    for (properties, wanted) in [
        (vec![turn(1)], imageops::rotate270(&whole)),
        (vec![turn(2)], imageops::rotate180(&whole)),
        (vec![turn(3), mirror(0)], imageops::flip_vertical(&imageops::rotate90(&whole))),
        (vec![mirror(1), turn(1)], imageops::rotate270(&imageops::flip_horizontal(&whole))),
        (vec![clap.clone()], cropped(&whole)),
        (vec![clap.clone(), turn(1)], imageops::rotate270(&cropped(&whole))),
    ] {
        let mut heif = same_cells(payload(WHOLE), (2, 1), size);
        heif.items[0].properties = properties;
        let found = decode(&heif.bytes()).unwrap();
        assert!(found.rgb == wanted);
        assert_eq!(found.size(), wanted.dimensions());
    }
    // A picture that hands on another may turn it once more.
    let mut heif = Heif::new(vec![coded(b""), coded(payload(WHOLE))]).with(b"dimg", 1, [2]);
    heif.items[0].kind = Some(*b"iden");
    heif.items[0].properties = vec![turn(1)];
    heif.items[1].properties = vec![mirror(0)];
    let once = imageops::flip_vertical(&decode(WHOLE).unwrap().rgb);
    assert!(decoded(&heif) == imageops::rotate270(&once));
}

#[test]
fn a_picture_is_shown_in_the_size_that_its_properties_tell() {
    let sides = |width: u32, height: u32| {
        full(b"ispe", 0, 0, &[width.to_be_bytes(), height.to_be_bytes()].concat())
    };
    let mut heif = Heif::new(vec![coded(payload(WHOLE))]);
    heif.items[0].properties = vec![sides(2 * WIDTH, HEIGHT / 2)];
    let found = decoded(&heif);
    let wanted = decode(WHOLE).unwrap().rgb;
    let wanted = imageops::resize(&wanted, 2 * WIDTH, HEIGHT / 2, imageops::FilterType::Triangle);
    assert_near(&found, &wanted, 2, 0.5, "resized");
    heif.items[0].properties = vec![sides(1 << 20, 1 << 20)];
    refused(&heif, Reason::TooLarge, "--max-pixels");
}

#[test]
fn of_a_film_without_a_still_picture_the_first_frame_is_taken() {
    let data = payload(WHOLE);
    let film = |at: u32| {
        let number = |value: u32| value.to_be_bytes();
        let entry = boxed(b"av01", &[0; 78]);
        let table = [
            full(b"stsd", 0, 0, &[&number(1)[..], &entry].concat()),
            full(
                b"stsz",
                0,
                0,
                &[number(0), number(2), number(data.len() as u32), number(9)].concat(),
            ),
            full(b"stco", 0, 0, &[number(1), number(at)].concat()),
        ];
        let media = [
            full(b"hdlr", 0, 0, b"\0\0\0\0pict\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            boxed(b"minf", &boxed(b"stbl", &table.concat())),
        ];
        let track = boxed(b"trak", &boxed(b"mdia", &media.concat()));
        [boxed(b"ftyp", b"avis\0\0\0\0msf1"), boxed(b"moov", &track)].concat()
    };
    let before = film(film(0).len() as u32 + 8);
    let file = [before, boxed(b"mdat", &[data, &[0; 9]].concat())].concat();
    assert!(decode(&file).unwrap().rgb == decode(WHOLE).unwrap().rgb);
}

#[test]
fn what_is_no_picture_in_av1_is_told() {
    let size = (2 * WIDTH, HEIGHT);
    for (kind, word) in [(*b"hvc1", "HEIC"), (*b"jpeg", "jpeg"), (*b"iovl", "overlay")] {
        let mut heif = Heif::new(vec![coded(payload(WHOLE))]);
        heif.items[0].kind = Some(kind);
        refused(&heif, Reason::Unsupported, word);
        let mut heif = same_cells(payload(WHOLE), (2, 1), size);
        heif.items[2].kind = Some(kind);
        refused(&heif, Reason::Unsupported, word);
    }
}

#[test]
fn a_grid_that_can_not_be_is_refused() {
    let size = (2 * WIDTH, HEIGHT);
    let data = payload(WHOLE);
    let of = |columns, size| same_cells(data, (columns, 1), size);
    // Cells that leave a gap, that show nothing, that are too few, that are not there.
    refused(&of(2, (2 * WIDTH + 1, HEIGHT)), Reason::Corrupt, "2 × 1 cells");
    refused(&of(2, (WIDTH, HEIGHT)), Reason::Corrupt, "2 × 1 cells");
    refused(&of(1, (WIDTH, 0)), Reason::Corrupt, "1 × 1 cells");
    let mut few = of(2, size);
    few.items[0] = grid(1, 3, size, false);
    refused(&few, Reason::Corrupt, "3 × 1 cells with 2");
    let missing = Heif::new(vec![grid(1, 1, (WIDTH, HEIGHT), false)]).with(b"dimg", 1, [7]);
    refused(&missing, Reason::Corrupt, "not among its items");
    let mut short = of(2, size);
    short.items[0].data.truncate(6);
    refused(&short, Reason::Corrupt, "not told in full");
    // Cells of another size, or another depth.
    for other in [ODD, DEEP] {
        let mut mixed = of(2, size);
        mixed.items[2] = coded(payload(other));
        refused(&mixed, Reason::Corrupt, "");
    }
    // One that is its own cell, or hands on itself.
    let mut own = Heif::new(vec![grid(1, 1, (WIDTH, HEIGHT), false)]).with(b"dimg", 1, [1]);
    refused(&own, Reason::Unsupported, "grid");
    own.items[0].kind = Some(*b"iden");
    refused(&own, Reason::Corrupt, "without end");
}

#[test]
fn a_small_file_can_not_ask_for_much() {
    let data = payload(WHOLE);
    // 65,536 cells, all of them one small picture.
    let vast = |size| {
        let mut items = vec![coded(b""), coded(data)];
        items[0] = Item { data: vec![0, 0, 255, 255], ..grid(1, 1, size, false) };
        items[0].data.extend([
            (size.0 >> 8) as u8,
            size.0 as u8,
            (size.1 >> 8) as u8,
            size.1 as u8,
        ]);
        Heif::new(items).with(b"dimg", 1, vec![2; 32_768]).with(b"dimg", 1, vec![2; 32_768])
    };
    refused(&vast((256 * WIDTH, 256 * HEIGHT)), Reason::OverTime, "65536 cells");
    refused(&vast((65_535, 65_535)), Reason::Corrupt, "256 × 256 cells");
    // A header that says more than the memory holds, in cells and as a whole.
    let large = same_cells(data, (255, 255), (255 * WIDTH, 255 * HEIGHT));
    refused(&large, Reason::OverTime, "65025 cells");
    // Extents over one another, each of them the whole file.
    let mut heif = Heif::new(vec![coded(data)]);
    heif.form.pieces = 2;
    let mut bytes = heif.bytes();
    let at = bytes.windows(4).position(|name| name == b"iloc").unwrap();
    // Past version, sizes, count, number and reference: a base of 0, then offsets of 0 and lengths
    // of all that is left.
    bytes[at + 16..at + 20].fill(0);
    bytes[at + 22..at + 38].fill(0);
    let fault = decode(&bytes).unwrap_err();
    assert_eq!(fault.reason, Reason::Corrupt, "{}", fault.message);
    assert!(fault.message.contains("over one another"), "{}", fault.message);
}
