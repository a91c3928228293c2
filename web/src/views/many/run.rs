//! Many reviews being rated: what is known so far, and the drawing's share of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::{Array, JsString};
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use web_sys::AbortController;

use crate::frame::{OnceAFrame, breathe};
use crate::model::Model;
use crate::starsight::{Rating, Speed, Trouble};
use crate::views::many::csv;

/// Rows of the table. More would cost the browser seconds and be read by nobody.
const MOST_ROWS: usize = 500;

/// Rows drawn between two breaths.
const ROWS_AT_ONCE: usize = 40;

/// Lines of CSV written between two breaths.
const LINES_AT_ONCE: usize = 2000;

/// Where a run stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Not begun.
    Idle,
    /// Under way.
    Running,
    /// Every review is rated.
    Done,
    /// The reader stopped it.
    Stopped,
    /// It broke off.
    Failed(Trouble),
}

/// How far and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// Reviews turned into tokens.
    pub tokenised: f64,
    /// Reviews rated.
    pub rated: f64,
    /// Seconds since the start.
    pub seconds: f64,
    /// Reviews a second.
    pub samples_per_second: f64,
    /// Tokens a second.
    pub tokens_per_second: f64,
}

impl Figures {
    fn of(speed: &Speed, tokenised: f64, rated: f64) -> Figures {
        Figures {
            tokenised,
            rated,
            seconds: speed.seconds(),
            samples_per_second: speed.samples_per_second(),
            tokens_per_second: speed.tokens_per_second(),
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone)]
pub struct Row {
    /// The run that it belongs to, and its place in it from 0.
    pub key: (u32, usize),
    /// The review.
    pub review: String,
    /// Its rating, once there is one.
    pub rating: ArcRwSignal<Option<Rating>>,
}

/// The reviews of a run and their ratings.
#[derive(Default)]
struct Board {
    run: u32,
    reviews: Array,
    ratings: Vec<Option<Rating>>,
    counts: [u32; 5],
    /// Rated since the last drawing, among those with a row.
    fresh: Vec<usize>,
}

/// A run over many reviews.
#[derive(Clone, Copy)]
pub struct Run {
    /// Where it stands.
    pub phase: RwSignal<Phase>,
    /// How far and how fast.
    pub figures: RwSignal<Figures>,
    /// How many reviews it is about.
    pub total: RwSignal<usize>,
    /// How many got 1 to 5 stars.
    pub counts: RwSignal<[u32; 5]>,
    /// The rows of the table.
    pub rows: RwSignal<Vec<Row>>,
    board: StoredValue<Rc<RefCell<Board>>, LocalStorage>,
    stop: StoredValue<Option<AbortController>, LocalStorage>,
}

impl Run {
    /// Not begun.
    pub fn new() -> Run {
        Run {
            phase: RwSignal::new(Phase::Idle),
            figures: RwSignal::default(),
            total: RwSignal::new(0),
            counts: RwSignal::default(),
            rows: RwSignal::default(),
            board: StoredValue::new_local(Rc::default()),
            stop: StoredValue::new_local(None),
        }
    }

    /// Whether it is under way. Reactive.
    pub fn is_running(self) -> bool {
        self.phase.with(|phase| *phase == Phase::Running)
    }

