//! The demonstration's layer: known filters as experts, and a head whose reasons can be told.
//!
//! The head sees three numbers, the mean of red, green and blue. Its four hidden units each ask one question:
//! is the picture brighter, darker, bluer or greener than the original? Each unit votes for the experts that
//! carry its sign. For the original all units are silent, so all experts weigh the same.
//!
//! Brightness is compared relative to the original's, and a colour by how far it leaves the line of greys and
//! shades of the original's own colour: a darkened copy is darker but neither bluer nor greener.

use dyconv_core::{
    Attention, Dense, DyConv2d, Error, HeadParams, Layout, Options, Padding, Params, Result, Squash, Tensor,
};

use super::filters::{FILTERS, Filter, Sign};

/// Logit of an expert whose sign is fully on; at temperature 1 it gets nearly all the weight.
const VOTE: f32 = 6.0;
/// Changes smaller than this share of the original's mean are no sign.
const DEAD_ZONE: f32 = 0.1;
/// A change of this share beyond the dead zone turns a sign fully on.
const FULL: f32 = 0.4;

/// The layer for `experts` of [`FILTERS`], its head tuned to the original's mean colour.
///
/// # Errors
/// Where there aren't that many filters, or none is asked for.
pub fn layer(experts: usize, original: [f32; 3]) -> Result<DyConv2d> {
    let filters = FILTERS.get(..experts).filter(|filters| !filters.is_empty()).ok_or_else(|| {
        Error::invalid(
            "experts",
            experts,
            format!("1 to {}, since that many filters are known", FILTERS.len()),
        )
    })?;
    let config = Options::new(3, 3)
        .kernel_size([5, 5])
        .padding(Padding::Same)
        .groups(3)
        .experts(experts)
        .bias(true)
        .layout(Layout::Nchw)
        .attention(Attention::Mlp { hidden: Sign::ALL.len(), squash: Squash::SOFTMAX })
        .build()?;
    let params = Params {
        weight: filters.iter().flat_map(|filter| [filter.kernel; 3].concat()).collect(),
        bias: Some(filters.iter().flat_map(|filter| [filter.bias; 3]).collect()),
        attention: Some(HeadParams { fc1: Some(questions(original)), fc2: votes(filters) }),
        batch_norm: None,
    };
    DyConv2d::new(config, params)
}

/// The mean of red, green and blue over a picture that is the batch's first sample.
///
/// # Errors
/// Where the tensor can't be pooled.
pub fn mean_colour(batch: &Tensor) -> Result<[f32; 3]> {
    let means = dyconv_core::reference::pool(batch.view(), &dyconv_core::Pool::GlobalMean)?;
    Ok([0, 1, 2].map(|c| means.data().get(c).copied().unwrap_or_default()))
}

/// A1 and c1: one row per sign.
fn questions(original: [f32; 3]) -> Dense {
    // A black picture has no colour to compare with.
    let [red, green, blue] = original.map(|mean| mean.max(0.02));
    let brightness = (red + green + blue) / 3.0;
    let scale = 1.0 / FULL;
    let rows = Sign::ALL.map(|sign| match sign {
        Sign::Bright => ([1.0 / 3.0 / brightness; 3], -1.0 - DEAD_ZONE),
        Sign::Dark => ([-1.0 / 3.0 / brightness; 3], 1.0 - DEAD_ZONE),
        Sign::Blue => ([-1.0 / (red + green), -1.0 / (red + green), 1.0 / blue], -DEAD_ZONE),
        Sign::Green => ([-1.0 / (red + blue), 1.0 / green, -1.0 / (red + blue)], -DEAD_ZONE),
    });
    Dense {
        weight: rows.iter().flat_map(|(weights, _)| weights.map(|weight| weight * scale)).collect(),
        bias: Some(rows.iter().map(|(_, bias)| bias * scale).collect()),
    }
}

/// A2: one row per expert. Of several experts with one sign, the later ones get half the vote.
fn votes(filters: &[Filter]) -> Dense {
    let row = |(i, filter): (usize, &Filter)| {
        let vote = if i < Sign::ALL.len() { VOTE } else { VOTE / 2.0 };
        Sign::ALL.map(|sign| if sign == filter.sign { vote } else { 0.0 })
    };
    Dense { weight: filters.iter().enumerate().flat_map(row).collect(), bias: None }
}
