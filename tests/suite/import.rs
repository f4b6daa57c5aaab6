//! Published weights: PyTorch's files and safetensors, by the names of their authors.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use schemas::ShardLayout;
use trainer::checkpoint::Checkpoint;
use trainer::device::DeviceKind;
use trainer::export;
use trainer::import::{ImportError, Imported, import};
use trainer::model::init::init;
use trainer::model::state::{HostTensor, State};
use trainer::model::{Coordinates, ModelName, Positions, Start};
use trainer::settings::{Options, Recipe, Settings};

use crate::golden::Golden;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

/// A file in MAE's form that PyTorch wrote, arguments beside the parameters.
fn mae_file() -> PathBuf {
    file("mae_vit.pth")
}

const MAE_SIZE: usize = 32;

fn mae_settings(change: impl FnOnce(&mut Options)) -> Settings {
    let mut options = Options {
        recipe: Some(Recipe::Mae),
        patch: Some(8),
        width: Some(8),
        depths: Some(vec![2]),
        heads: Some(vec![2]),
        decoder_dim: Some(8),
        decoder_depth: Some(1),
        decoder_heads: Some(2),
        ..Options::default()
    };
    change(&mut options);
    Settings::resolve(options, DeviceKind::Cpu).unwrap()
}

pub fn write(path: &Path, state: &State) {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = state
        .iter()
        .map(|(name, tensor)| {
            let bytes = tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect();
            (name.clone(), tensor.shape.clone(), bytes)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None::<HashMap<String, String>>, path).unwrap();
}

#[test]
fn maes_weights_become_a_checkpoint_that_can_be_exported() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let settings = mae_settings(|_| ());
    let imported = import(&mae_file(), &out, &settings, MAE_SIZE, 9).unwrap();
    let Imported { checkpoint: path, found, fresh, passed, under } = imported;
    assert_eq!(fresh, 0, "the file has its decoder");
    assert_eq!((under.as_str(), passed), ("model.", 0));
    let checkpoint = Checkpoint::read(&path).unwrap();
    assert_eq!(checkpoint.model.len(), found);
    assert_eq!(checkpoint.model["decoder.0.pred.0.weight"].shape, [192, 8, 1, 1]);

    // What is exported is what was in the file, positions included.
    let timm = export::to_timm(&checkpoint).unwrap();
    let again = folder.path().join("again.safetensors");
    write(&again, &timm);
    let second = folder.path().join("second");
    let imported = import(&again, &second, &settings, MAE_SIZE, 9).unwrap();
    assert!(imported.fresh > 0, "an export has no decoder");
    let encoder = |model: &State| -> State {
        let encoder = model.iter().filter(|(name, _)| !name.starts_with("decoder."));
        encoder.map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
    };
    let read = Checkpoint::read(&imported.checkpoint).unwrap();
    assert!(encoder(&read.model) == encoder(&checkpoint.model));

    let error = import(&mae_file(), &out, &settings, MAE_SIZE, 9).unwrap_err();
    assert!(matches!(error, ImportError::Occupied(_)), "{error}");
}

#[test]
fn a_file_of_another_network_is_refused_with_the_parameter() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let wide = mae_settings(|options| options.width = Some(16));
    let text = import(&mae_file(), &out, &wide, MAE_SIZE, 9).unwrap_err().to_string();
    assert!(text.contains("mae_vit.pth") && text.contains("--model"), "{text}");
    assert!(text.contains("[16") && text.contains("[8"), "{text}");

    let text = folder.path().join("text.pth");
    std::fs::write(&text, "these are no weights, but longer than a header").unwrap();
    let error = import(&text, &out, &mae_settings(|_| ()), MAE_SIZE, 9).unwrap_err().to_string();
    assert!(error.contains("text.pth") && error.contains("torch.save"), "{error}");
    let token_alone = import(&file("with_optimizer.pth"), &out, &mae_settings(|_| ()), MAE_SIZE, 9);
    let error = token_alone.unwrap_err().to_string();
    assert!(error.contains("with_optimizer.pth") && error.contains("patch_embed"), "{error}");
    let gone = folder.path().join("gone.pth");
    let error = import(&gone, &out, &mae_settings(|_| ()), MAE_SIZE, 9).unwrap_err().to_string();
    assert!(error.contains("gone.pth"), "{error}");
    assert!(!out.exists(), "nothing should be left of a failure");
}

