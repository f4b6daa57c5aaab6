//! Steps on any backend against Burn's own optimizer, parameter by parameter.

use burn::backend::Flex;
use burn::optim::{AdamWConfig, SimpleOptimizer};
use burn::tensor::{Shape, Tensor, TensorData, TensorPrimitive};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{AdamW, Clip, Optimize, Rate};
use crate::float;

/// More than go into one launch, of which one takes several cubes and some are smaller than the
/// alignment.
fn shapes() -> Vec<Shape> {
    let mut shapes = vec![Shape::new([300, 70]), Shape::new([1, 1, 5]), Shape::new([8192])];
    shapes.extend((0..70).map(|at| Shape::new([at + 1, 3])));
    shapes
}

/// The third has no gradient.
const WITHOUT: usize = 2;

fn random(shapes: &[Shape], size: f32, rng: &mut StdRng) -> Vec<Vec<f32>> {
    let one = |shape: &Shape| {
        (0..shape.num_elements()).map(|_| rng.random_range(-size..size)).collect::<Vec<_>>()
    };
    shapes.iter().map(one).collect()
}

fn rates(count: usize) -> Vec<Rate> {
    let decay = |at| if at % 2 == 0 { 0.05 } else { 0.0 };
    (0..count).map(|at| Rate { scale: 1.0 / (1 + at % 3) as f64, decay: decay(at) }).collect()
}

fn close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance, "{what}, {at}: {a} should be {b}");
    }
}

fn on<B: Optimize>(values: &[f32], shape: &Shape, device: &B::Device) -> B::FloatTensorPrimitive {
    B::float_from_data(TensorData::new(values.to_vec(), shape.clone()), device)
}

fn host<B: Optimize>(tensor: B::FloatTensorPrimitive, count: usize) -> Vec<f32> {
    let tensor = B::float_reshape(tensor, Shape::new([count]));
    let tensor = Tensor::<B, 1>::from_primitive(TensorPrimitive::Float(tensor));
    tensor.into_data().iter().collect()
}

/// Burn's steps, with a gradient that is clipped on the host.
fn reference(
    parameters: Vec<Vec<f32>>,
    gradients: &[Vec<Vec<f32>>],
    limit: Option<f64>,
    lr: f64,
) -> (Vec<Vec<f32>>, Vec<f64>) {
    let device = Default::default();
    let norms: Vec<f64> = gradients
        .iter()
        .map(|step| {
            let with = step.iter().enumerate().filter(|(at, _)| *at != WITHOUT);
            with.flat_map(|(_, one)| one).map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
        })
        .collect();
    let rates = rates(parameters.len());
    let flat = |values: &[f32]| Tensor::<Flex, 1>::from_floats(values, &device);
    let stepped = parameters.into_iter().enumerate().map(|(at, values)| {
        if at == WITHOUT {
            return values;
        }
        let config = AdamWConfig::new().with_beta_2(0.95).with_epsilon(1e-8);
        let adamw = config.with_weight_decay(rates[at].decay).build();
        let (mut value, mut state) = (flat(&values), None);
        for (step, norm) in gradients.iter().zip(&norms) {
            let factor = limit.map_or(1.0, |limit| (limit / norm).min(1.0));
            let gradient = flat(&step[at]) * factor;
            (value, state) = adamw.step(lr * rates[at].scale, value, gradient, state);
        }
        value.into_data().iter().collect()
    });
    (stepped.collect(), norms)
}

/// Fails unless three steps from two parts each are Burn's, and what is kept on the way is given.
pub fn check<B: Optimize>(device: &B::Device) {
    let mut rng = StdRng::seed_from_u64(1);
    let (shapes, lr) = (shapes(), 1e-2);
    let parameters = random(&shapes, 1.0, &mut rng);
    let halves: Vec<_> = (0..6).map(|_| random(&shapes, 1.0, &mut rng)).collect();
    let gradients: Vec<Vec<Vec<f32>>> = halves
        .chunks(2)
        .map(|pair| {
            let mean = |(a, b): (&Vec<f32>, &Vec<f32>)| {
                a.iter().zip(b).map(|(a, b)| a * 0.5 + b * 0.5).collect()
            };
            pair[0].iter().zip(&pair[1]).map(mean).collect()
        })
        .collect();
    for limit in [None, Some(20.0), Some(1e6)] {
        let (expected, norms) = reference(parameters.clone(), &gradients, limit, lr);
        let new =
            || AdamW::<B>::new(shapes.clone(), rates(shapes.len()), (0.9, 0.95), 1e-8, device);
        let mut adamw = new();
        let mut now: Vec<_> = parameters
            .iter()
            .zip(&shapes)
            .map(|(one, shape)| on::<B>(one, shape, device))
            .collect();
        for (pair, norm) in halves.chunks(2).zip(&norms) {
            let mut sum = None;
            for half in pair {
                let parts = half.iter().zip(&shapes).enumerate();
                let parts = parts
                    .map(|(at, (one, shape))| (at != WITHOUT).then(|| on::<B>(one, shape, device)));
                sum = Some(adamw.collect(sum, parts.collect(), 0.5));
            }
            let gradient = sum.unwrap();
            let found = f64::from(host::<B>(float(gradient.norm()), 1)[0]);
            assert!((found - norm).abs() < 1e-5 * norm, "norm {found} should be {norm}");
            let clip = limit.map(|limit| Clip { limit, norm: gradient.norm() });
            now = adamw.step(now, &gradient, lr, clip);

            // Another goes on from its moments.
            let moments = adamw.moments().unwrap();
            let mut other = new();
            other.load(adamw.steps(), moments.clone());
            assert_eq!(other.moments().unwrap(), moments);
        }
        for (at, expected) in expected.iter().enumerate() {
            let found = host::<B>(now[at].clone(), expected.len());
            close(&found, expected, 2e-6, &format!("parameter {at}, clipped at {limit:?}"));
        }
        if let Some(held) = adamw.parameters() {
            assert!(adamw.holds());
            for (now, held) in now.iter().zip(held) {
                assert_eq!(host::<B>(now.clone(), held.len()), held);
            }
        }
    }
}

#[test]
fn steps_on_the_processor_are_burns() {
    check::<Flex>(&Default::default());
}

#[test]
fn steps_on_a_gpu_are_burns() {
    let Some(device) = crate::gpu::tests::device() else {
        eprintln!("left out: LOCALMIM_VULKAN is not set");
        return;
    };
    check::<crate::gpu::tests::Vulkan>(&device);
}
