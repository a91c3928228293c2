//! The interface to the worker that holds the table.

use js_sys::{Array, Float32Array, Uint8Array, Uint32Array};
use serde::de::DeserializeOwned;
use starsight_table::protocol::{Described, Form, Opening, Request};
use wasm_bindgen::prelude::*;
use web_sys::Blob;

use crate::starsight::{Rating, ScriptError};

#[wasm_bindgen(raw_module = "./table/desk.js")]
extern "C" {
    #[wasm_bindgen(js_name = Desk)]
    #[derive(Clone)]
    type JsDesk;
    #[wasm_bindgen(constructor, js_class = "Desk")]
    fn new() -> JsDesk;
    #[wasm_bindgen(method, catch, js_class = "Desk")]
    async fn open(
        this: &JsDesk,
        file: &Blob,
        opening: &str,
        hear: &Closure<dyn FnMut(f64, f64)>,
    ) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_class = "Desk")]
    async fn ask(this: &JsDesk, request: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_class = "Desk")]
    async fn next(this: &JsDesk) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, js_class = "Desk")]
    fn rate(
        this: &JsDesk,
        table: f64,
        rows: Uint32Array,
        stars: Uint8Array,
        expected: Float32Array,
        probabilities: Float32Array,
    );
    #[wasm_bindgen(method, catch, js_class = "Desk")]
    async fn write(this: &JsDesk, form: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, js_class = "Desk")]
    fn close(this: &JsDesk);
}

/// The table's worker. It is started when the first file is opened.
#[derive(Clone)]
pub struct TableWorker(JsDesk);

/// A portion of reviews to rate.
pub struct Portion {
    /// Their row numbers.
    pub rows: Vec<u32>,
    /// Their texts, an array of strings.
    pub texts: Array,
    /// The identifier of their table.
    pub table: f64,
}

impl TableWorker {
    /// A worker without a table.
    pub fn new() -> TableWorker {
        TableWorker(JsDesk::new())
    }

    /// Reads a file, replacing the previous one. `hear` is called with the share that has been
    /// read.
    pub async fn open(
        &self,
        file: &Blob,
        opening: &Opening,
        mut hear: impl FnMut(f64) + 'static,
    ) -> Result<Described, ScriptError> {
        let hear = Closure::new(move |loaded: f64, total: f64| hear(loaded / total.max(1.0)));
        read(self.0.open(file, &json(opening)?, &hear).await?)
    }

    /// Sends a request to the worker and returns its answer.
    pub async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, ScriptError> {
        read(self.0.ask(&json(&request)?).await?)
    }

    /// The next reviews to rate; `None` when all have been handed out.
    pub async fn next(&self) -> Result<Option<Portion>, ScriptError> {
        let answer = self.0.next().await?;
        if answer.is_undefined() {
            return Ok(None);
        }
        let answer: Array = answer.unchecked_into();
        let table = answer.get(2).as_f64().unwrap_or_default();
        Ok(Some(Portion {
            rows: Uint32Array::new(&answer.get(0)).to_vec(),
            texts: answer.get(1).unchecked_into(),
            table,
        }))
    }

    /// Stores ratings of rows of a table, unless another table has been opened.
    pub fn rate(&self, table: f64, rated: &[(u32, Rating)]) {
        let rows: Vec<u32> = rated.iter().map(|(row, _)| *row).collect();
        let stars: Vec<u8> = rated.iter().map(|(_, rating)| rating.stars).collect();
        let expected: Vec<f32> = rated.iter().map(|(_, rating)| rating.expected).collect();
        let probabilities: Vec<f32> = rated
            .iter()
            .flat_map(|(_, rating)| rating.probabilities)
            .collect();
        self.0.rate(
            table,
            rows.as_slice().into(),
            stars.as_slice().into(),
            expected.as_slice().into(),
            probabilities.as_slice().into(),
        );
    }

    /// The table with its ratings, as a file.
    pub async fn write(&self, form: Form) -> Result<Blob, ScriptError> {
        let name = match form {
            Form::Csv => "Csv",
            Form::JsonLines => "JsonLines",
        };
        Ok(self.0.write(name).await?.unchecked_into())
    }

    /// Closes the table, and stops reading a file.
    pub fn close(&self) {
        self.0.close();
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, ScriptError> {
    serde_json::to_string(value).map_err(unread)
}

fn read<T: DeserializeOwned>(answer: JsValue) -> Result<T, ScriptError> {
    serde_json::from_str(&answer.as_string().unwrap_or_default()).map_err(unread)
}

/// Both sides are built together, so this error should never occur.
fn unread(error: serde_json::Error) -> ScriptError {
    ScriptError {
        name: "TableError".into(),
        message: error.to_string(),
    }
}
