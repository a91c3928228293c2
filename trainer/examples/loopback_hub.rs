//! The tests' Hub as a program, to try publishing and fetching by hand:
//! `cargo run --release -p starsight --example loopback_hub -- PORT FOLDER [TOKEN]`, then
//! `starsight publish --endpoint http://127.0.0.1:PORT ...`.

#[path = "../../tests/loopback_hub/mod.rs"]
mod loopback_hub;

use std::{env, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (Some(Ok(port)), Some(folder)) = (
        arguments.first().map(|port| port.parse::<u16>()),
        arguments.get(1),
    ) else {
        eprintln!("usage: loopback_hub PORT FOLDER [TOKEN]");
        return ExitCode::from(2);
    };
    let token = arguments.get(2).map_or("hf_loopback", String::as_str);
    match loopback_hub::LoopbackHub::start(Path::new(folder), port, token) {
        Ok(hub) => {
            println!(
                "a Hub for tests at {}, token {token}, repositories in {folder}; Ctrl-C ends it",
                hub.endpoint()
            );
            loop {
                std::thread::park();
            }
        }
        Err(error) => {
            eprintln!("loopback_hub: {folder}, port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}
