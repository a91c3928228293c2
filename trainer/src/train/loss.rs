//! Cross-entropy with label smoothing and class weights, as PyTorch's `CrossEntropyLoss(weight, label_smoothing)` computes it; and two ways to tell it that stars are an order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use starsight_model::LABELS;

/// What an error on each class costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ClassWeights {
    /// The rarer a class, the dearer.
    Balanced,
    /// So much for labels 0 to 4.
    Given([f64; LABELS]),
}

impl FromStr for ClassWeights {
    type Err = String;

    fn from_str(text: &str) -> Result<ClassWeights, String> {
        if text == "balanced" {
            return Ok(ClassWeights::Balanced);
        }
        let weights: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok().filter(|w: &f64| w.is_finite() && *w > 0.0)).collect();
        let weights = weights.and_then(|weights| <[f64; LABELS]>::try_from(weights).ok());
        weights.map(ClassWeights::Given).ok_or_else(|| "wanted `balanced`, or five numbers above 0 with commas between them, for 1 to 5 stars".into())
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
    /// The weights of labels 0 to 4. Balanced ones are scikit-learn's `compute_class_weight("balanced")`: n / (classes * count), over the classes that occur among `labels`; one
    /// that does not occur weighs nothing.
    pub fn resolve(&self, labels: impl Iterator<Item = usize>) -> [f64; LABELS] {
        match self {
            ClassWeights::Given(weights) => *weights,
            ClassWeights::Balanced => {
                let mut counts = [0.0; LABELS];
                labels.for_each(|label| counts[label] += 1.0);
                let classes = counts.iter().filter(|count| **count > 0.0).count() as f64;
                let n: f64 = counts.iter().sum();
                counts.map(|count| if count > 0.0 { n / (classes * count) } else { 0.0 })
            }
        }
    }
}

/// The loss of a review, and its gradient. The mean over a step's reviews is the sum of [`Loss::of`] divided by the sum of [`Loss::weight`], however they are packed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    smoothing: f64,
    weights: [f64; LABELS],
    soft_targets: Option<f64>,
    log_loss: f64,
}

/// The power of the distance in the ordinal log-loss: the one that its authors found best on the whole.
const LOG_LOSS_POWER: f64 = 1.5;

impl Loss {
    /// Cross-entropy in which a share `smoothing` of the truth is spread evenly over all classes, and class c weighs `weights[c]`.
    pub fn new(smoothing: f64, weights: [f64; LABELS]) -> Loss {
        Loss { smoothing, weights, soft_targets: None, log_loss: 0.0 }
    }

    /// The truth is not one label, but shared with those beside it: a label d away gets a share in proportion to exp(-sharpness d²). (Díaz and Marathe, "Soft Labels for Ordinal
    /// Regression", CVPR 2019.)
    #[must_use]
    pub fn with_soft_targets(self, sharpness: Option<f64>) -> Loss {
        Loss { soft_targets: sharpness, ..self }
    }

    /// Adds `weight` times the ordinal log-loss, -Σ d^1.5 ln(1 - p_c) over labels c that are d away from the truth: the further off, the dearer a probability. (Castagnos, Mihelich and
    /// Dognin, "A Simple Log-based Loss Function for Ordinal Text Classification", COLING 2022.)
    #[must_use]
    pub fn with_log_loss(self, weight: f64) -> Loss {
        Loss { log_loss: weight, ..self }
    }

    /// Whether it is a cross-entropy with some targets: nothing but those of [`Loss::targets`].
    pub fn is_cross_entropy(&self) -> bool {
        self.log_loss == 0.0
    }

    /// Plain cross-entropy.
    pub fn plain() -> Loss {
        Loss::new(0.0, [1.0; LABELS])
    }

    /// What a review with this label counts in the mean.
    pub fn weight(&self, label: usize) -> f64 {
        self.weights[label]
    }

