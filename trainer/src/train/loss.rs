//! The loss: cross-entropy with label smoothing and class weights, as PyTorch's
//! `CrossEntropyLoss(weight, label_smoothing)` computes it; two additions that use the order of the
//! stars; and distillation from a teacher's logits.
//!
//! CORN (Shi, Cao and Raschka, "Deep Neural Networks for Rank-Consistent Ordinal Regression Based
//! On Conditional Probabilities", 2021) is not offered: with five logits, which every reader of a
//! bundle expects, its loss equals the cross-entropy. For a label y it sums -ln P(Y > k | Y ≥ k)
//! over k < y and -ln P(Y = y | Y ≥ y), and the product of these probabilities is P(Y = y). A test
//! checks this.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use starsight_model::LABELS;

/// Weights of the classes in the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ClassWeights {
    /// Inversely proportional to the frequency of each class.
    Balanced,
    /// Given weights of labels 0 to 4.
    Given([f64; LABELS]),
}

impl FromStr for ClassWeights {
    type Err = String;

    fn from_str(text: &str) -> Result<ClassWeights, String> {
        if text == "balanced" {
            return Ok(ClassWeights::Balanced);
        }
        let weights: Option<Vec<f64>> = text
            .split(',')
            .map(|part| {
                part.trim()
                    .parse()
                    .ok()
                    .filter(|w: &f64| w.is_finite() && *w > 0.0)
            })
            .collect();
        let weights = weights.and_then(|weights| <[f64; LABELS]>::try_from(weights).ok());
        weights.map(ClassWeights::Given).ok_or_else(|| {
            "expected `balanced`, or five comma-separated numbers above 0, for 1 to 5 stars".into()
        })
    }
}

impl TryFrom<String> for ClassWeights {
    type Error = String;

    fn try_from(text: String) -> Result<ClassWeights, String> {
        text.parse()
    }
}

impl From<ClassWeights> for String {
    fn from(weights: ClassWeights) -> String {
        weights.to_string()
    }
}

impl fmt::Display for ClassWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClassWeights::Balanced => f.write_str("balanced"),
            ClassWeights::Given(weights) => f.write_str(&weights.map(|w| w.to_string()).join(",")),
        }
    }
}

impl ClassWeights {
    /// The weights of labels 0 to 4. Balanced weights are those of scikit-learn's
    /// `compute_class_weight("balanced")`: n / (classes * count), over the classes that occur among
    /// `labels`; a class that does not occur has weight 0.
    pub fn resolve(&self, labels: impl Iterator<Item = usize>) -> [f64; LABELS] {
        match self {
            ClassWeights::Given(weights) => *weights,
            ClassWeights::Balanced => {
                let mut counts = [0.0; LABELS];
                labels.for_each(|label| counts[label] += 1.0);
                let classes = counts.iter().filter(|count| **count > 0.0).count() as f64;
                let n: f64 = counts.iter().sum();
                counts.map(|count| {
                    if count > 0.0 {
                        n / (classes * count)
                    } else {
                        0.0
                    }
                })
            }
        }
    }
}

/// The loss of a review and its gradient. The mean over a step's reviews is the sum of [`Loss::of`]
/// divided by the sum of [`Loss::weight`], however the reviews are packed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    smoothing: f64,
    weights: [f64; LABELS],
    soft_targets: Option<f64>,
    log_loss: f64,
    distillation: Option<DistillationSettings>,
}

/// Settings of distillation: the weight of the teacher's logits, and the temperature of the
/// comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DistillationSettings {
    /// Share of the loss that the teacher's logits have; the labels have the rest.
    pub share: f64,
    /// Temperature by which both logits are divided before their probabilities are compared. A
    /// higher one emphasises the teacher's probabilities of the less likely stars.
    pub temperature: f64,
}

/// Default settings of distillation.
pub const DEFAULT_DISTILLATION: DistillationSettings = DistillationSettings {
    share: 0.9,
    temperature: 2.0,
};

