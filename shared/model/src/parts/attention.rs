//! Attention of one layer: projections, norms of queries and keys, rotation, the attention itself, and the way back.
//! Where keys and values come from (the batch, or a cache) is behind [`Attend`].

use candle_core::Tensor;
use kernels::{AttentionOptions, RotaryStyle, Segments};

use super::linear::{Linear, blocks};
use super::norm::Norm;
use super::remade::Remade;
use super::rotary::RotaryRows;
use super::weight::{Weight, WeightBook};
use crate::description::{AttentionDescription, Projections, QueryKeyNorm};
use crate::{Mode, ModelError};

/// Attention over something: q is `[N, H, D]`, k and v are `[N, G, D]`, the result is `[M, H, D]`, for the rows that go on.
pub(crate) trait Attend {
    fn attend(
        &mut self,
        layer: usize,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        options: &AttentionOptions,
    ) -> Result<Tensor, ModelError>;

    /// Of the rows that came into the layer those that go on after its attention, which returns as many.
    fn passed_on(&self, _layer: usize, rows: &Tensor) -> Result<Tensor, ModelError> {
        Ok(rows.clone())
    }
}

/// Each segment of the batch sees itself, causally.
pub(crate) struct OverSegments<'a>(pub(crate) &'a Segments);

impl Attend for OverSegments<'_> {
    fn attend(
        &mut self,
        _layer: usize,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        options: &AttentionOptions,
    ) -> Result<Tensor, ModelError> {
        Ok(kernels::attention(q, k, v, self.0, options)?)
    }
}

/// Attention of one layer.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    layer: usize,
    heads: usize,
    key_value_heads: usize,
    head_dim: usize,
    projections: Projected,
    output: Linear,
    norms: Option<Norms>,
    /// Index of the rotary table, and its style.
    rotary: Option<(usize, RotaryStyle)>,
    options: AttentionOptions,
}

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one to each layer: the difference is a few kilobytes in all")]
enum Projected {
    Separate { query: Linear, key: Linear, value: Linear },
    Fused(Linear),
    FusedByHead(Linear),
}

#[derive(Debug, Clone)]
struct Norms {
    query: Norm,
    key: Norm,
    per_head: bool,
}

impl Attention {
    pub(crate) fn build(
        layer: usize,
        description: &AttentionDescription,
        styles: &[RotaryStyle],
        book: &mut WeightBook,
    ) -> Self {
        let projections = match &description.projections {
            Projections::Separate { query, key, value } => Projected::Separate {
                query: Linear::build(query, book),
                key: Linear::build(key, book),
                value: Linear::build(value, book),
            },
            Projections::Fused(linear) => Projected::Fused(Linear::build(linear, book)),
            Projections::FusedByHead(linear) => Projected::FusedByHead(Linear::build(linear, book)),
        };
        let norms = description.query_key_norm.as_ref().map(|norms| {
            let per_head = matches!(norms, QueryKeyNorm::PerHead { .. });
            let (QueryKeyNorm::PerHead { query, key } | QueryKeyNorm::AllHeads { query, key }) = norms;
            Norms { query: Norm::build(query, book), key: Norm::build(key, book), per_head }
        });
        Self {
            layer,
            heads: description.heads,
            key_value_heads: description.key_value_heads,
            head_dim: description.head_dim,
            projections,
            output: Linear::build(&description.output, book),
            norms,
            rotary: description.rotary.map(|table| (table, styles[table])),
            options: AttentionOptions {
                scale: description.scale,
                window: description.window,
                softcap: description.softcap,
            },
        }
    }

    /// Its rows of `x` that go on: see [`Attend::passed_on`].
    pub(crate) fn passed_on(&self, x: &Tensor, attend: &dyn Attend) -> Result<Tensor, ModelError> {
        attend.passed_on(self.layer, x)
    }

