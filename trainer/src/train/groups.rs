//! The optimiser's settings for each tensor: learning rate, weight decay, frozen or not.

use anyhow::{Result, ensure};
use starsight_model::EncoderConfig;
use starsight_model::fused::Depth;
use starsight_model::fused::update::{BETA1, BETA2, Update};
use starsight_model::weights::{Role, TensorSpec};

/// How the optimiser treats a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// Factor on the schedule's learning rate.
    pub rate: f64,
    /// Whether weight decay applies.
    pub decays: bool,
    /// Whether it is trained. A frozen tensor gets no gradient and does not count in the gradient's
    /// norm.
    pub trained: bool,
    /// Number of first updates in which it does not move, so that other tensors move first.
    /// Meanwhile its gradient counts in the norm, and its moments accumulate.
    pub rests: i32,
}

impl Group {
    /// The optimiser's update number `updates`, from 1, at the schedule's learning rate `rate`,
    /// without clipping.
    pub fn update(&self, rate: f64, weight_decay: f64, updates: i32) -> Update {
        let rate = if updates > self.rests {
            (rate * self.rate) as f32
        } else {
            0.0
        };
        Update {
            clip: 1.0,
            shrink: 1.0
                - rate
                    * if self.decays {
                        weight_decay as f32
                    } else {
                        0.0
                    },
            size: rate / (1.0 - BETA1.powi(updates)),
            root: (1.0 - f64::from(BETA2).powi(updates)).sqrt() as f32,
        }
    }
}

/// Which tensors are trained, and at which rate.
#[derive(Debug, Clone, Copy)]
pub struct Grouping {
    /// Layer-wise learning-rate decay d (Sun et al., "How to Fine-Tune BERT for Text
    /// Classification?", 2019): the head with the pooler has the full rate, encoder layer i of n
    /// (from 0) d^(n - i) of it, the embeddings d^(n + 1). With 1 all rates are equal.
    pub layer_decay: f64,
    /// Whether the embeddings, with their LayerNorm, are frozen.
    pub freeze_embeddings: bool,
    /// Number of lowest encoder layers that are frozen; above 0, the embeddings are frozen too.
    pub freeze_layers: usize,
    /// Number of first updates in which only the head moves. Its random weights would otherwise
    /// disturb what the encoder has learned (Howard and Ruder, "Universal Language Model
    /// Fine-tuning for Text Classification", 2018).
    pub head_first: i32,
}

impl Grouping {
    /// The lowest part of the model that needs gradients.
    pub fn depth(&self) -> Depth {
        match self.freeze_layers {
            0 if !self.freeze_embeddings => Depth::Embeddings,
            lowest => Depth::Layer(lowest),
        }
    }

    /// The group of each of `specs`, the tensors of a model with this configuration.
    ///
    /// # Errors
    /// When more layers are to be frozen than exist.
    pub fn of<'a>(
        &self,
        config: &EncoderConfig,
        specs: impl Iterator<Item = &'a TensorSpec>,
    ) -> Result<Vec<Group>> {
        let Grouping {
            layer_decay,
            freeze_embeddings,
            freeze_layers,
            head_first,
        } = *self;
        let layers = config.layers;
        ensure!(
            freeze_layers <= layers,
            "--freeze-layers {freeze_layers} is more than the model's {layers} layers"
        );
        let group = |spec: &TensorSpec| {
            let (below_head, trained) = match layer(&spec.name) {
                _ if spec.head => (0, true),
                Some(i) => (layers - i, i >= freeze_layers),
                None => (layers + 1, !freeze_embeddings && freeze_layers == 0),
            };
            Group {
                rate: layer_decay.powi(below_head as i32),
                decays: spec.role == Role::Matrix,
                trained,
                rests: if spec.head { 0 } else { head_first },
            }
        };
        Ok(specs.map(group).collect())
    }
}

