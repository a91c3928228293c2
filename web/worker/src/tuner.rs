//! Selects the engine's kernel by measuring, because a page cannot query the processor.

use std::cell::Cell;

use js_sys::Date;
use starsight_model::int8::{Int8Kernel, KernelChoice};
use wasm_bindgen::JsCast;
use web_sys::{Performance, WorkerGlobalScope};

/// Tokens after which the kernels are measured again. A browser first compiles a module quickly,
/// and later recompiles it with optimisation, in the background and while other workers load. Until
/// then, a measurement may give the wrong order.
const WARM: usize = 4096;

/// The choice of a kernel, and what is needed to measure it.
pub struct KernelTuner {
    choice: KernelChoice,
    clock: Option<Performance>,
    tokens: Cell<usize>,
}

impl KernelTuner {
    /// Measures the kernels for the first time.
    pub fn new() -> KernelTuner {
        let clock = js_sys::global()
            .unchecked_into::<WorkerGlobalScope>()
            .performance();
        let tuner = KernelTuner {
            choice: Int8Kernel::best().into(),
            clock,
            tokens: Cell::new(0),
        };
        tuner.measure();
        tuner
    }

    /// The choice, shared with the engine.
    pub fn choice(&self) -> KernelChoice {
        self.choice.clone()
    }

    /// Records that `tokens` tokens were rated.
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