    /// `[N, C]` to `[M, C]`, for the rows that go on; `tables` are the batch's rows of each rotary table.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        tables: &[RotaryRows],
        attend: &mut dyn Attend,
        mode: Mode,
        remade: &Remade<'_>,
    ) -> Result<Tensor, ModelError> {
        let tokens = x.dim(0)?;
        let (q, k, v) = self.project(x, mode, remade)?;
        let q = self.heads_of(&q, self.heads, |norms| &norms.query)?;
        let k = self.heads_of(&k, self.key_value_heads, |norms| &norms.key)?;
        let (q, k) = match self.rotary {
            None => (q, k),
            Some((table, style)) => {
                let RotaryRows { cos, sin } = &tables[table];
                let rotated = (kernels::rotary(&q, cos, sin, style)?, kernels::rotary(&k, cos, sin, style)?);
                remade.unread_value(&q)?;
                remade.unread_value(&k)?;
                rotated
            }
        };
        let v = kernels::reshape(&v, (tokens, self.key_value_heads, self.head_dim))?;
        let mixed = attend.attend(self.layer, &q, &k, &v, &self.options)?;
        self.output.forward(&kernels::reshape(&mixed, (mixed.dim(0)?, self.heads * self.head_dim))?, mode)
    }

    /// Queries `[N, H·D]`, keys and values `[N, G·D]`.
    fn project(&self, x: &Tensor, mode: Mode, remade: &Remade<'_>) -> Result<(Tensor, Tensor, Tensor), ModelError> {
        match &self.projections {
            Projected::Separate { query, key, value } => {
                Ok((query.forward(x, mode)?, key.forward(x, mode)?, value.forward(x, mode)?))
            }
            Projected::Fused(linear) => {
                let all = linear.forward(x, mode)?;
                let (queries, keys) = (self.heads * self.head_dim, self.key_value_heads * self.head_dim);
                let [q, k, v] = blocks(&all, [queries, keys, keys])?;
                remade.unread_value(&all)?;
                Ok((q, k, v))
            }
            Projected::FusedByHead(linear) => {
                let (tokens, width) = (x.dim(0)?, self.head_dim);
                let by_head = kernels::reshape(&linear.forward(x, mode)?, (tokens * self.heads, 3 * width))?;
                let [q, k, v] = blocks(&by_head, [width; 3])?;
                remade.unread_value(&by_head)?;
                let whole = (tokens, self.heads * width);
                Ok((kernels::reshape(&q, whole)?, kernels::reshape(&k, whole)?, kernels::reshape(&v, whole)?))
            }
        }
    }

    /// `[N, heads·D]` to `[N, heads, D]`, normalised where the architecture asks for it.
    fn heads_of(&self, x: &Tensor, heads: usize, norm: impl Fn(&Norms) -> &Norm) -> Result<Tensor, ModelError> {
        let shape = (x.dim(0)?, heads, self.head_dim);
        Ok(match &self.norms {
            None => kernels::reshape(x, shape)?,
            Some(norms) if norms.per_head => {
                let by_head = kernels::reshape(x, (shape.0 * heads, self.head_dim))?;
                kernels::reshape(&norm(norms).forward(&by_head)?, shape)?
            }
            Some(norms) => kernels::reshape(&norm(norms).forward(x)?, shape)?,
        })
    }

    pub(crate) fn linears(&self) -> Vec<&Linear> {
        let mut list = match &self.projections {
            Projected::Separate { query, key, value } => vec![query, key, value],
            Projected::Fused(linear) | Projected::FusedByHead(linear) => vec![linear],
        };
        list.push(&self.output);
        list
    }

    pub(crate) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut list = match &mut self.projections {
            Projected::Separate { query, key, value } => vec![query, key, value],
            Projected::Fused(linear) | Projected::FusedByHead(linear) => vec![linear],
        };
        list.push(&mut self.output);
        list
    }

    /// Weights of the query and key norms.
    pub(crate) fn norm_weights(&self) -> impl Iterator<Item = &Weight> {
        self.norms.iter().flat_map(|norms| norms.query.weights().chain(norms.key.weights()))
    }

    pub(crate) fn weights_mut(&mut self) -> Vec<&mut Weight> {
        let mut list = Vec::new();
        if let Some(norms) = &mut self.norms {
            list.extend(norms.query.weights_mut().chain(norms.key.weights_mut()));
        }
        let projections = match &mut self.projections {
            Projected::Separate { query, key, value } => vec![query, key, value],
            Projected::Fused(linear) | Projected::FusedByHead(linear) => vec![linear],
        };
        list.extend(projections.into_iter().chain([&mut self.output]).flat_map(Linear::weights_mut));
        list
    }
}
