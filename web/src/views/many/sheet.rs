//! The table to rate: its file, its columns and a summary of its ratings.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use js_sys::Array;
use leptos::prelude::*;
use leptos::task::spawn_local;
use starsight_table::protocol::{Chosen, ColumnChoice, Described, Opening, Request, Summary};
use wasm_bindgen::JsCast;
use web_sys::{Blob, File};

use crate::model::superseded;
use crate::starsight::ScriptError;
use crate::views::many::table_worker::TableWorker;

/// Whether an action is in progress, and whether it must be repeated.
pub(super) type Again = Rc<(Cell<bool>, Cell<bool>)>;

/// The shortest time between two updates of the summary; hundreds of ratings arrive per second.
const LOOK: Duration = Duration::from_millis(200);

/// The source of the reviews.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// No source yet.
    Nothing,
    /// A file that is being read, and the share that has been read.
    Reading(String, f64),
    /// A file that could not be read.
    Refused(String, ScriptError),
    /// A table.
    Open(Arc<Opened>),
}

/// A table that has been read.
#[derive(Debug, PartialEq)]
pub struct Opened {
    /// The file's name; `None` for pasted lines.
    pub name: Option<String>,
    /// Its size in bytes.
    pub bytes: f64,
    /// The worker's description of it.
    pub described: Described,
}

/// The table's state, shared by the parts of the view.
#[derive(Clone, Copy)]
pub struct Sheet {
    /// The source of the reviews.
    pub source: RwSignal<Source>,
    /// The chosen columns.
    pub choice: RwSignal<ColumnChoice>,
    /// What the chosen columns contain.
    pub chosen: RwSignal<Chosen>,
    /// The summary of the ratings.
    pub summary: RwSignal<Summary>,
    /// Incremented when the content of rows may have changed.
    pub changes: RwSignal<u32>,
    /// The number of tables opened so far.
    pub tables: RwSignal<u32>,
    /// Whether a file is being read; the previous table may still be shown.
    pub is_reading: RwSignal<bool>,
    /// How often a file was opened or closed. Answers for an earlier turn are discarded.
    turns: StoredValue<u32>,
    worker: StoredValue<TableWorker, LocalStorage>,
    blob: StoredValue<Option<Blob>, LocalStorage>,
    /// Whether the summary was updated recently, and whether ratings have arrived since.
    looks: StoredValue<Again, LocalStorage>,
}

impl Sheet {
    /// A sheet without a table.
    pub fn new() -> Sheet {
        Sheet {
            source: RwSignal::new(Source::Nothing),
            choice: RwSignal::default(),
            chosen: RwSignal::default(),
            summary: RwSignal::default(),
            changes: RwSignal::default(),
            tables: RwSignal::default(),
            is_reading: RwSignal::new(false),
            turns: StoredValue::new(0),
            worker: StoredValue::new_local(TableWorker::new()),
            blob: StoredValue::new_local(None),
            looks: StoredValue::new_local(Rc::default()),
        }
    }

    /// The table's worker.
    pub fn worker(self) -> TableWorker {
        self.worker.get_value()
    }

    /// The table, if there is one. Reactive.
    pub fn opened(self) -> Option<Arc<Opened>> {
        self.source.with(|source| match source {
            Source::Open(opened) => Some(Arc::clone(opened)),
            _ => None,
        })
    }

    /// Whether there is a table to rate and no other is being read. Reactive.
    pub fn is_open(self) -> bool {
        !self.is_reading.get() && self.source.with(|source| matches!(source, Source::Open(_)))
    }

    /// Whether the source is a file of the visitor's. Reactive.
    pub fn has_file(self) -> bool {
        self.source.with(|source| match source {
            Source::Nothing => false,
            Source::Open(opened) => opened.name.is_some(),
            _ => true,
        })
    }

    /// Reads a file.
    pub fn open_file(self, file: &File) {
        let name = file.name();
        self.source.set(Source::Reading(name.clone(), 0.0));
        let blob: Blob = file.clone().unchecked_into();
        self.blob.set_value(Some(blob.clone()));
        spawn_local(async move { drop(self.read(&blob, Some(name), None).await) });
    }