    /// Rates `reviews`, an array of strings, in place of what was rated before. `finished` is called at the end, however it ends.
    pub fn start(self, model: Model, reviews: Array, finished: impl FnOnce() + 'static) {
        let Ok(controller) = AbortController::new() else { return };
        let board = self.board.get_value();
        let total = reviews.length() as usize;
        {
            let mut board = board.borrow_mut();
            *board = Board { run: board.run + 1, reviews: reviews.clone(), ratings: vec![None; total], ..Board::default() };
        }
        self.total.set(total);
        self.figures.set(Figures::default());
        self.counts.set([0; 5]);
        self.rows.set(Vec::new());
        self.phase.set(Phase::Running);
        self.draw_rows();

        let signal = controller.signal();
        self.stop.set_value(Some(controller));
        let figures = Rc::new(Cell::new(Figures::default()));
        let draw = OnceAFrame::new({
            let figures = Rc::clone(&figures);
            move || self.draw(figures.get())
        });
        let on_progress = {
            let (figures, draw) = (Rc::clone(&figures), draw.clone());
            move |speed: Speed| {
                figures.set(Figures::of(&speed, speed.tokenised().unwrap_or_default(), speed.rated().unwrap_or_default()));
                draw.ask();
            }
        };
        let on_ratings = move |ratings: &mut dyn Iterator<Item = (usize, Rating)>| {
            let mut board = board.borrow_mut();
            for (place, rating) in ratings {
                board.ratings[place] = Some(rating);
                board.counts[usize::from(rating.stars) - 1] += 1;
                if place < MOST_ROWS {
                    board.fresh.push(place);
                }
            }
        };
        spawn_local(async move {
            let phase = match model.rate_many(&reviews, &signal, on_progress, on_ratings).await {
                Ok(stats) => {
                    figures.set(Figures::of(&stats, total as f64, total as f64));
                    Phase::Done
                }
                Err(trouble) if trouble.is_cancel() => Phase::Stopped,
                Err(trouble) => {
                    model.note(&trouble);
                    Phase::Failed(trouble)
                }
            };
            // A hidden page has no frames, and should be complete when it is seen again.
            self.draw(figures.get());
            self.phase.set(phase);
            finished();
        });
    }

    /// Ends it early. What is rated stays.
    pub fn stop(self) {
        if let Some(controller) = self.stop.get_value() {
            controller.abort();
        }
    }

    /// Offers the ratings so far as a CSV file.
    pub fn download(self, file_name: &'static str) {
        let board = self.board.get_value();
        spawn_local(async move {
            let parts = Array::of1(&csv::HEADER.into());
            let (run, total) = (board.borrow().run, board.borrow().ratings.len());
            for start in (0..total).step_by(LINES_AT_ONCE) {
                let mut lines = String::new();
                {
                    let board = board.borrow();
                    if board.run != run {
                        return;
                    }
                    for place in start..total.min(start + LINES_AT_ONCE) {
                        if let Some(rating) = &board.ratings[place] {
                            csv::push_line(&mut lines, &text(&board.reviews, place), rating);
                        }
                    }
                }
                parts.push(&lines.into());
                breathe().await;
            }
            // It is an offer: a browser that forbids downloads tells its user so itself.
            let _ = csv::offer(&parts, file_name);
        });
    }

    /// Draws the rows of the table, a few at a time.
    fn draw_rows(self) {
        let board = self.board.get_value();
        let (run, most) = (board.borrow().run, board.borrow().ratings.len().min(MOST_ROWS));
        spawn_local(async move {
            for start in (0..most).step_by(ROWS_AT_ONCE) {
                {
                    let board = board.borrow();
                    if board.run != run {
                        return;
                    }
                    let row = |place| Row { key: (run, place), review: text(&board.reviews, place), rating: ArcRwSignal::new(board.ratings[place]) };
                    self.rows.update(|rows| rows.extend((start..most.min(start + ROWS_AT_ONCE)).map(row)));
                }
                breathe().await;
            }
        });
    }

    fn draw(self, figures: Figures) {
        let board = self.board.get_value();
        let (fresh, counts) = {
            let mut board = board.borrow_mut();
            let fresh: Vec<_> = std::mem::take(&mut board.fresh).into_iter().map(|place| (place, board.ratings[place])).collect();
            (fresh, board.counts)
        };
        self.figures.set(figures);
        self.counts.set(counts);
        self.rows.with_untracked(|rows| {
            for (place, rating) in fresh {
                // A row that is not drawn yet will find its rating on the board.
                if let Some(row) = rows.get(place) {
                    row.rating.set(rating);
                }
            }
        });
    }
}

fn text(reviews: &Array, place: usize) -> String {
    String::from(reviews.get(place as u32).unchecked_ref::<JsString>())
}
