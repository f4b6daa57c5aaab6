//! Holds a backend's operations against their composition, forward and backward.

use burn::backend::Flex;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Int, Shape, Tensor, TensorData, TensorMetadata, TensorPrimitive};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::op::{
    AttentionBranch, Deconv, LayerNorm, Linear, LossKind, Merge, MlpBranch, Op, Place, Pool,
    Precision, TapLoss, Windows,
};
use crate::{Gradients, composed};

/// Values and shape.
#[derive(Clone)]
pub struct Host {
    values: Vec<f32>,
    shape: Vec<usize>,
}

/// An operation with its inputs, on any backend.
pub struct Case<B: Backend> {
    pub name: String,
    pub op: Op<B>,
    pub inputs: Vec<Host>,
    pub needs: Vec<bool>,
}

fn on<B: Backend>(host: &Host, device: &B::Device) -> FloatTensor<B> {
    let data = TensorData::new(host.values.clone(), Shape::from(host.shape.clone()));
    B::float_from_data(data, device)
}

fn back<B: Backend>(tensor: FloatTensor<B>) -> Host {
    let shape: Vec<usize> = tensor.shape().iter().copied().collect();
    // Ranks are of no matter to a primitive.
    let tensor = Tensor::<B, 1>::from_primitive(TensorPrimitive::Float(tensor));
    let values = tensor.into_data().convert::<f32>().to_vec().expect("it is f32");
    Host { values, shape }
}

/// Numbers of one generator, so that every backend is given the same.
pub struct Draw(StdRng);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub fn floats(&mut self, shape: &[usize], spread: f32) -> Host {
        let count = shape.iter().product();
        let values = (0..count).map(|_| (self.0.random::<f32>() * 2.0 - 1.0) * spread).collect();
        Host { values, shape: shape.to_vec() }
    }

    /// About one, as norms' weights are.
    fn ones(&mut self, width: usize) -> Host {
        let mut host = self.floats(&[width], 0.3);
        host.values.iter_mut().for_each(|value| *value += 1.0);
        host
    }

    /// A permutation of 0..count.
    pub fn order(&mut self, count: usize) -> Vec<i32> {
        let mut order: Vec<i32> = (0..count as i32).collect();
        for i in (1..count).rev() {
            order.swap(i, self.0.random_range(0..=i));
        }
        order
    }
}

