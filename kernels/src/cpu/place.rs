//! Rows and copies of a token put in places.

use burn::backend::Flex;
use burn_flex::FlexTensor;

use super::rows::{add_columns, add_to};
use super::tensor::{Floats, dims, ints, tensor};
use crate::Place;

/// What stands in each place.
struct Plan {
    /// Places of a view.
    places: usize,
    /// For each view's place its row of x; none for the token.
    rows: Vec<Option<usize>>,
    /// For each view's place the row of the positions.
    at: Vec<usize>,
}

impl Plan {
    fn of(op: &Place<Flex>, [views, rows, _]: [usize; 3]) -> Self {
        let places = op.rows.as_ref().map_or(1 + rows, |index| index.dims()[1]);
        let found = match &op.rows {
            None => (0..views)
                .flat_map(|view| (0..places).map(move |at| (at > 0).then(|| view * rows + at - 1)))
                .collect(),
            Some(index) => {
                let of = |(at, row): (usize, i64)| {
                    usize::try_from(row).ok().map(|row| at / places * rows + row)
                };
                ints(index).into_iter().enumerate().map(of).collect()
            }
        };
        let at = match &op.at {
            None => (0..views).flat_map(|_| 0..places).collect(),
            Some(at) => ints(at).into_iter().map(|at| at as usize).collect(),
        };
        Self { places, rows: found, at }
    }
}

/// What `op` gives.
pub fn forward(op: &Place<Flex>, inputs: &[FlexTensor]) -> FlexTensor {
    let [views, rows, width] = dims(&inputs[0]);
    let (x, token) = (Floats::of(&inputs[0]), Floats::of(&inputs[1]));
    let positions = inputs.get(2).map(Floats::of);
    let plan = Plan::of(op, [views, rows, width]);
    let mut out = Vec::with_capacity(views * plan.places * width);
    for (row, at) in plan.rows.iter().zip(&plan.at) {
        let start = out.len();
        out.extend_from_slice(match row {
            Some(row) => &x[row * width..(row + 1) * width],
            None => &token,
        });
        if let Some(positions) = &positions {
            add_to(&mut out[start..], &positions[at * width..(at + 1) * width]);
        }
    }
    tensor(out, [views, plan.places, width])
}

/// The inputs' gradients.
pub fn backward(
    op: &Place<Flex>,
    inputs: &[FlexTensor],
    gradient: &FlexTensor,
    needs: &[bool],
) -> Vec<Option<FlexTensor>> {
    let shape = dims(&inputs[0]);
    let [views, rows, width] = shape;
    let gradient = Floats::of(gradient);
    let plan = Plan::of(op, shape);
    let mut of_token = vec![0.0; width];
    // The place of each row, if it is in one.
    let mut places = vec![None; views * rows];
    for (place, row) in plan.rows.iter().enumerate() {
        match row {
            Some(row) => places[*row] = Some(place),
            None => add_columns(&gradient[place * width..(place + 1) * width], &mut of_token),
        }
    }
    let mut of_rows = Vec::with_capacity(views * rows * width);
    for place in places {
        match place {
            Some(place) => {
                of_rows.extend_from_slice(&gradient[place * width..(place + 1) * width]);
            }
            None => of_rows.resize(of_rows.len() + width, 0.0),
        }
    }
    let mut gradients = vec![Some(tensor(of_rows, shape)), Some(tensor(of_token, [1, 1, width]))];
    if let Some(positions) = inputs.get(2) {
        gradients.push(needs[2].then(|| {
            let [count, _] = dims(positions);
            let mut sums = vec![0.0; count * width];
            for (gradient, at) in gradient.chunks_exact(width).zip(&plan.at) {
                add_to(&mut sums[at * width..(at + 1) * width], gradient);
            }
            tensor(sums, [count, width])
        }));
    }
    gradients
}
