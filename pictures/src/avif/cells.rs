//! An item → the coded pictures that it is made of: one, or the cells of a grid
//! (ISO/IEC 23008-12, 6.6.2).

use schemas::{Fault, Reason};

use super::boxes::Fields;
use super::items::Items;

/// Most items that do nothing but hand on another.
const MOST_IDENTITIES: usize = 8;
/// Cells that a grid may have however small they are; of more, each must have [`SMALL`] pixels on
/// average, for a decoder costs more than what such a cell brings.
const MANY: usize = 1024;
const SMALL: u64 = 4096;

/// Coded pictures that make up one.
#[derive(Debug)]
pub(super) struct Cells {
    /// The item that was asked for, and those that it hands on, the last one with pixels.
    pub path: Vec<u32>,
    pub columns: u32,
    pub rows: u32,
    /// The coded pictures, row by row.
    pub ids: Vec<u32>,
    /// The sides of the whole; of a coded picture only its data tell.
    pub size: Option<(u32, u32)>,
}

impl Cells {
    pub fn of(items: &Items<'_>, id: u32) -> Result<Self, Fault> {
        let mut path = vec![id];
        while path.len() <= MOST_IDENTITIES {
            let id = path[path.len() - 1];
            match items.kind(id) {
                Some(b"av01") => {
                    return Ok(Self { path, columns: 1, rows: 1, ids: vec![id], size: None });
                }
                Some(b"grid") => return Self::of_grid(items, path, id),
                Some(b"iden") => match items.inputs(id) {
                    [input] => path.push(*input),
                    _ => return Err(Fault::corrupt("an AVIF picture hands on none or several")),
                },
                Some(kind) => return Err(unsupported(*kind)),
                None => return Err(Fault::corrupt("the AVIF's picture is not among its items")),
            }
        }
        Err(Fault::corrupt("the AVIF's items hand on one another without end"))
    }

    fn of_grid(items: &Items<'_>, path: Vec<u32>, id: u32) -> Result<Self, Fault> {
        let content = items.content(id)?;
        let read = || {
            let mut fields = Fields(&content);
            let (version, flags) = (fields.u8()?, fields.u8()?);
            let (rows, columns) = (u32::from(fields.u8()?) + 1, u32::from(fields.u8()?) + 1);
            let wide = flags & 1 == 1;
            (version == 0).then_some((rows, columns, (fields.id(wide)?, fields.id(wide)?)))
        };
        let (rows, columns, size) =
            read().ok_or_else(|| Fault::corrupt("the AVIF's grid is not told in full"))?;
        let ids = items.inputs(id).to_vec();
        if ids.len() as u64 != u64::from(rows) * u64::from(columns) {
            let given = ids.len();
            return Err(Fault::corrupt(format!(
                "an AVIF grid of {columns} × {rows} cells with {given}"
            )));
        }
        if let Some(kind) = ids.iter().map(|&id| items.kind(id)).find(|kind| *kind != Some(b"av01"))
        {
            let missing = || Fault::corrupt("a cell of the AVIF's grid is not among its items");
            return Err(kind.map_or_else(missing, |&kind| unsupported(kind)));
        }
        Ok(Self { path, columns, rows, ids, size: Some(size) })
    }

    /// The transparency: of the whole, or that of each cell.
    pub fn alpha(&self, items: &Items<'_>) -> Result<Option<Self>, Fault> {
        if let Some(alpha) = self.path.iter().find_map(|&id| items.alpha(id)) {
            return Self::of(items, alpha).map(Some);
        }
        let ids: Option<Vec<u32>> = self.ids.iter().map(|&id| items.alpha(id)).collect();
        let Some(ids) = ids.filter(|ids| ids.iter().all(|&id| items.kind(id) == Some(b"av01")))
        else {
            return Ok(None);
        };
        let Self { columns, rows, size, .. } = *self;
        Ok(Some(Self { path: self.path.clone(), columns, rows, ids, size }))
    }

    /// Whether the colours are multiplied by this transparency already.
    pub fn is_premultiplied(&self, items: &Items<'_>, alpha: &Self) -> bool {
        let mut cells = self.ids.iter().zip(&alpha.ids);
        self.path.iter().any(|&id| items.is_premultiplied(id, alpha.path[0]))
            || cells.any(|(&id, &alpha)| items.is_premultiplied(id, alpha))
    }

    /// Checks that cells of these sides cover the whole, none of them in vain; the sides of the
    /// whole.
    pub fn covered(&self, cell: (u32, u32)) -> Result<(u32, u32), Fault> {
        let Some(size) = self.size else {
            return Ok(cell);
        };
        let fits = |whole: u32, cell: u32, count: u32| {
            let reach = |count: u32| u64::from(cell) * u64::from(count);
            reach(count) >= whole.into() && reach(count - 1) < whole.into()
        };
        if !fits(size.0, cell.0, self.columns) || !fits(size.1, cell.1, self.rows) {
            let Self { columns, rows, .. } = self;
            return Err(Fault::corrupt(format!(
                "{columns} × {rows} cells of {}×{} pixels in an AVIF of {}×{}",
                cell.0, cell.1, size.0, size.1
            )));
        }
        if self.ids.len() > MANY && u64::from(cell.0) * u64::from(cell.1) < SMALL {
            return Err(Fault::new(
                Reason::OverTime,
                format!("{} cells of {}×{} pixels in an AVIF", self.ids.len(), cell.0, cell.1),
            ));
        }
        Ok(size)
    }
}

fn unsupported(kind: [u8; 4]) -> Fault {
    let name = match &kind {
        b"hvc1" | b"hev1" => "HEVC (HEIC)".to_owned(),
        b"iovl" => "an overlay of several".to_owned(),
        kind => format!("\"{}\"", kind.escape_ascii()),
    };
    Fault::new(
        Reason::Unsupported,
        format!("an AVIF whose picture is {name}; AV1 and grids of it are read"),
    )
}
