//! Published names → those of [`crate::model::state`].
//!
//! What is understood: LocalMIM's ViT and Swin, MAE's, SimMIM's, GreenMIM's, MaskFeat's as SlowFast
//! writes them, and timm's, each with or without its heads.

use crate::model::state::HostTensor;
use crate::model::{EncoderConfig, MaskedInput, ModelConfig};

/// What every network that is understood has, by which it is found in a file.
const FIRST: &str = "patch_embed.proj.weight";

/// What wrappers put into names, at any depth: `torch.compile`, activation checkpoints, FSDP.
const WRAPPERS: [&str; 3] = ["_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module."];

/// A name without what wrappers put into it.
pub fn unwrapped(name: &str) -> String {
    let name = WRAPPERS.iter().fold(name.to_owned(), |name, wrapper| name.replace(wrapper, ""));
    // Of data parallelism; in the midst of a name it may be a module's own.
    name.strip_prefix("module.").map_or_else(|| name.clone(), Into::into)
}

/// What stands before the names of each network in a file, the shortest first: nothing, or as in
/// `model.`, `state_dict.`, `model_ema.module.`.
pub fn roots<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut roots: Vec<&str> = names
        .filter_map(|name| name.strip_suffix(FIRST))
        .filter(|root| root.is_empty() || root.ends_with('.'))
        // The encoder of a network that has its heads beside it.
        .map(|root| match root.strip_suffix("encoder.") {
            Some(outer) if outer.is_empty() || outer.ends_with('.') => outer,
            _ => root,
        })
        .collect();
    // Data parallelism makes a name no other.
    let bare = |root: &str| root.replace("module.", "");
    roots.sort_by_key(|root| (bare(root).len(), bare(root), root.len()));
    roots.dedup();
    roots
}

/// Whether a tensor is no parameter: tables and masks that follow from the sizes, the fixed filters
/// of HOG.
pub fn is_fixed(name: &str) -> bool {
    let leaf = name.rsplit('.').next().unwrap_or(name);
    matches!(leaf, "relative_position_index" | "attn_mask") || name.starts_with("hogs.")
}

/// Whether a name is that of positions, of an encoder or a decoder.
pub fn is_positions(name: &str) -> bool {
    name.ends_with("pos_embed")
}

/// Whether names are those of timm's Swin, in which a stage begins with the merging, not ends.
pub fn merges_first<'a>(names: impl Iterator<Item = &'a String>) -> bool {
    let mut stages = names.filter_map(|name| {
        let name = name.strip_prefix("encoder.").unwrap_or(name).strip_prefix("layers.")?;
        name.split_once(".downsample.").map(|(stage, _)| stage)
    });
    let mut any = false;
    let none_in_the_first = stages.all(|stage| {
        any = true;
        stage != "0"
    });
    any && none_in_the_first
}

/// Whether a Swin's merging takes its four tokens in columns, as all do but LocalMIM's code for
/// pre-training, which is told by its numbered norms.
pub fn merges_in_columns<'a>(mut names: impl Iterator<Item = &'a String>) -> bool {
    names.any(|name| name.strip_prefix("encoder.").unwrap_or(name) == "norm.weight")
}

