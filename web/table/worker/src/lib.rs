//! The JavaScript interface of `starsight-table` in the worker that holds the page's table.
//! `worker.js` calls it.

use js_sys::{Array, Function, Uint8Array, Uint32Array};
use starsight_table::protocol::{Form, Opening, Request};
use starsight_table::{RatedTable, Reader};
use wasm_bindgen::prelude::*;

/// Makes a panic print its location on the console.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}

/// A file that is being read.
#[wasm_bindgen]
pub struct Reading(Reader);

#[wasm_bindgen]
impl Reading {
    /// Starts reading a file; `opening` is JSON.
    ///
    /// # Errors
    /// A message for the visitor, when the file's format is not supported or the file is too large.
    #[wasm_bindgen(constructor)]
    pub fn new(opening: &str) -> Result<Reading, JsValue> {
        let opening: Opening = serde_json::from_str(opening).map_err(|e| error(&e.to_string()))?;
        Reader::open(&opening)
            .map(Reading)
            .map_err(|e| error(&e.to_string()))
    }

    /// Reads the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.push(bytes);
    }

    /// Returns the table, after the last bytes.
    ///
    /// # Errors
    /// A message for the visitor, when the file is empty or does not have the format of its
    /// extension.
    pub fn finish(self) -> Result<Desk, JsValue> {
        self.0
            .finish()
            .map(|table| Desk(RatedTable::new(table)))
            .map_err(|e| error(&e.to_string()))
    }
}

/// A table and its ratings.
#[wasm_bindgen]
pub struct Desk(RatedTable);

#[wasm_bindgen]
impl Desk {
    /// The description of the table, as JSON.
    ///
    /// # Errors
    /// Never in practice: the description can always be serialised.
    pub fn describe(&self) -> Result<String, JsValue> {
        serde_json::to_string(&self.0.describe()).map_err(|e| error(&e.to_string()))
    }

    /// Answers a request; request and answer are JSON.
    ///
    /// # Errors
    /// When the request is invalid.
    pub fn ask(&mut self, request: &str) -> Result<String, JsValue> {
        let request: Request = serde_json::from_str(request).map_err(|e| error(&e.to_string()))?;
        Ok(self.0.answer(&request))
    }

    /// The next rows to rate and their reviews, as an array of two; undefined when all have been
    /// handed out.
    pub fn portion(&mut self) -> Option<Array> {
        let (rows, texts) = self.0.portion()?;
        let texts: Array = texts.iter().map(|text| JsValue::from_str(text)).collect();
        Some(Array::of2(&Uint32Array::from(rows.as_slice()), &texts))
    }

    /// Stores ratings; each row has five probabilities.
    pub fn rate(&mut self, rows: &[u32], stars: &[u8], expected: &[f32], probabilities: &[f32]) {
        self.0.rate(rows, stars, expected, probabilities);
    }

    /// Writes the table with its ratings as `Csv` or `JsonLines`; `take` is called with each piece.
    ///
    /// # Errors
    /// When the form is unknown, or `take` fails.
    pub fn write(&self, form: &str, take: &Function) -> Result<(), JsValue> {
        let form: Form = serde_json::from_value(form.into()).map_err(|e| error(&e.to_string()))?;
        let mut outcome = Ok(());
        self.0.write(form, |piece| {
            if outcome.is_ok() {
                outcome = take
                    .call1(&JsValue::NULL, &Uint8Array::from(piece))
                    .map(drop);
            }
        });
        outcome
    }
}

fn error(words: &str) -> JsValue {
    let error = js_sys::Error::new(words);
    error.set_name("TableError");
    error.into()
}
