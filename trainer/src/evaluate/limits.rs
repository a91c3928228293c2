//! Ratings of kinds of reviews that are hard for models. The texts are invented and few: they show
//! tendencies, not rates.

use starsight_model::batch::PackedBatch;
use starsight_model::rating::RatingSettings;
use starsight_model::tokenizer::Tokenizer;
use starsight_model::{Engine, Error, Rating};

/// Texts of one kind, with the stars that their author would give, or 0 if the text does not
/// determine them.
struct LimitKind {
    name: &'static str,
    texts: &'static [(&'static str, u8)],
}

/// How a model rates texts of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Name of the kind.
    pub name: &'static str,
    /// Number of texts.
    pub texts: usize,
    /// Number of texts rated at most one star off; `None` if the texts do not determine the stars.
    pub near: Option<usize>,
    /// Mean of the expected stars.
    pub expected: f64,
    /// Mean probability of the rated stars.
    pub sure: f64,
}

const KINDS: [LimitKind; 11] = [
    LimitKind {
        name: "plain praise and complaint",
        texts: &[
            ("I love this app, it does all that I need.", 5),
            ("Best game I have played this year!", 5),
            ("Easy to use and never let me down.", 5),
            ("Very useful, thank you.", 5),
            ("Terrible. It does not even open.", 1),
            ("Waste of time and money, uninstalled.", 1),
            ("It deleted all of my photos!", 1),
            ("Full of ads and keeps crashing.", 1),
        ],
    },
    LimitKind {
        name: "one word",
        texts: &[
            ("bad", 1),
            ("good", 5),
            ("awful", 1),
            ("excellent", 5),
            ("useless", 1),
            ("perfect", 5),
            ("garbage", 1),
            ("okay", 3),
        ],
    },
    LimitKind {
        name: "misspelt",
        texts: &[
            ("this ap is horible", 1),
            ("exelent aplication", 5),
            ("verry usefull", 5),
            ("it dosent wrok", 1),
            ("worst ap evr", 1),
            ("luv it sooo much", 5),
        ],
    },
    LimitKind {
        name: "negated",
        texts: &[
            ("Not bad at all.", 4),
            ("I can't find anything wrong with it.", 5),
            ("Never had a problem in five years.", 5),
            ("You will not regret installing it.", 5),
            ("This is not a good app.", 1),
            ("I would not recommend it to anyone.", 1),
            ("Nothing works as it should.", 1),
            ("It is no longer worth the price.", 2),
        ],
    },
    LimitKind {
        name: "sarcastic",
        texts: &[
            (
                "Great, another update that breaks everything. Well done!",
                1,
            ),
            ("I just love losing all my data every week.", 1),
            ("Wow, only twelve ads a minute, how generous.", 1),
            ("Perfect app if you enjoy staring at a loading screen.", 1),
            ("Thanks for removing the only feature that I used.", 1),
            ("Amazing how you managed to make it even slower.", 1),
        ],
    },
    LimitKind {
        name: "for and against",
        texts: &[
            ("Good idea, but it crashes too often.", 3),
            ("The maps are great, the search is awful.", 3),
            ("It was wonderful until the last update.", 2),
            ("Works fine, though it could do with fewer ads.", 4),
            ("Okay for the price, nothing special.", 3),
            ("Slow, but it gets the job done.", 3),
        ],
    },
    LimitKind {
        name: "in other languages",
        texts: &[
            ("Sehr gute App, ich benutze sie jeden Tag.", 5),
            ("Stürzt ständig ab, einfach nur schlecht.", 1),
            ("Una aplicación excelente, muy recomendable.", 5),
            ("No funciona, es una pérdida de tiempo.", 1),
            ("Application géniale, merci beaucoup !", 5),
            ("Trop de publicités, je désinstalle.", 1),
            ("Aplicativo maravilhoso, nota dez.", 5),
            ("Не работает после обновления.", 1),
            ("Отличное приложение, спасибо!", 5),
            ("बहुत अच्छा ऐप है", 5),
            ("تطبيق ممتاز وسهل الاستخدام", 5),
            ("很差，一直闪退", 1),
            ("とても使いやすいです", 5),
            ("Aplikasi sampah, tidak bisa dibuka.", 1),
        ],
    },
    LimitKind {
        name: "one emoji and nothing else",
        texts: &[
            ("😍", 5),
            ("👍", 5),
            ("❤️", 5),
            ("🔥", 5),
            ("😡", 1),
            ("👎", 1),
            ("🤮", 1),
            ("💩", 1),
        ],
    },
    LimitKind {
        name: "long, with the point at the end",
        texts: &[(LONG_PRAISE, 5), (LONG_COMPLAINT, 1)],
    },
    LimitKind {
        name: "without an opinion",
        texts: &[
            ("I installed it on Monday.", 0),
            ("How do I change the language?", 0),
            ("My phone is a Nokia.", 0),
            ("The icon is blue.", 0),
            ("asdfghjkl", 0),
            ("1234", 0),
        ],
    },
    LimitKind {
        name: "without text",
        texts: &[("", 0), ("   ", 0)],
    },
];