/// The encoder layer, from 0, that a tensor belongs to: 3 of `bert.encoder.layer.3.output.dense.bias`.
fn layer(name: &str) -> Option<usize> {
    let (_, rest) = name.split_once(".layer.")?;
    rest.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use starsight_model::weights::specs;

    use super::*;

    fn groups(architecture: &str, grouping: Grouping) -> Result<Vec<(String, Group)>> {
        let json = format!(
            r#"{{"model_type": "{architecture}", "vocab_size": 30, "dim": 8, "n_layers": 3, "n_heads": 2, "hidden_dim": 16, "hidden_size": 8, "num_hidden_layers": 3,
            "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 12, "type_vocab_size": 2, "activation": "gelu", "hidden_act": "gelu"}}"#
        );
        let config = EncoderConfig::from_json(json.as_bytes()).expect("a config");
        let specs = specs(&config);
        let groups = grouping.of(&config, specs.iter())?;
        Ok(specs
            .into_iter()
            .map(|spec| spec.name)
            .zip(groups)
            .collect())
    }

    #[test]
    fn the_rate_falls_from_the_head_down() {
        for (architecture, layer, pooler) in [
            (
                "distilbert",
                "distilbert.transformer.layer",
                "pre_classifier.weight",
            ),
            ("bert", "bert.encoder.layer", "bert.pooler.dense.weight"),
        ] {
            let groups = groups(
                architecture,
                Grouping {
                    layer_decay: 0.5,
                    freeze_embeddings: false,
                    freeze_layers: 0,
                    head_first: 0,
                },
            )
            .expect("groups");
            let rate = |name: &str| {
                groups
                    .iter()
                    .find(|(n, _)| n.starts_with(name))
                    .unwrap_or_else(|| panic!("no {name}"))
                    .1
                    .rate
            };
            let found = [
                rate("classifier.bias"),
                rate(pooler),
                rate(&format!("{layer}.2.")),
                rate(&format!("{layer}.1.")),
                rate(&format!("{layer}.0.")),
                rate(&format!("{architecture}.embeddings.LayerNorm")),
            ];
            assert_eq!(found, [1.0, 1.0, 0.5, 0.25, 0.125, 0.0625]);
            for (name, group) in &groups {
                assert!(group.trained);
                assert_eq!(
                    group.decays,
                    !name.ends_with("bias") && !name.to_lowercase().contains("norm"),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn what_is_frozen_is_the_lower_part() {
        let frozen = |freeze_embeddings, freeze_layers| -> Vec<&'static str> {
            let groups = groups(
                "bert",
                Grouping {
                    layer_decay: 1.0,
                    freeze_embeddings,
                    freeze_layers,
                    head_first: 0,
                },
            )
            .expect("groups");
            let parts = [
                "bert.embeddings.",
                "layer.0.",
                "layer.1.",
                "layer.2.",
                "bert.pooler",
                "classifier.",
            ];
            let whole = |part: &&str| {
                groups
                    .iter()
                    .filter(|(name, _)| name.contains(*part))
                    .all(|(_, group)| !group.trained)
            };
            parts.into_iter().filter(whole).collect()
        };
        assert!(frozen(false, 0).is_empty());
        assert_eq!(frozen(true, 0), ["bert.embeddings."]);
        assert_eq!(
            frozen(false, 2),
            ["bert.embeddings.", "layer.0.", "layer.1."]
        );
        assert_eq!(frozen(true, 3).len(), 4, "the head is always trained");
        let error = groups(
            "bert",
            Grouping {
                layer_decay: 1.0,
                freeze_embeddings: false,
                freeze_layers: 4,
                head_first: 0,
            },
        )
        .expect_err("an error")
        .to_string();
        assert_eq!(error, "--freeze-layers 4 is more than the model's 3 layers");
    }

    #[test]
    fn the_head_moves_first() {
        let groups = groups(
            "distilbert",
            Grouping {
                layer_decay: 1.0,
                freeze_embeddings: false,
                freeze_layers: 0,
                head_first: 3,
            },
        )
        .expect("groups");
        for (name, group) in groups {
            let moves: Vec<bool> = (1..=4)
                .map(|n| group.update(0.1, 0.5, n).size > 0.0)
                .collect();
            let head = ["pre_classifier", "classifier"]
                .iter()
                .any(|head| name.starts_with(head));
            assert_eq!(moves, [head, head, head, true], "{name}");
            assert!(
                head || group.update(0.1, 0.5, 3).shrink == 1.0,
                "{name} decays meanwhile"
            );
        }
    }
}