/// The name here of a published parameter of `network`, whose names begin at their root;
/// `merges_first` as the function of this name has it.
pub fn renamed(name: &str, network: &ModelConfig, merges_first: bool) -> String {
    let top = network.taps.len().saturating_sub(1);
    let vit = matches!(network.encoder, EncoderConfig::Vit { .. });
    // The encoder stands in a module of its own in some projects, and alone in others.
    let (prefix, bare) = match (vit, name.strip_prefix("encoder.")) {
        (true, bare) => ("", bare.unwrap_or(name)),
        (false, Some(bare)) => ("encoder.", bare),
        (false, None) if is_of_a_swin(name, network.masked) => ("encoder.", name),
        (false, None) => ("", name),
    };
    // Whose mask token it is: a decoder's, or the encoder's own.
    if bare == "mask_token" && prefix.is_empty() && network.masked == MaskedInput::Dropped {
        return "decoder.0.mask_token".into();
    }
    let heads = [
        ("norm.weight", format!("{prefix}norm.{top}.weight")),
        ("norm.bias", format!("{prefix}norm.{top}.bias")),
        // MAE, GreenMIM.
        ("decoder_embed.", "decoder.0.embed.".into()),
        ("decoder_blocks.", "decoder.0.blocks.".into()),
        ("decoder_norm.", "decoder.0.norm.".into()),
        ("decoder_pred.", if vit { "decoder.0.pred.0." } else { "decoder.0.pred." }.into()),
        // SimMIM.
        ("decoder.0.weight", "decoder.0.pred.weight".into()),
        ("decoder.0.bias", "decoder.0.pred.bias".into()),
        // MaskFeat.
        ("pred_head.transforms.0.0.", format!("norm.{top}.")),
        ("pred_head.projections.0.", "decoder.0.pred.".into()),
    ];
    for (from, to) in heads {
        if let Some(rest) = bare.strip_prefix(from) {
            return format!("{to}{rest}");
        }
    }
    if merges_first
        && let Some((stage, rest)) =
            bare.strip_prefix("layers.").and_then(|rest| rest.split_once(".downsample."))
        && let Some(before) = stage.parse::<usize>().ok().and_then(|stage| stage.checked_sub(1))
    {
        return format!("{prefix}layers.{before}.downsample.{rest}");
    }
    format!("{prefix}{bare}")
}

fn is_of_a_swin(name: &str, masked: MaskedInput) -> bool {
    let own_token = name == "mask_token" && masked == MaskedInput::Token;
    own_token || ["patch_embed.", "layers.", "norm."].iter().any(|first| name.starts_with(first))
}

/// Whether a published linear head gives each channel's cells, or pixels, one after the other,
/// where the head here gives each cell's channels: SimMIM's pixel shuffle, MaskFeat's HOG.
pub fn by_channel(name: &str) -> bool {
    [
        "decoder.0.weight",
        "decoder.0.bias",
        "pred_head.projections.0.weight",
        "pred_head.projections.0.bias",
    ]
    .contains(&name.strip_prefix("encoder.").unwrap_or(name))
}

/// The outputs of a head, `[channels · cells, …]` → `[cells · channels, …]`.
pub fn by_cell(tensor: HostTensor, channels: usize) -> HostTensor {
    let HostTensor { shape, data } = tensor;
    let outputs = shape.first().copied().unwrap_or(0);
    let cells = outputs / channels.max(1);
    let width = data.len() / outputs.max(1);
    let row = |cell: usize, channel: usize| {
        let at = (channel * cells + cell) * width;
        data[at..at + width].iter().copied()
    };
    let rows = (0..cells).flat_map(|cell| (0..channels).map(move |channel| (cell, channel)));
    let data = rows.flat_map(|(cell, channel)| row(cell, channel)).collect();
    HostTensor { shape, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_found_wherever_it_stands() {
        let found = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| unwrapped(name)).collect();
            roots(names.iter()).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(found(&["patch_embed.proj.weight", "norm.weight"]), [""]);
        assert_eq!(found(&["module._orig_mod.patch_embed.proj.weight"]), [""]);
        assert_eq!(found(&["_orig_mod.module.encoder.patch_embed.proj.weight"]), [""]);
        let both = ["teacher.patch_embed.proj.weight", "student.module.patch_embed.proj.weight"];
        assert_eq!(found(&both), ["student.module.", "teacher."]);
        let both = ["model_ema.patch_embed.proj.weight", "model.patch_embed.proj.weight"];
        assert_eq!(found(&both), ["model.", "model_ema."]);
        assert_eq!(
            found(&["student.autoencoder.patch_embed.proj.weight"]),
            ["student.autoencoder."]
        );
        assert!(found(&["other_patch_embed.proj.weight", "head.weight"]).is_empty());
        assert_eq!(unwrapped("blocks.0._orig_mod.attn.qkv.bias"), "blocks.0.attn.qkv.bias");
    }

    #[test]
    fn outputs_by_channel_become_outputs_by_cell() {
        // Two channels of three cells, two inputs.
        let data = (0..12).map(|i| i as f32).collect();
        let turned = by_cell(HostTensor { shape: vec![6, 2], data }, 2);
        assert_eq!(turned.shape, [6, 2]);
        assert_eq!(turned.data, [0.0, 1.0, 6.0, 7.0, 2.0, 3.0, 8.0, 9.0, 4.0, 5.0, 10.0, 11.0]);
    }
}
