//! Base models: pretrained folders, new models, trimmed vocabularies, the starter; and checks of
//! their files.

pub mod base;
pub mod fresh;
pub mod inherit;
pub mod pieces;
pub mod starter;
pub mod trim;
pub mod verify;
pub mod wordpiece;