fn ints<B: Backend, const D: usize>(
    values: Vec<i32>,
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D, Int> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Some tokens of a grid of `side`², cut into windows of `window`², shifted by half of one.
pub fn windows<B: Backend>(
    side: usize,
    window: usize,
    tokens: usize,
    draw: &mut Draw,
    device: &B::Device,
) -> Windows<B> {
    let places: Vec<usize> =
        draw.order(side * side)[..tokens].iter().map(|&place| place as usize).collect();
    let across = side / window + 1;
    let lead = window - window / 2;
    let of =
        |place: usize| (place / side + lead) / window * across + (place % side + lead) / window;
    let mut order: Vec<usize> = (0..tokens).collect();
    order.sort_by_key(|&token| (of(places[token]), token));
    let mut first = vec![0; across * across + 1];
    for &place in &places {
        first[of(place) + 1] += 1;
    }
    for i in 1..first.len() {
        first[i] += first[i - 1];
    }
    let mut table: Vec<i32> = order.iter().map(|&token| token as i32).collect();
    table.extend(places.iter().map(|&place| of(place) as i32));
    table.extend(places.iter().map(|&place| (place / side) as i32));
    table.extend(places.iter().map(|&place| (place % side) as i32));
    let count = first.len();
    Windows {
        side: window,
        tokens: ints(table, [4, tokens], device),
        first: ints(first, [count], device),
    }
}

/// Every operation, in shapes of a ViT and of a Swin, small ones.
#[expect(clippy::too_many_lines, reason = "one case after the other")]
pub fn cases<B: Backend>(precision: Precision, device: &B::Device) -> Vec<Case<B>> {
    let mut draw = Draw::new(7);
    let mut cases = vec![];
    let mut case = |name: &str, op: Op<B>, inputs: Vec<Host>| {
        let needs = vec![true; inputs.len()];
        cases.push(Case { name: name.to_owned(), op, inputs, needs });
    };
    let scale = |values: Vec<f32>| {
        let count = values.len();
        Tensor::<B, 1>::from_data(TensorData::new(values, [count]), device)
    };
    for (views, tokens, width, heads, branch, side) in [
        (3, 13, 24, 3, false, 0),
        (2, 50, 64, 2, true, 0),
        (2, 197, 32, 4, false, 0),
        (2, 40, 32, 2, true, 4),
        (3, 49, 48, 3, false, 7),
        // Heads of 64 and 80 side by side with other numbers of tokens; of 15, which no vector divides;
        // windows with all their tokens, and windows without any.
        (1, 70, 64, 1, true, 0),
        (2, 37, 160, 2, false, 0),
        (2, 33, 30, 2, false, 0),
        (1, 144, 24, 3, true, 6),
        (3, 9, 32, 1, false, 7),
    ] {
        let scales = branch.then(|| scale((0..views).map(|i| [0.0, 1.25, 1.0][i % 3]).collect()));
        let windows = (side > 0).then(|| windows(2 * side, side, tokens, &mut draw, device));
        let mut inputs = vec![
            draw.floats(&[views, tokens, width], 1.5),
            draw.ones(width),
            draw.floats(&[width], 0.2),
            draw.floats(&[width, 3 * width], 0.3),
            draw.floats(&[3 * width], 0.2),
            draw.floats(&[width, width], 0.3),
            draw.floats(&[width], 0.2),
        ];
        if side > 0 {
            inputs.push(draw.floats(&[(2 * side - 1).pow(2), heads], 1.0));
        }
        let op =
            AttentionBranch { heads, epsilon: 1e-6, precision, scale: scales.clone(), windows };
        case(
            &format!("attention {tokens}×{width}, windows {side}"),
            Op::AttentionBranch(op),
            inputs,
        );
        let hidden = 4 * width;
        let inputs = vec![
            draw.floats(&[views, tokens, width], 1.5),
            draw.ones(width),
            draw.floats(&[width], 0.2),
            draw.floats(&[width, hidden], 0.3),
            draw.floats(&[hidden], 0.2),
            draw.floats(&[hidden, width], 0.2),
            draw.floats(&[width], 0.2),
        ];
        let op = MlpBranch { epsilon: 1e-6, precision, scale: scales };
        case(&format!("mlp {tokens}×{width}"), Op::MlpBranch(op), inputs);
    }
    for (tokens, skip, gelu, width) in [
        (17, 0, false, 24),
        (17, 1, false, 64),
        (17, 0, true, 40),
        (17, 0, false, 1536),
        (9, 2, true, 27),
        (4500, 0, false, 6),
    ] {
        let inputs = vec![
            draw.floats(&[2, tokens, width], 2.0),
            draw.ones(width),
            draw.floats(&[width], 0.3),
        ];
        let op = LayerNorm { epsilon: 1e-6, skip, gelu };
        case(
            &format!("norm {tokens}×{width}, {skip} left out, gelu {gelu}"),
            Op::LayerNorm(op),
            inputs,
        );
    }
    for (tokens, bias, input, output) in
        [(19, true, 48, 27), (19, false, 64, 32), (19, true, 768, 16), (1, true, 5, 3)]
    {
        let mut inputs =
            vec![draw.floats(&[2, tokens, input], 1.0), draw.floats(&[input, output], 0.2)];
        if bias {
            inputs.push(draw.floats(&[output], 0.5));
        }
        case(&format!("linear {input}→{output}"), Op::Linear(Linear { precision }), inputs);
    }
    // In order after the token; scattered, and some of them in no place.
    for (kind, positions, views, width) in [
        (0, 0, 3, 24),
        (0, 1, 3, 24),
        (0, 2, 18, 150),
        (1, 0, 3, 7),
        (1, 1, 3, 24),
        (1, 2, 3, 24),
        (2, 1, 3, 150),
    ] {
        let rows = 5;
        let places = if kind == 0 { 1 + rows } else { 17 };
        let left_out = if kind == 2 { 2 } else { 0 };
        let index: Vec<i32> = (0..views)
            .flat_map(|_| {
                let order = draw.order(places as usize);
                order.into_iter().map(|row| if row < rows - left_out { row } else { -1 })
            })
            .collect();
        let (places, count) = (places as usize, views * places as usize);
        let at: Vec<i32> = (0..count).map(|i| (i * 7 % 11) as i32).collect();
        let at = (positions == 2).then(|| ints(at, [views, places], device));
        let mut inputs = vec![
            draw.floats(&[views, rows as usize, width], 1.0),
            draw.floats(&[1, 1, width], 1.0),
        ];
        match positions {
            1 => inputs.push(draw.floats(&[places, width], 1.0)),
            2 => inputs.push(draw.floats(&[11, width], 1.0)),
            _ => {}
        }
        let op = Place { rows: (kind > 0).then(|| ints(index, [views, places], device)), at };
        case(&format!("place {kind}, positions {positions}"), Op::Place(op), inputs);
    }
    for output in [12, 5] {
        let inputs = vec![
            draw.floats(&[2, 16, 32], 1.0),
            draw.floats(&[32, 4 * output], 0.3),
            draw.floats(&[output], 0.3),
        ];
        let op = Deconv { precision, side: 4 };
        case(&format!("deconvolution {output}"), Op::Deconv(op), inputs);
    }
    for width in [20, 7] {
        let inputs = vec![draw.floats(&[2, 36, width], 1.0)];
        case(&format!("pool {width}"), Op::Pool(Pool { side: 6, by: 3 }), inputs);
    }
    for (side, width) in [(6, 20), (2, 7)] {
        let inputs = vec![draw.floats(&[2, 72, width], 1.0)];
        case(&format!("merge {side}"), Op::Merge(Merge { side }), inputs);
    }
    for (kind, channels, codes) in [
        (LossKind::L2, 4, 7),
        (LossKind::L2, 768, 7),
        (LossKind::L1, 27, 7),
        (LossKind::CrossEntropy, 4, 7),
        (LossKind::CrossEntropy, 1, 8192),
    ] {
        let (views, cells) = (3, 11);
        let mut values = draw.floats(&[views, cells, channels], 1.0);
        if kind == LossKind::CrossEntropy {
            values
                .values
                .iter_mut()
                .for_each(|value| *value = (value.abs() * 0.99 * codes as f32).floor());
        }
        let weights = draw.floats(&[views, cells], 0.1);
        let op = TapLoss {
            kind,
            values: Tensor::from_primitive(TensorPrimitive::Float(on::<B>(&values, device))),
            weights: Tensor::from_primitive(TensorPrimitive::Float(on::<B>(&weights, device))),
        };
        let wide = if kind == LossKind::CrossEntropy { channels * codes } else { channels };
        let inputs = vec![draw.floats(&[views, cells, wide], 1.0)];
        case(&format!("loss {kind:?} {channels}·{codes}"), Op::TapLoss(op), inputs);
    }
    cases
}

/// The largest difference, as a share of the largest value.
fn apart(found: &Host, expected: &Host) -> f32 {
    assert_eq!(found.shape, expected.shape);
    let most = expected.values.iter().fold(1e-3f32, |most, value| most.max(value.abs()));
    let pairs = found.values.iter().zip(&expected.values);
    let worst = pairs.map(|(a, b)| {
        let apart = (a - b).abs();
        if apart.is_finite() { apart } else { f32::INFINITY }
    });
    worst.fold(0.0, f32::max) / most
}

/// Holds the operations of `B` whose names contain `which` against the composition in f32.
pub fn check<B: Gradients>(precision: Precision, which: &str, bound: f32, device: &B::Device) {
    let host = Default::default();
    let expected = cases::<Flex>(Precision::F32, &host);
    let found = cases::<B>(precision, device);
    let mut held = 0;
    for (case, known) in found.into_iter().zip(expected) {
        if !case.name.contains(which) {
            continue;
        }
        held += 1;
        let to = |inputs: &[Host]| inputs.iter().map(|input| on::<B>(input, device)).collect();
        let inputs: Vec<FloatTensor<B>> = to(&case.inputs);
        let known_inputs: Vec<_> =
            known.inputs.iter().map(|input| on::<Flex>(input, &host)).collect();
        let name = &case.name;
        let expected = back::<Flex>(composed::forward(&known.op, known_inputs.clone()));
        let (output, saved) = B::forward(&case.op, &inputs);
        let output = back::<B>(output);
        let error = apart(&output, &expected);
        assert!(error < bound, "{name}: {error}");
        let error = apart(&back::<B>(B::run(&case.op, inputs.clone())), &expected);
        assert!(error < bound, "{name} without a gradient: {error}");

        let mut upward = Draw::new(11).floats(&expected.shape, 1.0);
        // All at once; and then with the first input's left out, as under a network's first layer, and
        // without one where nothing is learned.
        for first in [true, false] {
            let mut needs = case.needs.clone();
            needs[0] &= first || needs.len() == 1;
            let width = expected.shape.last().copied().unwrap_or(1);
            let rows = upward.values.chunks_exact_mut(width).enumerate();
            rows.filter(|(at, _)| !first && at % 3 == 1).for_each(|(_, row)| row.fill(0.0));
            let gradient = on::<Flex>(&upward, &host);
            let expected =
                composed::backward(&known.op, known_inputs.clone(), gradient, &known.needs);
            let gradient = on::<B>(&upward, device);
            let found = B::backward(&case.op, inputs.clone(), saved.clone(), gradient, &needs);
            for (input, (found, known)) in found.into_iter().zip(expected).enumerate() {
                assert!(found.is_some() || !needs[input], "{name}: no gradient of input {input}");
                let (Some(found), Some(known)) = (found, known) else { continue };
                let error = apart(&back::<B>(found), &back::<Flex>(known));
                assert!(error < bound, "{name}, gradient of input {input}: {error}");
            }
        }
    }
    assert!(held > 0, "no case is called {which}");
}