/// For one text: the number of reviews with each label, 0 to 4, weighted by their weights.
pub type Counts = [f64; LABELS];

/// The counts of a single review.
pub fn one(label: usize) -> Counts {
    std::array::from_fn(|c| f64::from(u8::from(c == label)))
}

/// Exponent of the distance in the ordinal log-loss: the one that its authors found best overall.
const LOG_LOSS_POWER: f64 = 1.5;

impl Loss {
    /// Cross-entropy in which a share `smoothing` of the target is spread evenly over all classes,
    /// and class c has the weight `weights[c]`.
    pub fn new(smoothing: f64, weights: [f64; LABELS]) -> Loss {
        Loss {
            smoothing,
            weights,
            soft_targets: None,
            log_loss: 0.0,
            distillation: None,
        }
    }

    /// Spreads the target over neighbouring labels: a label at distance d gets a share in
    /// proportion to exp(-sharpness d²) (Díaz and Marathe, "Soft Labels for Ordinal Regression",
    /// CVPR 2019).
    #[must_use]
    pub fn with_soft_targets(self, sharpness: Option<f64>) -> Loss {
        Loss {
            soft_targets: sharpness,
            ..self
        }
    }

    /// Adds `weight` times the ordinal log-loss, -Σ d^1.5 ln(1 - p_c) over labels c at distance d
    /// from the true one: a probability costs more the further it is off (Castagnos, Mihelich and
    /// Dognin, "A Simple Log-based Loss Function for Ordinal Text Classification", COLING 2022).
    #[must_use]
    pub fn with_log_loss(self, weight: f64) -> Loss {
        Loss {
            log_loss: weight,
            ..self
        }
    }

    /// Adds distillation from a teacher's logits, in [`Loss::distilled`].
    #[must_use]
    pub fn with_distillation(self, distillation: Option<DistillationSettings>) -> Loss {
        Loss {
            distillation,
            ..self
        }
    }

    /// Whether the loss is only a cross-entropy with the targets of [`Loss::targets`].
    pub fn is_cross_entropy(&self) -> bool {
        self.log_loss == 0.0 && self.distillation.is_none()
    }

    /// Plain cross-entropy.
    pub fn plain() -> Loss {
        Loss::new(0.0, [1.0; LABELS])
    }

    /// The weight in the mean of a text with these counts of labels; 1 for an unlabelled text.
    pub fn weight(&self, counts: Option<&Counts>) -> f64 {
        counts.map_or(1.0, |counts| {
            counts
                .iter()
                .zip(&self.weights)
                .map(|(count, weight)| count * weight)
                .sum()
        })
    }

    /// The targets of the cross-entropy for each label, divided by the total weight of a step's
    /// reviews, which have these labels. The loss of the step is then the sum of -sum t_c ln p_c
    /// over its reviews.
    pub fn targets(&self, labels: &[usize]) -> [[f32; LABELS]; LABELS] {
        let total: f64 = labels.iter().map(|label| self.weights[*label]).sum();
        std::array::from_fn(|label| std::array::from_fn(|c| (self.target(label, c) / total) as f32))
    }

    /// The target of class c for a review with this label.
    fn target(&self, label: usize, c: usize) -> f64 {
        let even = self.smoothing / LABELS as f64;
        let truth = match self.soft_targets {
            None => f64::from(c == label),
            Some(sharpness) => {
                let near = |c: usize| (-sharpness * (c.abs_diff(label) as f64).powi(2)).exp();
                near(c) / (0..LABELS).map(near).sum::<f64>()
            }
        };
        self.weights[c] * (even + (1.0 - self.smoothing) * truth)
    }