    /// The targets of each label in the cross-entropy, divided by the whole weight of a step's reviews, which have these labels: the loss of the step is the sum of -sum t_c ln p_c over them.
    pub fn targets(&self, labels: &[usize]) -> [[f32; LABELS]; LABELS] {
        let total: f64 = labels.iter().map(|label| self.weight(*label)).sum();
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
    /// With p = softmax(logits) and targets t_c = weight_c (smoothing / 5 + (1 - smoothing) [c = label]), or the label's share instead of [c = label], the cross-entropy is
    /// -sum t_c ln p_c, and its gradient p_c sum(t) - t_c.
    pub fn of(&self, logits: &[f32; LABELS], label: usize) -> (f64, [f32; LABELS]) {
        let logits = logits.map(f64::from);
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = max + logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
        let targets: [f64; LABELS] = std::array::from_fn(|c| self.target(label, c));
        let whole: f64 = targets.iter().sum();
        let mut loss = targets.iter().zip(&logits).map(|(t, x)| t * (log_sum - x)).sum();
        let mut gradient: [f64; LABELS] = std::array::from_fn(|c| (logits[c] - log_sum).exp() * whole - targets[c]);
        if self.log_loss > 0.0 {
            let (value, slope) = log_loss(&logits, log_sum, label);
            let weight = self.log_loss * self.weights[label];
            loss += weight * value;
            gradient.iter_mut().zip(slope).for_each(|(gradient, slope)| *gradient += weight * slope);
        }
        (loss, gradient.map(|x| x as f32))
    }
}

/// -Σ d^1.5 ln(1 - p_c) over labels c that are d away from `label`, and its gradient. `log_sum` is ln Σ exp(logits).
fn log_loss(logits: &[f64; LABELS], log_sum: f64, label: usize) -> (f64, [f64; LABELS]) {
    let (mut loss, mut gradient) = (0.0, [0.0; LABELS]);
    for c in (0..LABELS).filter(|c| *c != label) {
        let distance = (c.abs_diff(label) as f64).powf(LOG_LOSS_POWER);
        // 1 - p_c from the other logits: the difference itself would be lost where p_c is nearly 1.
        let others = || (0..LABELS).filter(|j| *j != c);
        let max = others().map(|j| logits[j]).fold(f64::NEG_INFINITY, f64::max);
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
        let total: f64 = LOGITS.iter().map(|(_, label)| loss.weight(*label)).sum();
        LOGITS.iter().map(|(logits, label)| loss.of(logits, *label).0).sum::<f64>() / total
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
            assert!((found - wanted).abs() < 1e-12, "smoothing {smoothing}, weights {weights:?}: {found}, recorded {wanted}");
        }
        assert_eq!(Loss::plain(), Loss::new(0.0, [1.0; LABELS]));
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let soft = Loss::new(0.05, WEIGHTS).with_soft_targets(Some(0.8));
        let ordinal = Loss::new(0.1, WEIGHTS).with_log_loss(0.7);
        for loss in [Loss::plain(), Loss::new(0.1, [1.0; LABELS]), Loss::new(0.3, WEIGHTS), soft, ordinal] {
            for (logits, label) in LOGITS {
                let (_, gradient) = loss.of(&logits, label);
                for c in 0..LABELS {
                    // A step that f32 holds exactly: the difference is then taken between f64 losses of exact logits.
                    let at = |step: f32| {
                        let mut moved = logits;
                        moved[c] += step;
                        loss.of(&moved, label).0
                    };
                    let step = 1.0 / 1024.0;
                    let wanted = (at(step) - at(-step)) / (2.0 * f64::from(step));
                    assert!((f64::from(gradient[c]) - wanted).abs() < 1e-6, "{logits:?} {label} {c}: {} {wanted}", gradient[c]);
                }
            }
        }
    }

    #[test]
    fn soft_targets_fall_with_the_square_of_the_distance() {
        let loss = Loss::plain().with_soft_targets(Some(0.5));
        let targets: [f64; LABELS] = std::array::from_fn(|c| loss.target(1, c));
        assert!((targets.iter().sum::<f64>() - 1.0).abs() < 1e-12 && targets[0] == targets[2], "{targets:?}");
        for (c, distance) in [(2, 1.0f64), (3, 2.0), (4, 3.0)] {
            assert!((targets[c] / targets[1] - (-0.5 * distance * distance).exp()).abs() < 1e-12, "{targets:?}");
        }
        assert!(Loss::plain().with_soft_targets(Some(50.0)).target(3, 3) > 1.0 - 1e-12, "sharp enough, it is the label alone");
    }

    #[test]
    fn the_log_loss_is_its_formula() {
        for (logits, label) in LOGITS {
            let p = starsight_model::rating::softmax(&logits).map(f64::from);
            let wanted: f64 = (0..LABELS).map(|c| -(c.abs_diff(label) as f64).powf(1.5) * (1.0 - p[c]).ln()).sum();
            let found = Loss::plain().with_log_loss(1.0).of(&logits, label).0 - Loss::plain().of(&logits, label).0;
            assert!((found - wanted).abs() < 1e-4 * wanted.max(1.0), "{logits:?}: {found}, wanted {wanted}");
        }
        assert!(Loss::plain().is_cross_entropy() && !Loss::plain().with_log_loss(0.1).is_cross_entropy());
    }

    #[test]
    fn huge_logits_stay_finite() {
        for loss in [Loss::new(0.1, WEIGHTS), Loss::plain().with_log_loss(1.0)] {
            let (loss, gradient) = loss.of(&[3e38, -3e38, 0.0, 0.0, 0.0], 1);
            assert!(loss.is_finite() && gradient.iter().all(|g| g.is_finite()), "{loss} {gradient:?}");
        }
        assert!(Loss::plain().of(&[f32::NAN, 0.0, 0.0, 0.0, 0.0], 1).0.is_nan(), "but what is no number is told");
    }

    #[test]
    fn balanced_weights_are_those_of_scikit_learn() {
        // By the formula of sklearn.utils.class_weight.compute_class_weight("balanced", ...), over the classes that occur.
        let resolve = |labels: &[usize]| ClassWeights::Balanced.resolve(labels.iter().copied());
        assert_eq!(resolve(&[0, 0, 0, 0, 1, 1, 2, 3, 4, 4]), [0.5, 1.0, 2.0, 2.0, 1.0]);
        assert_eq!(resolve(&[0, 0, 0, 4]), [4.0 / 6.0, 0.0, 0.0, 0.0, 2.0]);
    }

    #[test]
    fn class_weights_are_written_as_they_are_read() {
        for text in ["balanced", "1,2,2.5,2,0.5"] {
            assert_eq!(text.parse::<ClassWeights>().expect("weights").to_string(), text);
        }
        assert_eq!("1, 2, 2.5, 2, 5e-1".parse(), Ok(ClassWeights::Given(WEIGHTS)));
        for text in ["", "1,2,3", "1,2,3,4,0", "1,2,3,4,x", "1,2,3,4,inf", "Balanced"] {
            assert!(text.parse::<ClassWeights>().expect_err("an error").contains("five numbers above 0"), "{text}");
        }
    }
}