#[test]
fn positions_that_were_learned_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let settings = mae_settings(|_| ());
    let imported = import(&mae_file(), &out, &settings, MAE_SIZE, 9).unwrap();
    let mut timm = export::to_timm(&Checkpoint::read(&imported.checkpoint).unwrap()).unwrap();
    timm.get_mut("pos_embed").unwrap().data[20] += 0.5;
    let path = folder.path().join("learned.safetensors");
    write(&path, &timm);
    let error = import(&path, &folder.path().join("other"), &settings, MAE_SIZE, 9).unwrap_err();
    assert!(
        matches!(&error, ImportError::Positions { name, .. } if name == "pos_embed"),
        "{error}"
    );
    assert!(error.to_string().contains("--positions learned"), "{error}");

    // Where the network has its own, they are parameters as others are.
    let learned = mae_settings(|options| options.positions = Some(Positions::Learned));
    let imported = import(&path, &folder.path().join("own"), &learned, MAE_SIZE, 9).unwrap();
    let again = export::to_timm(&Checkpoint::read(&imported.checkpoint).unwrap()).unwrap();
    assert!(again == timm);
}

/// What comes of a file in MAE's form.
fn taken(name: &str) -> Result<(Imported, State), ImportError> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let imported = import(&file(name), &out, &mae_settings(|_| ()), MAE_SIZE, 9)?;
    let model = Checkpoint::read(&imported.checkpoint).unwrap().model;
    Ok((imported, model))
}

#[test]
fn a_tensor_is_the_same_however_it_is_stored() {
    let (_, plain) = taken("mae_vit.pth").unwrap();
    for name in ["strided.pth", "legacy_strided.pth", "one_storage.pth", "hostile.pth"] {
        assert!(taken(name).unwrap().1 == plain, "{name}");
    }
    // The network beside which a mean of it and an optimizer's state stand.
    let (imported, _) = taken("strided.pth").unwrap();
    assert_eq!(imported.under, "model.module.");
    assert!(imported.passed > imported.found, "the mean and more");

    for (name, bits) in [("half.pth", 11), ("bfloat16.pth", 8)] {
        let (_, rounded) = taken(name).unwrap();
        for (parameter, tensor) in &plain {
            let off = tensor.data.iter().zip(&rounded[parameter].data).map(|(a, b)| (a - b).abs());
            let largest = tensor.data.iter().fold(0f32, |most, value| most.max(value.abs()));
            let off = off.fold(0.0, f32::max);
            assert!(off <= largest * 0.5f32.powi(bits), "{name}: {parameter} is off by {off}");
        }
    }
}

