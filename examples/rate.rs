//! Rates the lines of standard input with a bundle, in int8:
//!
//!     printf 'Love it\nCrashes all day\n' | cargo run --release --example rate models/starter

use std::io::{BufRead, stdin};
use std::path::PathBuf;

use starsight_model::Rater;
use starsight_model::bundle::Manifest;
use starsight_model::int8::Int8Kernel;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: rate BUNDLE")?);
    let read =
        |name: &str| std::fs::read(folder.join(name)).map_err(|error| format!("{name}: {error}"));
    let mut rater = Rater::int8(
        &read("config.json")?,
        &read("tokenizer.json")?,
        read("web/weights.safetensors")?,
        Int8Kernel::best(),
    )?;
    // How this model's logits become stars.
    rater.set_settings(Manifest::from_json(&read("starsight.json")?)?.settings());
    for line in stdin().lock().lines() {
        let text = line?;
        let rating = rater.rate(&[&rater.encode(&text)?])?[0];
        println!(
            "{} ({:.2})  {text}",
            "★".repeat(rating.stars.into()),
            rating.expected
        );
    }
    Ok(())
}