    /// The loss of a review, times its weight, and its gradient with respect to the logits.
    ///
    /// With p = softmax(logits) and targets t_c = weight_c (smoothing / 5 + (1 - smoothing) [c =
    /// label]), the cross-entropy is -sum t_c ln p_c, and its gradient p_c sum(t) - t_c. Soft
    /// targets replace [c = label] by the label's share.
    pub fn of(&self, logits: &[f32; LABELS], label: usize) -> (f64, [f32; LABELS]) {
        let logits = logits.map(f64::from);
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = max + logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
        let targets: [f64; LABELS] = std::array::from_fn(|c| self.target(label, c));
        let whole: f64 = targets.iter().sum();
        let mut loss = targets
            .iter()
            .zip(&logits)
            .map(|(t, x)| t * (log_sum - x))
            .sum();
        let mut gradient: [f64; LABELS] =
            std::array::from_fn(|c| (logits[c] - log_sum).exp() * whole - targets[c]);
        if self.log_loss > 0.0 {
            let (value, slope) = log_loss(&logits, log_sum, label);
            let weight = self.log_loss * self.weights[label];
            loss += weight * value;
            gradient
                .iter_mut()
                .zip(slope)
                .for_each(|(gradient, slope)| *gradient += weight * slope);
        }
        (loss, gradient.map(|x| x as f32))
    }
}

impl Loss {
    /// The sum of [`Loss::of`] over all reviews with the same text, of which `counts` gives the
    /// labels.
    pub fn of_counts(&self, logits: &[f32; LABELS], counts: &Counts) -> (f64, [f32; LABELS]) {
        let (mut loss, mut gradient) = (0.0, [0.0; LABELS]);
        for (label, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            let (value, slope) = self.of(logits, label);
            loss += count * value;
            gradient
                .iter_mut()
                .zip(slope)
                .for_each(|(sum, slope)| *sum += count * f64::from(slope));
        }
        (loss, gradient.map(|x| x as f32))
    }

    /// The same for a text whose teacher's logits are known. The loss is (1 - share) times
    /// [`Loss::of_counts`] plus, for each review, share T² KL(p ‖ q), where p and q are the softmax
    /// of the teacher's and the student's logits divided by T. T² keeps the gradients at the same
    /// scale for every T. The gradient of the second term is share T (q - p) (Hinton, Vinyals and
    /// Dean, "Distilling the Knowledge in a Neural Network", 2015). Without distillation it equals
    /// [`Loss::of_counts`].
    ///
    /// For an unlabelled text the teacher's share is 1, and the weight is 1.
    pub fn distilled(
        &self,
        logits: &[f32; LABELS],
        counts: Option<&Counts>,
        teacher: &[f32; LABELS],
    ) -> (f64, [f32; LABELS]) {
        let (loss, gradient) = counts.map_or((0.0, [0.0; LABELS]), |counts| {
            self.of_counts(logits, counts)
        });
        let Some(DistillationSettings { share, temperature }) = self.distillation else {
            return (loss, gradient);
        };
        let share = if counts.is_some() { share } else { 1.0 };
        let (p, q) = (
            log_softmax(teacher, temperature),
            log_softmax(logits, temperature),
        );
        let divergence: f64 = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
        let weight = share * self.weight(counts);
        let gradient = std::array::from_fn(|c| {
            ((1.0 - share) * f64::from(gradient[c])
                + weight * temperature * (q[c].exp() - p[c].exp())) as f32
        });
        (
            (1.0 - share) * loss + weight * temperature * temperature * divergence,
            gradient,
        )
    }
}

/// ln softmax(logits / temperature).
pub(super) fn log_softmax(logits: &[f32; LABELS], temperature: f64) -> [f64; LABELS] {
    let logits = logits.map(|x| f64::from(x) / temperature);
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = max + logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
    logits.map(|x| x - log_sum)
}

