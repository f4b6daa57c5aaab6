//! Each operation on the processor, forward and backward, beside its composition: a slice of eight
//! views of `vit-tiny-16` with its decoders, on one thread.
//!
//! `cargo bench -p kernels --bench cpu [-- NAME]` prints medians of interleaved runs, in
//! milliseconds. `RAYON_NUM_THREADS=1` keeps the composition on one thread, too.

use std::time::{Duration, Instant};

use burn::backend::Flex;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Distribution, Int, Tensor, TensorData};
use kernels::{
    AttentionBranch, Deconv, Gradients, LayerNorm, Linear, LossKind, MlpBranch, Op, Place,
    Precision, TapLoss, Windows, composed, float,
};

const VIEWS: usize = 8;
const RUNS: usize = 9;

struct Case {
    name: &'static str,
    op: Op<Flex>,
    inputs: Vec<FloatTensor<Flex>>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("to be run by cargo bench");
        return;
    }
    let which = arguments.iter().find(|argument| !argument.starts_with("--"));
    println!(
        "{:28} {:>9} {:>9}   composed: {:>9} {:>9}",
        "", "forward", "backward", "forward", "backward"
    );
    for precision in [Precision::F32, Precision::Bf16] {
        println!("{precision:?}");
        for case in cases(precision) {
            if which.is_none_or(|which| case.name.contains(which.as_str())) {
                tell(&case);
            }
        }
    }
}

fn tell(case: &Case) {
    let needs = vec![true; case.inputs.len()];
    let mut times = [const { vec![] }; 4];
    for _ in 0..RUNS {
        let start = Instant::now();
        let (output, saved) = Flex::forward(&case.op, &case.inputs);
        times[0].push(start.elapsed());
        let start = Instant::now();
        let gradient = output.clone();
        let ours = Flex::backward(&case.op, case.inputs.clone(), saved, gradient, &needs);
        times[1].push(start.elapsed());
        drop(ours);
        let start = Instant::now();
        let composed = composed::forward(&case.op, case.inputs.clone());
        let forward = start.elapsed();
        drop(composed);
        times[2].push(forward);
        let start = Instant::now();
        composed::backward(&case.op, case.inputs.clone(), output, &needs);
        // The composition's gradient takes its forward pass with it.
        times[3].push(start.elapsed().saturating_sub(forward));
    }
    let [forward, backward, other, other_backward] = times.map(median);
    println!(
        "{:28} {forward:9.2} {backward:9.2}             {other:9.2} {other_backward:9.2}",
        case.name
    );
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn draw<const D: usize>(shape: [usize; D], spread: f64) -> FloatTensor<Flex> {
    let distribution = Distribution::Uniform(-spread, spread);
    float(Tensor::<Flex, D>::random(shape, distribution, &Default::default()))
}

fn attention(
    precision: Precision,
    tokens: usize,
    (width, heads): (usize, usize),
    windows: Option<Windows<Flex>>,
) -> (Op<Flex>, Vec<FloatTensor<Flex>>) {
    let mut inputs = vec![
        draw([VIEWS, tokens, width], 1.0),
        draw([width], 1.0),
        draw([width], 0.1),
        draw([width, 3 * width], 0.1),
        draw([3 * width], 0.1),
        draw([width, width], 0.1),
        draw([width], 0.1),
    ];
    if let Some(windows) = &windows {
        inputs.push(draw([(2 * windows.side - 1).pow(2), heads], 1.0));
    }
    let op = AttentionBranch { heads, epsilon: 1e-6, precision, scale: None, windows };
    (Op::AttentionBranch(op), inputs)
}

fn mlp(precision: Precision, tokens: usize, width: usize) -> (Op<Flex>, Vec<FloatTensor<Flex>>) {
    let inputs = vec![
        draw([VIEWS, tokens, width], 1.0),
        draw([width], 1.0),
        draw([width], 0.1),
        draw([width, 4 * width], 0.1),
        draw([4 * width], 0.1),
        draw([4 * width, width], 0.1),
        draw([width], 0.1),
    ];
    (Op::MlpBranch(MlpBranch { epsilon: 1e-6, precision, scale: None }), inputs)
}

/// A quarter of a grid of 56², in windows of 7².
fn windows() -> Windows<Flex> {
    let places: Vec<usize> = (0..56 * 56).filter(|at| (at / 8 + at / 448) % 4 == 0).collect();
    let of = |place: usize| place / 56 / 7 * 8 + place % 56 / 7;
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|&token| of(places[token]));
    let count = |window: usize| places.iter().filter(|&&place| of(place) < window).count() as i32;
    let first: Vec<i32> = (0..=64).map(count).collect();
    let mut table: Vec<i32> = order.iter().map(|&token| token as i32).collect();
    for of in [&of as &dyn Fn(usize) -> usize, &|place| place / 56, &|place| place % 56] {
        table.extend(places.iter().map(|&place| of(place) as i32));
    }
    let device = Default::default();
    Windows {
        side: 7,
        tokens: Tensor::<Flex, 2, Int>::from_data(
            TensorData::new(table, [4, order.len()]),
            &device,
        ),
        first: Tensor::from_data(TensorData::new(first, [65]), &device),
    }
}