    /// Reads the file again, with or without a header line.
    pub fn open_again(self, header: bool) {
        let (Some(opened), Some(blob)) = (untrack(|| self.opened()), self.blob.get_value()) else {
            return;
        };
        spawn_local(async move { drop(self.read(&blob, opened.name.clone(), Some(header)).await) });
    }

    /// Opens pasted lines as a table.
    pub async fn open_lines(self, text: &str) -> Result<(), ScriptError> {
        let blob = Blob::new_with_str_sequence(&Array::of1(&text.into()))?;
        self.read(&blob, None, None).await
    }

    /// Closes the file.
    pub fn close(self) {
        self.turn();
        self.is_reading.set(false);
        self.worker().close();
        self.blob.set_value(None);
        self.source.set(Source::Nothing);
    }

    /// Begins a new turn, for another table or none, and clears what was known of the previous one.
    fn turn(self) -> u32 {
        let turn = self.turns.get_value() + 1;
        self.turns.set_value(turn);
        self.summary.set(Summary::default());
        self.chosen.set(Chosen::default());
        turn
    }

    async fn read(
        self,
        blob: &Blob,
        name: Option<String>,
        header: Option<bool>,
    ) -> Result<(), ScriptError> {
        let turn = self.turn();
        self.is_reading.set(true);
        // Pasted lines are a text file without a name.
        let file = name.clone().unwrap_or_else(|| "lines.txt".into());
        let opening = Opening {
            name: file.clone(),
            bytes: blob.size() as u64,
            header,
        };
        let hear = move |share| {
            // For pasted lines, or a file that is read again, the source does not change meanwhile.
            self.source.maybe_update(|source| match source {
                Source::Reading(_, read) if self.turns.get_value() == turn => {
                    *read = share;
                    true
                }
                _ => false,
            });
        };
        let read = self.worker().open(blob, &opening, hear).await;
        let read = match read {
            // The table is shown only when everything that is shown about it is known.
            Ok(described) if self.turns.get_value() == turn => {
                self.tables.update(|tables| *tables += 1);
                let chosen = self.choose(described.choice).await;
                chosen.map(|()| described)
            }
            read => read,
        };
        if self.turns.get_value() != turn {
            // Another file was chosen meanwhile, or this one was closed.
            return Err(superseded());
        }
        self.is_reading.set(false);
        match read {
            Ok(described) => {
                self.source.set(Source::Open(Arc::new(Opened {
                    name,
                    bytes: blob.size(),
                    described,
                })));
                Ok(())
            }
            Err(error) => {
                self.source.set(if name.is_some() {
                    Source::Refused(file, error.clone())
                } else {
                    Source::Nothing
                });
                Err(error)
            }
        }
    }

    /// Switches to other columns.
    pub async fn choose(self, choice: ColumnChoice) -> Result<(), ScriptError> {
        let turn = self.turns.get_value();
        self.choice.set(choice);
        let chosen = self.worker().ask(Request::Choose(choice)).await?;
        if self.turns.get_value() == turn {
            self.chosen.set(chosen);
        }
        self.look().await
    }

    /// Updates the summary of the ratings.
    pub async fn look(self) -> Result<(), ScriptError> {
        let turn = self.turns.get_value();
        let summary = self.worker().ask(Request::Summary).await?;
        if self.turns.get_value() == turn {
            self.summary.set(summary);
            self.changes.update(|changes| *changes += 1);
        }
        Ok(())
    }

    /// Like [`Sheet::look`], soon and at a limited rate, however often it is called.
    pub fn look_soon(self) {
        let looks = self.looks.get_value();
        looks.1.set(true);
        if looks.0.replace(true) {
            return;
        }
        spawn_local(async move {
            while looks.1.take() {
                // Errors are reported by the run.
                drop(self.look().await);
                crate::frame::pause(LOOK).await;
            }
            looks.0.set(false);
        });
    }
}
