//! Rates a list of texts in steps.

use std::iter::repeat_n;
use std::rc::Rc;
use std::vec::IntoIter;

use js_sys::{Array, Float32Array, Object, Reflect, Uint8Array, Uint32Array};
use starsight_model::batch::{Distinct, pack_in_order};
use starsight_model::{Rater, Rating};
use wasm_bindgen::prelude::*;

use crate::tuner::KernelTuner;
use crate::worker_error::WorkerError;

/// Tokens in a packed batch: enough rows for the products to run at full speed, few enough that
/// ratings arrive steadily and the worker can handle messages. MiniLM takes about an eighth of a
/// second for 512.
const TOKEN_BUDGET: usize = 512;

/// Characters (UTF-16 code units) tokenised per step.
const CHARACTERS_A_STEP: u32 = 1 << 16;

/// A list of texts to rate. First all are tokenised, then one packed batch is rated per step. With
/// `once`, texts with the same tokens are rated only once.
#[wasm_bindgen]
pub struct Job {
    rater: Rc<Rater>,
    tuner: Rc<KernelTuner>,
    texts: Array,
    once: bool,
    token_ids: Vec<Vec<u32>>,
    packs: Option<IntoIter<Pack>>,
}

/// A packed batch: for each of its reviews, the indices of the texts that have its tokens.
type Pack = Vec<Vec<usize>>;

impl Job {
    pub(crate) fn new(rater: Rc<Rater>, tuner: Rc<KernelTuner>, texts: Array, once: bool) -> Job {
        let token_ids = Vec::with_capacity(texts.length() as usize);
        Job {
            rater,
            tuner,
            texts,
            once,
            token_ids,
            packs: None,
        }
    }

    fn tokenise_some(&mut self) -> Result<(), JsValue> {
        let mut characters = 0;
        while characters < CHARACTERS_A_STEP {
            let next = self.token_ids.len();
            if next == self.texts.length() as usize {
                self.packs = Some(packs(&self.token_ids, self.once).into_iter());
                self.texts = Array::new();
                return Ok(());
            }
            let text = self.texts.get(next as u32);
            characters += text.unchecked_ref::<js_sys::JsString>().length() + 1;
            let text = text
                .as_string()
                .ok_or_else(|| WorkerError::Engine("a text is not a string".into()))?;
            self.token_ids.push(
                self.rater
                    .encode(&text)
                    .map_err(|e| WorkerError::Engine(e.to_string()))?,
            );
        }
        Ok(())
    }

    fn rate_pack(&self, reviews: &Pack) -> Result<Object, JsValue> {
        let token_ids: Vec<&[u32]> = reviews
            .iter()
            .map(|texts| self.token_ids[texts[0]].as_slice())
            .collect();
        let ratings = self
            .rater
            .rate(&token_ids)
            .map_err(|e| WorkerError::Engine(e.to_string()))?;
        self.tuner
            .rated(token_ids.iter().map(|ids| ids.len()).sum());

        let places: Vec<u32> = reviews.iter().flatten().map(|&i| i as u32).collect();
        let ratings: Vec<Rating> = ratings
            .into_iter()
            .zip(reviews)
            .flat_map(|(rating, texts)| repeat_n(rating, texts.len()))
            .collect();
        let stars: Vec<u8> = ratings.iter().map(|r| r.stars).collect();
        let guesses: Vec<u8> = ratings.iter().map(|r| u8::from(r.guess)).collect();
        let expected: Vec<f32> = ratings.iter().map(|r| r.expected).collect();
        let probabilities: Vec<f32> = ratings.iter().flat_map(|r| r.probabilities).collect();
        let tokens: usize = reviews
            .iter()
            .flatten()
            .map(|&i| self.token_ids[i].len())
            .sum();

        let pack = Object::new();
        let fields: [(&str, JsValue); 6] = [
            ("indices", Uint32Array::from(places.as_slice()).into()),
            ("stars", Uint8Array::from(stars.as_slice()).into()),
            ("expected", Float32Array::from(expected.as_slice()).into()),
            (
                "probabilities",
                Float32Array::from(probabilities.as_slice()).into(),
            ),
            ("guesses", Uint8Array::from(guesses.as_slice()).into()),
            ("tokens", (tokens as u32).into()),
        ];
        for (name, value) in fields {
            Reflect::set(&pack, &name.into(), &value)?;
        }
        Ok(pack)
    }
}

/// Divides reviews into packed batches in the order of the texts, so that ratings arrive in that
/// order. Sorting by length would gain nothing, because batches have no padding.
fn packs(token_ids: &[Vec<u32>], once: bool) -> Vec<Pack> {
    let Distinct { firsts, like } = if once {
        Distinct::of(token_ids)
    } else {
        Distinct::all(token_ids.len())
    };
    let mut texts = vec![Vec::new(); firsts.len()];
    like.iter()
        .enumerate()
        .for_each(|(i, &first)| texts[first].push(i));
    let lengths: Vec<usize> = firsts.iter().map(|&i| token_ids[i].len()).collect();
    let order: Vec<usize> = (0..firsts.len()).collect();
    let groups = pack_in_order(&order, &lengths, TOKEN_BUDGET);
    groups
        .into_iter()
        .map(|group| {
            group
                .into_iter()
                .map(|first| std::mem::take(&mut texts[first]))
                .collect()
        })
        .collect()
}

#[wasm_bindgen]
impl Job {
    /// Runs the next step. Returns the ratings of a packed batch, or undefined after a step of
    /// tokenising.
    ///
    /// # Errors
    /// An `EngineError` when a text is not a string, or the computation fails.
    pub fn step(&mut self) -> Result<Option<Object>, JsValue> {
        match &mut self.packs {
            None => self.tokenise_some().map(|()| None),
            Some(packs) => match packs.next() {
                Some(reviews) => self.rate_pack(&reviews).map(Some),
                None => Ok(None),
            },
        }
    }

    /// The number of tokenised texts.
    #[wasm_bindgen(getter)]
    pub fn tokenised(&self) -> usize {
        self.token_ids.len()
    }

    /// Whether every text has been rated.
    #[wasm_bindgen(getter)]
    pub fn done(&self) -> bool {
        self.packs.as_ref().is_some_and(|packs| packs.len() == 0)
    }
}