#[test]
fn what_is_no_parameter_as_it_stands_is_named() {
    for (name, expected) in [
        ("int8.pth", ["blocks.0.attn.qkv.weight", "I8"]),
        ("quantized.pth", ["QInt8", ".dequantize()"]),
        // A gigabyte by a few bytes: refused by its shape, and not made.
        ("expanded.pth", ["blocks.0.attn.qkv.weight", "[1048576, 1024]"]),
    ] {
        let error = taken(name).unwrap_err().to_string();
        assert!(expected.iter().all(|part| error.contains(part)), "{name}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    let told = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let out = folder.path().join("run");
        let error =
            import(&path, &out, &mae_settings(|_| ()), MAE_SIZE, 9).unwrap_err().to_string();
        assert!(error.contains("weights.pth"), "{error}");
        error
    };
    assert!(told(b"version https://git-lfs.github.com/spec/v1\noid").contains("git lfs pull"));
    assert!(told(b"<!DOCTYPE html><title>Quota exceeded</title>").contains("web page"));
    assert!(told(b"{\n  \"weight_map\": {}}").contains("several files"));
    assert!(told(b"").contains("empty"));
    for name in ["strided.pth", "legacy_strided.pth"] {
        let whole = std::fs::read(file(name)).unwrap();
        for part in 1..8 {
            told(&whole[..whole.len() * part / 8]);
        }
    }
    // Where the file has checksums, damage within a tensor, too.
    let mut damaged = std::fs::read(file("half.pth")).unwrap();
    let within = damaged.len() / 2 - 100;
    damaged[within] ^= 1;
    told(&damaged);
}

/// Writes a state as safetensors of another type, of which each value's bytes are made by `bytes`.
fn write_as(path: &Path, state: &State, dtype: Dtype, bytes: impl Fn(f32) -> Vec<u8>) {
    let bytes: Vec<_> = state
        .iter()
        .map(|(name, tensor)| {
            let values = tensor.data.iter().flat_map(|&value| bytes(value)).collect::<Vec<u8>>();
            (name.clone(), tensor.shape.clone(), values)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (name.clone(), TensorView::new(dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None::<HashMap<String, String>>, path).unwrap();
}

#[test]
fn safetensors_of_every_float_are_read_and_of_others_named() {
    let folder = tempfile::tempdir().unwrap();
    let settings = mae_settings(|_| ());
    let path = folder.path().join("weights.safetensors");
    let (_, plain) = taken("mae_vit.pth").unwrap();
    let read = |name: &str| {
        let imported = import(&path, &folder.path().join(name), &settings, MAE_SIZE, 9)?;
        Ok::<_, ImportError>(Checkpoint::read(&imported.checkpoint).unwrap().model)
    };
    write_as(&path, &plain, Dtype::F64, |value| f64::from(value).to_le_bytes().to_vec());
    assert!(read("f64").unwrap() == plain);
    // The upper half of a float32 is a bfloat16.
    let upper = |value: f32| value.to_le_bytes()[2..].to_vec();
    write_as(&path, &plain, Dtype::BF16, upper);
    let cut = |value: &f32| f32::from_bits(value.to_bits() & 0xffff_0000);
    for (name, tensor) in read("bf16").unwrap() {
        assert!(
            tensor.data.iter().eq(plain[&name].data.iter().map(cut).collect::<Vec<_>>().iter())
        );
    }
    // 1 and -2, in halves.
    let of_two = |value: f32| if value < 0.0 { -2.0 } else { 1.0f32 };
    let half = |value: f32| if value < 0.0 { 0xc000u16 } else { 0x3c00 }.to_le_bytes().to_vec();
    write_as(&path, &plain, Dtype::F16, half);
    for (name, tensor) in read("f16").unwrap() {
        assert!(tensor.data.iter().zip(&plain[&name].data).all(|(a, &b)| *a == of_two(b)));
    }
    write_as(&path, &plain, Dtype::I8, |value| vec![value as i8 as u8]);
    let error = read("i8").unwrap_err().to_string();
    assert!(error.contains("is I8") && error.contains("float32"), "{error}");
    write_as(&path, &plain, Dtype::F32, |_| f32::NAN.to_le_bytes().to_vec());
    let error = read("nan").unwrap_err().to_string();
    assert!(error.contains("no finite numbers"), "{error}");
}

/// The outputs of a linear head, `[cells · channels, …]` → `[channels · cells, …]`.
fn by_channel(tensor: &HostTensor, channels: usize) -> HostTensor {
    let width = tensor.data.len() / tensor.shape[0];
    let rows: Vec<&[f32]> = tensor.data.chunks(width).collect();
    let of = |channel| rows.iter().skip(channel).step_by(channels).copied().flatten();
    let data = (0..channels).flat_map(of).copied().collect();
    HostTensor { shape: tensor.shape.clone(), data }
}

#[test]
fn maskfeats_weights_are_taken_in_as_slowfast_writes_them() {
    let options = Options {
        recipe: Some(Recipe::Maskfeat),
        patch: Some(16),
        width: Some(8),
        depths: Some(vec![2]),
        heads: Some(vec![2]),
        ..Options::default()
    };
    let settings = Settings::resolve(options, DeviceKind::Cpu).unwrap();
    let network = settings.network(&ShardLayout::new(32, vec![8], 9).unwrap()).unwrap();
    let model = init(&network, Start::default(), 5);
    let mut published = State::new();
    for (name, tensor) in &model {
        let (name, tensor) = match name.as_str() {
            "norm.0.weight" => ("pred_head.transforms.0.0.weight", tensor.clone()),
            "norm.0.bias" => ("pred_head.transforms.0.0.bias", tensor.clone()),
            "decoder.0.pred.weight" => ("pred_head.projections.0.weight", by_channel(tensor, 27)),
            "decoder.0.pred.bias" => ("pred_head.projections.0.bias", by_channel(tensor, 27)),
            name => (name, tensor.clone()),
        };
        published.insert(format!("model_state.{name}"), tensor);
    }
    assert!(published.contains_key("model_state.pos_embed"));
    let filter = HostTensor { shape: vec![3, 1, 3, 3], data: vec![0.0; 27] };
    published.insert("model_state.hogs.0.weight_x".into(), filter);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("maskfeat.safetensors");
    write(&path, &published);
    let imported = import(&path, &folder.path().join("run"), &settings, 32, 9).unwrap();
    assert_eq!((imported.fresh, imported.found), (0, model.len()));
    let checkpoint = Checkpoint::read(&imported.checkpoint).unwrap();
    assert!(checkpoint.model == model);
    assert!(export::to_timm(&checkpoint).unwrap()["pos_embed"] == model["pos_embed"]);
}

#[test]
fn the_authors_swin_is_taken_in_with_or_without_its_decoders() {
    let golden = Golden::with("randperm").swap_remove(0);
    let state: State = golden
        .names("param.")
        .into_iter()
        .map(|name| (name.clone(), golden.tensor(&format!("param.{name}"))))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::resolve(
        Options {
            model: Some(ModelName::SwinTiny7),
            width: Some(16),
            depths: Some(vec![2; 4]),
            heads: Some(vec![1, 2, 4, 8]),
            coordinates: Some(Coordinates::Published),
            decoder_dim: Some(16),
            decoder_heads: Some(2),
            ..Options::default()
        },
        DeviceKind::Cpu,
    )
    .unwrap();
    let whole = folder.path().join("whole.safetensors");
    write(&whole, &state);
    let imported = import(&whole, &folder.path().join("whole"), &settings, 224, 9).unwrap();
    assert_eq!((imported.found, imported.fresh), (state.len(), 0));
    assert!(Checkpoint::read(&imported.checkpoint).unwrap().model == state);

    let alone: State = state
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("encoder.")?.into(), tensor.clone())))
        .collect();
    let path = folder.path().join("encoder.safetensors");
    write(&path, &alone);
    let imported = import(&path, &folder.path().join("encoder"), &settings, 224, 9).unwrap();
    assert_eq!(imported.found, alone.len());
    assert_eq!(imported.fresh, state.len() - alone.len());

    // What is exported has timm's names, and comes back as it was.
    let checkpoint = Checkpoint::read(&imported.checkpoint).unwrap();
    let path = folder.path().join("timm.safetensors");
    write(&path, &export::to_timm(&checkpoint).unwrap());
    let imported = import(&path, &folder.path().join("timm"), &settings, 224, 9).unwrap();
    let again = Checkpoint::read(&imported.checkpoint).unwrap();
    let norms_below = |name: &str| name.starts_with("encoder.norm.") && !name.contains(".3.");
    for (name, tensor) in &again.model {
        assert!(norms_below(name) || *tensor == checkpoint.model[name], "{name}");
    }
}
