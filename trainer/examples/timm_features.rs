//! What timm should give: pictures and the features of a checkpoint's encoder, as safetensors.
//!
//! `cargo run --release -p trainer --example timm_features -- RUN OUT.safetensors` writes `pictures`
//! `[4, size, size, 3]` (u8) and `features` `[4, width]`: the mean over all patches of the latents
//! after the topmost tap's norm. The README has the lines that compare them with timm's.

use std::collections::HashMap;
use std::path::Path;

use burn::backend::Flex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};
use targets::View;
use trainer::data::sample::cut_patches;
use trainer::export::find_checkpoint;
use trainer::model::input::DevicePlan;
use trainer::model::state::to_host;
use trainer::model::windows::Windows;
use trainer::model::{EncoderInput, LocalMim, Precision};
use trainer::progress::Console;

const VIEWS: usize = 4;

fn main() -> anyhow::Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [run, out] = args.as_slice() else { anyhow::bail!("usage: RUN OUT.safetensors") };
    let (_, checkpoint) = find_checkpoint(Path::new(run), &Console::new())?;
    let network = &checkpoint.header.network;
    let device = Default::default();
    let model = LocalMim::<Flex>::from_state(network, Precision::F32, &checkpoint.model, &device)?;

    let (size, patch) = (network.size, network.encoder.patch());
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    // Smooth enough that no value is an outlier, rough enough that every patch differs.
    let pictures: Vec<u8> = (0..VIEWS * size * size * 3)
        .map(|i| ((i / 3 % size) as u8).wrapping_add(rng.random_range(0..100)))
        .collect();
    let units: Vec<i32> = (0..network.units() as i32).collect();
    let mut patches = vec![0.0; VIEWS * 3 * size * size];
    for (picture, patches) in
        pictures.chunks(3 * size * size).zip(patches.chunks_mut(3 * size * size))
    {
        cut_patches(View::new(picture, size)?, patch, network.encoder.unit(), &units, patches);
    }
    let windows = Windows::of(&network.encoder, size)
        .map(|windows| DevicePlan::send(&windows.whole(), &device).arrived());
    let input = EncoderInput::whole(network, patches, windows, &device);
    let top = model.encoder.forward(input).pop().ok_or_else(|| anyhow::anyhow!("no tap"))?;
    let [_, tokens, width] = top.dims();
    let prefix = network.encoder.prefix();
    let features = to_host(top.narrow(1, prefix, tokens - prefix).mean_dim(1));

    let bytes: Vec<u8> = features.iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensors = [
        ("pictures", TensorView::new(Dtype::U8, vec![VIEWS, size, size, 3], &pictures)?),
        ("features", TensorView::new(Dtype::F32, vec![VIEWS, width], &bytes)?),
    ];
    safetensors::serialize_to_file(tensors, None::<HashMap<String, String>>, Path::new(out))?;
    Ok(())
}
