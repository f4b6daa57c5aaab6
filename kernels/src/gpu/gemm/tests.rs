//! Products on a Vulkan device against products on the host.

use burn::tensor::{Tensor, TensorData, TensorPrimitive};
use burn_cubecl::tensor::CubeTensor;
use burn_wgpu::{CubeBackend, WgpuDevice, WgpuRuntime};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Element, Gemm, Order, Residual};
use crate::Precision;
use crate::gpu::tests::device;

type Vulkan = CubeBackend<WgpuRuntime, f32, i32, u32>;

/// m, n and k, and how the factors lie: tiles' multiples, odd ones, single rows, columns and products,
/// and one for which kernels are tried out.
const CASES: [([usize; 3], Order, Order); 7] = [
    ([64, 96, 32], Order::Rows, Order::Rows),
    ([13, 27, 147], Order::Rows, Order::Columns),
    ([40, 6, 768], Order::Columns, Order::Rows),
    ([1, 5, 7], Order::Columns, Order::Columns),
    ([9, 1, 64], Order::Rows, Order::Rows),
    ([33, 12, 1], Order::Rows, Order::Columns),
    ([256, 128, 160], Order::Columns, Order::Rows),
];

/// Numbers with their place on the device.
struct Both {
    host: Vec<f32>,
    device: CubeTensor<WgpuRuntime>,
}

fn draw(random: &mut StdRng, count: usize, device: &WgpuDevice) -> Both {
    let host: Vec<f32> = (0..count).map(|_| random.random::<f32>() * 2.0 - 1.0).collect();
    let data = TensorData::new(host.clone(), [count]);
    let device = Tensor::<Vulkan, 1>::from_data(data, device).into_primitive().tensor();
    Both { host, device }
}

fn read(tensor: CubeTensor<WgpuRuntime>) -> Vec<f32> {
    let tensor = Tensor::<Vulkan, 2>::from_primitive(TensorPrimitive::Float(tensor));
    tensor.into_data().to_vec().unwrap()
}

/// lhs·rhs in f64.
fn product(what: &Gemm, lhs: &[f32], rhs: &[f32]) -> Vec<f64> {
    let Gemm { m, n, k, .. } = *what;
    let left = |row: usize, i: usize| match what.lhs {
        Order::Rows => f64::from(lhs[row * k + i]),
        Order::Columns => f64::from(lhs[i * m + row]),
    };
    let right = |i: usize, column: usize| match what.rhs {
        Order::Rows => f64::from(rhs[i * n + column]),
        Order::Columns => f64::from(rhs[column * k + i]),
    };
    let cell = |at: usize| (0..k).map(|i| left(at / n, i) * right(i, at % n)).sum();
    (0..m * n).map(cell).collect()
}

/// x·Φ(x) by Simpson's rule over the density.
fn gelu(x: f64) -> f64 {
    let (steps, mut area) = (400, 0.0);
    for i in 0..=steps {
        let weight = if i == 0 || i == steps { 1.0 } else { 2.0 + 2.0 * f64::from(i % 2) };
        let t = x * f64::from(i) / f64::from(steps);
        area += weight * (-t * t / 2.0).exp();
    }
    let root = (2.0 * std::f64::consts::PI).sqrt();
    x * (0.5 + area * x / (3.0 * f64::from(steps)) / root)
}

fn hold(name: &str, what: &Gemm, found: CubeTensor<WgpuRuntime>, expected: &[f64]) {
    let found = read(found);
    assert_eq!(found.len(), expected.len(), "{name} {what:?}");
    let most = expected.iter().fold(1.0f64, |most, value| most.max(value.abs()));
    for (at, (a, b)) in found.iter().zip(expected).enumerate() {
        let apart = (f64::from(*a) - b).abs() / most;
        assert!(apart < 1e-5, "{name} {what:?}: {a} instead of {b} at {at}");
    }
}

