//! Facts about the model and its origin.

use leptos::prelude::*;

use crate::components::model_strip::STRIP;
use crate::figures::millions;
use crate::focus::focus;
use crate::model::Model;
use crate::starsight::Info;
use crate::words::model as words;

/// Name, shape, size, source, hash and provenance.
#[component]
pub fn Card(info: Info) -> impl IntoView {
    let model = expect_context::<Model>();
    let written = |name| info.provenance(name).map(str::to_owned);
    let facts = [
        (words::NAME, Some(info.name.clone()), "fact"),
        (
            words::ARCHITECTURE,
            Some(words::architecture(&info)),
            "fact",
        ),
        (words::PARAMETERS, Some(millions(info.parameters)), "fact"),
        (words::SIZE, Some(words::size(&info)), "fact"),
        (words::READS, Some(words::reads(info.max_tokens)), "fact"),
        (words::BASE, written("base_model"), "fact"),
        (words::DATA, written("data"), "fact"),
        (words::CODE, written("code"), "fact"),
        (
            words::TEMPERATURE,
            (info.temperature != 1.0).then(|| format!("{:.3}", info.temperature)),
            "fact",
        ),
        (
            words::DECODING,
            words::decoding(&info.decoding).map(str::to_owned),
            "fact",
        ),
        (
            words::SOURCE,
            Some(words::source(&info.source)),
            "fact fact--wide",
        ),
        (
            words::COMMIT,
            info.commit().map(str::to_owned),
            "fact fact--wide fact--hash",
        ),
        (
            words::HASH,
            info.weights.clone(),
            "fact fact--wide fact--hash",
        ),
    ];
    let shown = facts.into_iter().filter_map(|(name, value, class)| {
        let value = value?;
        Some(view! { <div class=class><dt>{name}</dt><dd dir="auto">{value}</dd></div> })
    });
    let update = move |_| {
        focus(STRIP);
        model.update();
    };
    view! {
        <section class="card" aria-labelledby="model-title">
            <h2 id="model-title">{words::TITLE}</h2>
            <dl class="facts" id="facts">{shown.collect_view()}</dl>
            <div><button class="button" id="update" type="button" on:click=update>{words::UPDATE}</button></div>
        </section>
    }
}
