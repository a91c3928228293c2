//! The table that is rated: its file, its columns, and what is known of its ratings.

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
use crate::starsight::Trouble;
use crate::views::many::desk::Desk;

/// Whether something is being done, and whether it has to be done again.
pub(super) type Again = Rc<(Cell<bool>, Cell<bool>)>;

/// The shortest time between two looks at the ratings, of which hundreds come in a second.
const LOOK: Duration = Duration::from_millis(200);

/// What is to be rated.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Nothing as yet.
    Nothing,
    /// A file that is being read, and the share that is.
    Reading(String, f64),
    /// A file that could not be read.
    Refused(String, Trouble),
    /// A table.
    Open(Arc<Opened>),
}

/// A table that was read.
#[derive(Debug, PartialEq)]
pub struct Opened {
    /// Its name; none for pasted lines.
    pub name: Option<String>,
    /// Its size in bytes.
    pub bytes: f64,
    /// What is known of it.
    pub described: Described,
}

/// The table, for the parts of the view.
#[derive(Clone, Copy)]
pub struct Sheet {
    /// What is to be rated.
    pub source: RwSignal<Source>,
    /// The columns that are used.
    pub choice: RwSignal<ColumnChoice>,
    /// What they give.
    pub chosen: RwSignal<Chosen>,
    /// What the ratings amount to.
    pub summary: RwSignal<Summary>,
    /// Grows when rows may look otherwise than before.
    pub changes: RwSignal<u32>,
    /// How many tables were opened so far.
    pub tables: RwSignal<u32>,
    /// Whether a file is being read; what is shown may still be the table before.
    pub is_reading: RwSignal<bool>,
    /// How often a file was opened or closed: what an earlier one answers is of no use any more.
    turns: StoredValue<u32>,
    desk: StoredValue<Desk, LocalStorage>,
    blob: StoredValue<Option<Blob>, LocalStorage>,
    /// Whether the ratings were looked at lately, and whether others came since.
    looks: StoredValue<Again, LocalStorage>,
}

impl Sheet {
    /// Nothing to rate.
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
            desk: StoredValue::new_local(Desk::new()),
            blob: StoredValue::new_local(None),
            looks: StoredValue::new_local(Rc::default()),
        }
    }

    /// Its worker.
    pub fn desk(self) -> Desk {
        self.desk.get_value()
    }

    /// The table, if there is one. Reactive.
    pub fn opened(self) -> Option<Arc<Opened>> {
        self.source.with(|source| match source {
            Source::Open(opened) => Some(Arc::clone(opened)),
            _ => None,
        })
    }

    /// Whether there is a table to rate, and no other on its way. Reactive.
    pub fn is_open(self) -> bool {
        !self.is_reading.get() && self.source.with(|source| matches!(source, Source::Open(_)))
    }

    /// Whether what is open is a file of the visitor's. Reactive.
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

    /// Reads the file again, with a first line that names the columns or that does not.
    pub fn open_again(self, header: bool) {
        let (Some(opened), Some(blob)) = (untrack(|| self.opened()), self.blob.get_value()) else {
            return;
        };
        spawn_local(async move { drop(self.read(&blob, opened.name.clone(), Some(header)).await) });
    }

    /// Takes pasted lines.
    pub async fn open_lines(self, text: &str) -> Result<(), Trouble> {
        let blob = Blob::new_with_str_sequence(&Array::of1(&text.into()))?;
        self.read(&blob, None, None).await
    }

    /// Forgets the file.
    pub fn close(self) {
        self.turn();
        self.is_reading.set(false);
        self.desk().close();
        self.blob.set_value(None);
        self.source.set(Source::Nothing);
    }

    /// Another table, or none: what was known of the one before is not true of it.
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
    ) -> Result<(), Trouble> {
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
            // Pasted lines, or a file that is read again, stay what they were meanwhile.
            self.source.maybe_update(|source| match source {
                Source::Reading(_, read) if self.turns.get_value() == turn => {
                    *read = share;
                    true
                }
                _ => false,
            });
        };
        let read = self.desk().open(blob, &opening, hear).await;
        let read = match read {
            // It is shown once all is known that is shown of it.
            Ok(described) if self.turns.get_value() == turn => {
                self.tables.update(|tables| *tables += 1);
                let chosen = self.choose(described.choice).await;
                chosen.map(|()| described)
            }
            read => read,
        };
        if self.turns.get_value() != turn {
            // Another file was chosen meanwhile, or this one closed.
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
            Err(trouble) => {
                self.source.set(if name.is_some() {
                    Source::Refused(file, trouble.clone())
                } else {
                    Source::Nothing
                });
                Err(trouble)
            }
        }
    }

    /// Uses other columns.
    pub async fn choose(self, choice: ColumnChoice) -> Result<(), Trouble> {
        let turn = self.turns.get_value();
        self.choice.set(choice);
        let chosen = self.desk().ask(Request::Choose(choice)).await?;
        if self.turns.get_value() == turn {
            self.chosen.set(chosen);
        }
        self.look().await
    }

    /// Learns what the ratings amount to.
    pub async fn look(self) -> Result<(), Trouble> {
        let turn = self.turns.get_value();
        let summary = self.desk().ask(Request::Summary).await?;
        if self.turns.get_value() == turn {
            self.summary.set(summary);
            self.changes.update(|changes| *changes += 1);
        }
        Ok(())
    }

    /// The same soon, however often it is asked for.
    pub fn look_soon(self) {
        let looks = self.looks.get_value();
        looks.1.set(true);
        if looks.0.replace(true) {
            return;
        }
        spawn_local(async move {
            while looks.1.take() {
                // What went wrong is told by whoever rates.
                drop(self.look().await);
                crate::frame::pause(LOOK).await;
            }
            looks.0.set(false);
        });
    }
}