/// The first `count` of `CASES`.
fn each(count: usize, mut hold: impl FnMut(&Gemm, &mut StdRng, &WgpuDevice)) {
    let Some(device) = device() else {
        eprintln!("left out: LOCALMIM_VULKAN is not set");
        return;
    };
    let mut random = StdRng::seed_from_u64(3);
    for ([m, n, k], lhs, rhs) in CASES.into_iter().take(count) {
        let what = Gemm { m, n, k, lhs, rhs, precision: Precision::F32 };
        hold(&what, &mut random, &device);
    }
}

#[test]
fn products_are_those_of_the_host() {
    each(CASES.len(), |what, random, device| {
        let [lhs, rhs] =
            [what.m * what.k, what.k * what.n].map(|count| draw(random, count, device));
        let found = what.plain(&lhs.device, &rhs.device, Element::F32);
        hold("plain", what, found, &product(what, &lhs.host, &rhs.host));
    });
}

#[test]
fn biases_are_added_column_by_column() {
    each(2, |what, random, device| {
        let [lhs, rhs, bias] =
            [what.m * what.k, what.k * what.n, what.n].map(|count| draw(random, count, device));
        let products = product(what, &lhs.host, &rhs.host);
        let found = what.biased(&lhs.device, &rhs.device, &bias.device, Element::F32);
        let expected: Vec<f64> = (0..products.len())
            .map(|at| products[at] + f64::from(bias.host[at % what.n]))
            .collect();
        hold("biased", what, found, &expected);
    });
}

#[test]
fn gelus_and_their_gradients_are_those_of_the_host() {
    each(2, |what, random, device| {
        let sizes = [what.m * what.k, what.k * what.n, what.n, what.m * what.n];
        let [lhs, rhs, bias, at] = sizes.map(|count| draw(random, count, device));
        let products = product(what, &lhs.host, &rhs.host);
        let before: Vec<f64> =
            (0..products.len()).map(|i| products[i] + f64::from(bias.host[i % what.n])).collect();
        let (after, kept) = what.gelu(&lhs.device, &rhs.device, &bias.device, true);
        hold("kept", what, kept.unwrap(), &before);
        let expected: Vec<f64> = before.iter().map(|&x| gelu(x)).collect();
        hold("gelu", what, after, &expected);
        let (after, kept) = what.gelu(&lhs.device, &rhs.device, &bias.device, false);
        assert!(kept.is_none());
        hold("gelu alone", what, after, &expected);

        let found = what.gelu_gradient(&lhs.device, &rhs.device, &at.device);
        let slope = |x: f64| (gelu(x + 1e-4) - gelu(x - 1e-4)) / 2e-4;
        let expected: Vec<f64> =
            products.iter().zip(&at.host).map(|(dy, &x)| dy * slope(f64::from(x))).collect();
        hold("gelu's gradient", what, found, &expected);
    });
}

#[test]
fn branches_are_scaled_view_by_view_and_added() {
    each(2, |what, random, device| {
        let views = (1..=4).rev().find(|views| what.m % views == 0).unwrap();
        let rows = what.m / views;
        let sizes = [what.m * what.k, what.k * what.n, what.n, what.m * what.n, views];
        let [lhs, rhs, bias, x, scale] = sizes.map(|count| draw(random, count, device));
        let products = product(what, &lhs.host, &rhs.host);
        for scaled in [true, false] {
            let residual = Residual {
                x: &x.device,
                bias: &bias.device,
                scale: scaled.then_some(&scale.device),
                rows,
            };
            let found = what.residual(&lhs.device, &rhs.device, &residual);
            let expected: Vec<f64> = (0..products.len())
                .map(|at| {
                    let by = if scaled { scale.host[at / what.n / rows] } else { 1.0 };
                    let branch = products[at] + f64::from(bias.host[at % what.n]);
                    f64::from(x.host[at]) + f64::from(by) * branch
                })
                .collect();
            hold("residual", what, found, &expected);
        }
    });
}