fn cases(precision: Precision) -> Vec<Case> {
    let case = |name, (op, inputs)| Case { name, op, inputs };
    let linear = |input: usize, output: usize, tokens: usize| {
        let inputs = vec![
            draw([VIEWS, tokens, input], 1.0),
            draw([input, output], 0.1),
            draw([output], 0.1),
        ];
        (Op::Linear(Linear { precision }), inputs)
    };
    let deconv = |side: usize, width: usize| {
        let inputs = vec![
            draw([VIEWS, side * side, width], 1.0),
            draw([width, 2 * width], 0.1),
            draw([width / 2], 0.1),
        ];
        (Op::Deconv(Deconv { precision, side }), inputs)
    };
    let norm = |tokens: usize, width: usize, gelu: bool| {
        let inputs =
            vec![draw([VIEWS, tokens, width], 1.0), draw([width], 1.0), draw([width], 0.1)];
        (Op::LayerNorm(LayerNorm { epsilon: 1e-6, skip: 0, gelu }), inputs)
    };
    let rows: Vec<i32> =
        (0..VIEWS as i32 * 197).map(|at| if at % 4 == 0 { at % 197 / 4 } else { -1 }).collect();
    let rows = Tensor::from_data(TensorData::new(rows, [VIEWS, 197]), &Default::default());
    let place = (
        Op::Place(Place { rows: Some(rows), at: None }),
        vec![draw([VIEWS, 50, 256], 1.0), draw([1, 1, 256], 1.0), draw([197, 256], 1.0)],
    );
    let of = |tensor| Tensor::from_primitive(burn::tensor::TensorPrimitive::Float(tensor));
    let loss = TapLoss {
        kind: LossKind::L2,
        values: of(draw([VIEWS, 3136, 27], 1.0)),
        weights: Tensor::<Flex, 2>::ones([VIEWS, 3136], &Default::default()),
    };
    let windows = windows();
    let visible = windows.tokens.dims()[1];
    vec![
        case("attention 50×192", attention(precision, 50, (192, 3), None)),
        case("mlp 50×192", mlp(precision, 50, 192)),
        case("attention 197×256", attention(precision, 197, (256, 8), None)),
        case("mlp 197×256", mlp(precision, 197, 256)),
        case("windows of 7², width 96", attention(precision, visible, (96, 3), Some(windows))),
        case("norm 197×256", norm(197, 256, false)),
        case("norm, gelu 784×128", norm(784, 128, true)),
        case("linear 49×768→192", linear(768, 192, 49)),
        case("linear 3136×64→27", linear(64, 27, 3136)),
        case("deconvolution 196×256", deconv(14, 256)),
        case("deconvolution 784×128", deconv(28, 128)),
        case("place 197×256", place),
        case("loss 3136×27", (Op::TapLoss(loss), vec![draw([VIEWS, 3136, 27], 1.0)])),
    ]
}