/// -Σ d^1.5 ln(1 - p_c) over labels c at distance d from `label`, and its gradient. `log_sum` is ln
/// Σ exp(logits).
fn log_loss(logits: &[f64; LABELS], log_sum: f64, label: usize) -> (f64, [f64; LABELS]) {
    let (mut loss, mut gradient) = (0.0, [0.0; LABELS]);
    for c in (0..LABELS).filter(|c| *c != label) {
        let distance = (c.abs_diff(label) as f64).powf(LOG_LOSS_POWER);
        // 1 - p_c is computed from the other logits, because the difference would lose all digits
        // where p_c is nearly 1.
        let others = || (0..LABELS).filter(|j| *j != c);
        let max = others()
            .map(|j| logits[j])
            .fold(f64::NEG_INFINITY, f64::max);
        let log_others = max + others().map(|j| (logits[j] - max).exp()).sum::<f64>().ln();
        let p = (logits[c] - log_sum).exp();
        loss += distance * (log_sum - log_others);
        gradient[c] += distance * p;
        others().for_each(|j| gradient[j] -= distance * p * (logits[j] - log_others).exp());
    }
    (loss, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [([f32; LABELS], usize); 4] = [
        ([0.5, -1.25, 2.0, 0.125, -0.5], 2),
        ([3.0, 0.0, -2.0, 1.5, 0.75], 4),
        ([-0.25, -0.25, -0.25, -0.25, -0.25], 0),
        ([12.0, -8.0, 0.5, 4.0, 1.0], 1),
    ];
    const WEIGHTS: [f64; LABELS] = [1.0, 2.0, 2.5, 2.0, 0.5];

    fn mean(loss: &Loss) -> f64 {
        let total: f64 = LOGITS.iter().map(|(_, label)| loss.weights[*label]).sum();
        LOGITS
            .iter()
            .map(|(logits, label)| loss.of(logits, *label).0)
            .sum::<f64>()
            / total
    }

    #[test]
    fn the_mean_is_pytorchs() {
        // torch 2.15: torch.nn.functional.cross_entropy(LOGITS as float64, labels, weight, label_smoothing=...)
        for (smoothing, weights, wanted) in [
            (0.0, [1.0; LABELS], 6.1473081637144995),
            (0.1, [1.0; LABELS], 5.9479331637145),
            (0.0, WEIGHTS, 7.317877469875796),
            (0.2, WEIGHTS, 6.8182277174930634),
        ] {
            let found = mean(&Loss::new(smoothing, weights));
            assert!(
                (found - wanted).abs() < 1e-12,
                "smoothing {smoothing}, weights {weights:?}: {found}, recorded {wanted}"
            );
        }
        assert_eq!(Loss::plain(), Loss::new(0.0, [1.0; LABELS]));
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let soft = Loss::new(0.05, WEIGHTS).with_soft_targets(Some(0.8));
        let ordinal = Loss::new(0.1, WEIGHTS).with_log_loss(0.7);
        for loss in [
            Loss::plain(),
            Loss::new(0.1, [1.0; LABELS]),
            Loss::new(0.3, WEIGHTS),
            soft,
            ordinal,
        ] {
            for (logits, label) in LOGITS {
                let (_, gradient) = loss.of(&logits, label);
                for c in 0..LABELS {
                    // A step that f32 represents exactly, so that the f64 losses belong to the
                    // exact logits.
                    let at = |step: f32| {
                        let mut moved = logits;
                        moved[c] += step;
                        loss.of(&moved, label).0
                    };
                    let step = 1.0 / 1024.0;
                    let wanted = (at(step) - at(-step)) / (2.0 * f64::from(step));
                    assert!(
                        (f64::from(gradient[c]) - wanted).abs() < 1e-6,
                        "{logits:?} {label} {c}: {} {wanted}",
                        gradient[c]
                    );
                }
            }
        }
    }

    #[test]
    fn a_teacher_is_followed_as_far_as_it_counts() {
        let teacher = [1.5, -0.5, 0.25, 2.0, -3.0];
        for distillation in [
            DistillationSettings {
                share: 1.0,
                temperature: 1.0,
            },
            DistillationSettings {
                share: 0.7,
                temperature: 3.0,
            },
        ] {
            let loss = Loss::new(0.1, WEIGHTS).with_distillation(Some(distillation));
            let several = Some([0.5, 0.0, 3.0, 1.0, 0.0]);
            for (logits, counts) in LOGITS.iter().flat_map(|(logits, label)| {
                [Some(one(*label)), several, None].map(|counts| (*logits, counts))
            }) {
                let (_, gradient) = loss.distilled(&logits, counts.as_ref(), &teacher);
                for c in 0..LABELS {
                    let at = |step: f32| {
                        let mut moved = logits;
                        moved[c] += step;
                        loss.distilled(&moved, counts.as_ref(), &teacher).0
                    };
                    let step = 1.0 / 1024.0;
                    let wanted = (at(step) - at(-step)) / (2.0 * f64::from(step));
                    assert!(
                        (f64::from(gradient[c]) - wanted).abs() < 1e-5,
                        "{distillation:?} {logits:?} {counts:?} {c}: {} {wanted}",
                        gradient[c]
                    );
                }
            }
        }
        // A student that agrees with its teacher has no loss; adding a constant to all logits
        // changes nothing.
        let all = Loss::plain().with_distillation(Some(DistillationSettings {
            share: 1.0,
            temperature: 2.0,
        }));
        let (loss, gradient) = all.distilled(&teacher.map(|x| x + 7.0), Some(&one(0)), &teacher);
        assert!(
            loss.abs() < 1e-12 && gradient.iter().all(|g| g.abs() < 1e-7),
            "{loss} {gradient:?}"
        );
        // torch 2.15, float64: 4 * F.kl_div(log_softmax(LOGITS[1] / 2), softmax(teacher / 2), reduction="sum")
        let (loss, _) = all.distilled(&LOGITS[1].0, Some(&one(0)), &teacher);
        assert!((loss - 1.0639032019545245).abs() < 1e-9, "{loss}");
        let (logits, label) = LOGITS[0];
        assert_eq!(
            Loss::plain().distilled(&logits, Some(&one(label)), &teacher),
            Loss::plain().of(&logits, label)
        );
        assert!(!all.is_cross_entropy());
    }

    #[test]
    fn counts_are_the_sum_over_their_reviews() {
        let teacher = [1.5, -0.5, 0.25, 2.0, -3.0];
        let labels = [0, 3, 3, 4, 3, 0];
        let counts = labels
            .iter()
            .fold([0.0; LABELS], |mut counts: Counts, label| {
                counts[*label] += 1.0;
                counts
            });
        let plain = Loss::new(0.1, WEIGHTS).with_log_loss(0.3);
        for loss in [plain, plain.with_distillation(Some(DEFAULT_DISTILLATION))] {
            assert!(
                (loss.weight(Some(&counts))
                    - labels
                        .iter()
                        .map(|label| loss.weight(Some(&one(*label))))
                        .sum::<f64>())
                .abs()
                    < 1e-12
            );
            for (logits, _) in LOGITS {
                let each = labels.map(|label| loss.distilled(&logits, Some(&one(label)), &teacher));
                let (value, gradient) = loss.distilled(&logits, Some(&counts), &teacher);
                assert!((value - each.iter().map(|(value, _)| value).sum::<f64>()).abs() < 1e-9);
                for (c, found) in gradient.iter().enumerate() {
                    let wanted: f64 = each
                        .iter()
                        .map(|(_, gradient)| f64::from(gradient[c]))
                        .sum();
                    assert!(
                        (f64::from(*found) - wanted).abs() < 1e-5,
                        "{logits:?} {c}: {found} {wanted}"
                    );
                }
            }
        }
    }

    #[test]
    fn corn_over_five_logits_is_cross_entropy() {
        for (logits, _) in LOGITS {
            let p: Vec<f64> = log_softmax(&logits, 1.0).iter().map(|x| x.exp()).collect();
            let from = |k: usize| p[k..].iter().sum::<f64>();
            let above = |k: usize| from(k + 1) / from(k);
            for label in 0..LABELS {
                let at = if label + 1 < LABELS {
                    -(1.0 - above(label)).ln()
                } else {
                    0.0
                };
                let corn = (0..label).map(|k| -above(k).ln()).sum::<f64>() + at;
                assert!(
                    (corn - Loss::plain().of(&logits, label).0).abs() < 1e-6,
                    "{logits:?} {label}"
                );
            }
        }
    }

    #[test]
    fn soft_targets_fall_with_the_square_of_the_distance() {
        let loss = Loss::plain().with_soft_targets(Some(0.5));
        let targets: [f64; LABELS] = std::array::from_fn(|c| loss.target(1, c));
        assert!(
            (targets.iter().sum::<f64>() - 1.0).abs() < 1e-12 && targets[0] == targets[2],
            "{targets:?}"
        );
        for (c, distance) in [(2, 1.0f64), (3, 2.0), (4, 3.0)] {
            assert!(
                (targets[c] / targets[1] - (-0.5 * distance * distance).exp()).abs() < 1e-12,
                "{targets:?}"
            );
        }
        assert!(
            Loss::plain().with_soft_targets(Some(50.0)).target(3, 3) > 1.0 - 1e-12,
            "sharp enough, it is the label alone"
        );
    }

    #[test]
    fn the_log_loss_is_its_formula() {
        for (logits, label) in LOGITS {
            let p = starsight_model::rating::softmax(&logits).map(f64::from);
            let wanted: f64 = (0..LABELS)
                .map(|c| -(c.abs_diff(label) as f64).powf(1.5) * (1.0 - p[c]).ln())
                .sum();
            let found = Loss::plain().with_log_loss(1.0).of(&logits, label).0
                - Loss::plain().of(&logits, label).0;
            assert!(
                (found - wanted).abs() < 1e-4 * wanted.max(1.0),
                "{logits:?}: {found}, wanted {wanted}"
            );
        }
        assert!(
            Loss::plain().is_cross_entropy()
                && !Loss::plain().with_log_loss(0.1).is_cross_entropy()
        );
    }

    #[test]
    fn huge_logits_stay_finite() {
        for loss in [Loss::new(0.1, WEIGHTS), Loss::plain().with_log_loss(1.0)] {
            let (loss, gradient) = loss.of(&[3e38, -3e38, 0.0, 0.0, 0.0], 1);
            assert!(
                loss.is_finite() && gradient.iter().all(|g| g.is_finite()),
                "{loss} {gradient:?}"
            );
        }
        assert!(
            Loss::plain()
                .of(&[f32::NAN, 0.0, 0.0, 0.0, 0.0], 1)
                .0
                .is_nan(),
            "but what is no number is told"
        );
    }

    #[test]
    fn balanced_weights_are_those_of_scikit_learn() {
        // By the formula of sklearn.utils.class_weight.compute_class_weight("balanced", ...), over the classes that occur.
        let resolve = |labels: &[usize]| ClassWeights::Balanced.resolve(labels.iter().copied());
        assert_eq!(
            resolve(&[0, 0, 0, 0, 1, 1, 2, 3, 4, 4]),
            [0.5, 1.0, 2.0, 2.0, 1.0]
        );
        assert_eq!(resolve(&[0, 0, 0, 4]), [4.0 / 6.0, 0.0, 0.0, 0.0, 2.0]);
    }

    #[test]
    fn class_weights_are_written_as_they_are_read() {
        for text in ["balanced", "1,2,2.5,2,0.5"] {
            assert_eq!(
                text.parse::<ClassWeights>().expect("weights").to_string(),
                text
            );
        }
        assert_eq!(
            "1, 2, 2.5, 2, 5e-1".parse(),
            Ok(ClassWeights::Given(WEIGHTS))
        );
        for text in [
            "",
            "1,2,3",
            "1,2,3,4,0",
            "1,2,3,4,x",
            "1,2,3,4,inf",
            "Balanced",
        ] {
            assert!(
                text.parse::<ClassWeights>()
                    .expect_err("an error")
                    .contains("five comma-separated numbers above 0"),
                "{text}"
            );
        }
    }
}