const LONG_PRAISE: &str = "I have had it for a while now. My sister told me about it when we were on a train, and I put it on my phone that evening. There is a list on the left and a button \
    on the right. One can choose between three colours, and I chose the second. On some days I open it in the morning, on others at night, and at weekends sometimes not at all. It asks for a \
    name when it starts, and there is a page with settings, of which I have changed two. The text can be made larger. There is a sound when something arrives. After all this time I can only \
    say: the best that I have ever had, and I would not want to be without it.";
const LONG_COMPLAINT: &str = "I have had it for a while now. My sister told me about it when we were on a train, and I put it on my phone that evening. There is a list on the left and a button \
    on the right. One can choose between three colours, and I chose the second. On some days I open it in the morning, on others at night, and at weekends sometimes not at all. It asks for a \
    name when it starts, and there is a page with settings, of which I have changed two. The text can be made larger. There is a sound when something arrives. After all this time I can only \
    say: it is rubbish, it lost all that I wrote, and I have deleted it.";

/// Rates the texts of every kind.
///
/// # Errors
/// When the tokeniser or the engine fails.
pub fn measure(
    tokenizer: &Tokenizer,
    engine: &dyn Engine,
    settings: RatingSettings,
) -> Result<Vec<Limit>, Error> {
    KINDS
        .iter()
        .map(|kind| kind.measure(tokenizer, engine, settings))
        .collect()
}

impl LimitKind {
    fn measure(
        &self,
        tokenizer: &Tokenizer,
        engine: &dyn Engine,
        settings: RatingSettings,
    ) -> Result<Limit, Error> {
        let ids = self
            .texts
            .iter()
            .map(|(text, _)| tokenizer.encode(text))
            .collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let ratings: Vec<Rating> = engine
            .logits(&PackedBatch::new(&ids)?)?
            .iter()
            .map(|logits| Rating::from_logits(logits, settings))
            .collect();
        let near =
            |(rating, (_, stars)): &(&Rating, &(&str, u8))| rating.stars.abs_diff(*stars) <= 1;
        let mean = |of: fn(&Rating) -> f32| {
            ratings
                .iter()
                .map(|rating| f64::from(of(rating)))
                .sum::<f64>()
                / ratings.len() as f64
        };
        Ok(Limit {
            name: self.name,
            texts: self.texts.len(),
            near: self
                .texts
                .iter()
                .all(|(_, stars)| *stars > 0)
                .then(|| ratings.iter().zip(self.texts).filter(near).count()),
            expected: mean(|rating| rating.expected),
            sure: mean(|rating| rating.probabilities[usize::from(rating.stars) - 1]),
        })
    }
}

#[cfg(test)]
mod tests {
    use starsight_model::LABELS;

    use super::*;
    use crate::model::wordpiece;

    /// Gives every text the same logits.
    struct Always([f32; LABELS]);

    impl Engine for Always {
        fn logits(&self, batch: &PackedBatch) -> Result<Vec<[f32; LABELS]>, Error> {
            Ok(vec![self.0; batch.cu_seqlens.len() - 1])
        }
    }

    #[test]
    fn what_always_gives_five_stars_is_right_about_praise_alone() {
        let json = wordpiece::learn(["good bad"].into_iter(), 50).expect("a tokeniser");
        let tokenizer = Tokenizer::from_json(json.as_bytes(), None, 64).expect("a tokeniser");
        let found = measure(
            &tokenizer,
            &Always([0.0, 0.0, 0.0, 0.0, 20.0]),
            RatingSettings::default(),
        )
        .expect("figures");
        assert_eq!(found.len(), KINDS.len());
        for (kind, limit) in KINDS.iter().zip(&found) {
            let praise = kind.texts.iter().filter(|(_, stars)| *stars >= 4).count();
            assert_eq!(
                limit.near,
                kind.texts
                    .iter()
                    .all(|(_, stars)| *stars > 0)
                    .then_some(praise),
                "{}",
                kind.name
            );
            assert!((limit.expected - 5.0).abs() < 1e-6 && (limit.sure - 1.0).abs() < 1e-6);
        }
        assert_eq!(
            found.iter().filter(|limit| limit.near.is_none()).count(),
            2,
            "nobody can tell"
        );
    }
}
