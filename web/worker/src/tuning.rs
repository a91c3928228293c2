//! Which kernel the engine computes with: chosen by measuring, for on the web one cannot ask for the processor.

use std::cell::Cell;

use js_sys::Date;
use starsight_model::int8::{Int8Kernel, KernelChoice};
use wasm_bindgen::JsCast;
use web_sys::{Performance, WorkerGlobalScope};

/// Tokens after which the choice is made anew. A browser first compiles a module quickly, then well, behind its back and beside other workers that load: until it has, what is measured may
/// be the wrong way round.
const WARM: usize = 4096;

/// The choice, and what it needs to be made.
pub struct Tuning {
    choice: KernelChoice,
    clock: Option<Performance>,
    tokens: Cell<usize>,
}

impl Tuning {
    /// Chosen for the beginning.
    pub fn new() -> Tuning {
        let clock = js_sys::global()
            .unchecked_into::<WorkerGlobalScope>()
            .performance();
        let tuning = Tuning {
            choice: Int8Kernel::best().into(),
            clock,
            tokens: Cell::new(0),
        };
        tuning.measure();
        tuning
    }

    /// For the engine.
    pub fn choice(&self) -> KernelChoice {
        self.choice.clone()
    }

    /// Hears that so many tokens were rated.
    pub fn rated(&self, tokens: usize) {
        let before = self.tokens.get();
        self.tokens.set(before.saturating_add(tokens));
        if before < WARM && self.tokens.get() >= WARM {
            self.measure();
        }
    }

    fn measure(&self) {
        self.choice
            .measure(|| self.clock.as_ref().map_or_else(Date::now, Performance::now));
    }
}
