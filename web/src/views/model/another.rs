//! Loading another model: by its name, by its folder, or from local files.

use leptos::prelude::*;

use crate::address::Address;
use crate::focus::focus;
use crate::model::Model;
use crate::starsight::ModelRequest;
use crate::views::model::drop::DropZone;
use crate::words::model as words;
use crate::words::shell;

/// A form for a name and a token, and a drop zone for files.
#[component]
pub fn Another() -> impl IntoView {
    let address = expect_context::<Address>();
    let model = expect_context::<Model>();
    let name = RwSignal::new(String::new());
    let token = RwSignal::new(String::new());
    let hint = RwSignal::new("");
    // The address may already name this model while local files are used instead.
    let go = move |request: ModelRequest| {
        if request == address.request.get_untracked() {
            model.start_wanted();
        } else {
            address.ask_for(&request);
        }
    };
    let load = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let name = name.get_untracked().trim().to_owned();
        if name.is_empty() {
            hint.set(words::NO_NAME);
            return;
        }
        hint.set("");
        model.set_token(token.get_untracked().trim());
        go(ModelRequest {
            model: Some(name),
            ..address.request.get_untracked()
        });
    };
    let own = move |_| {
        go(ModelRequest {
            model: None,
            ..address.request.get_untracked()
        });
        // The button disappears, so the focus moves.
        focus("another");
    };
    let is_another =
        move || model.is_from_files() || address.request.with(|request| request.model.is_some());
    view! {
        <section class="card another" aria-labelledby="another-title">
            <h2 id="another-title">{words::ANOTHER}</h2>
            <form class="another__form" on:submit=load>
                <div class="field">
                    <label for="another">{words::WHICH}</label>
                    <input
                        id="another"
                        type="text"
                        autocomplete="off"
                        autocapitalize="none"
                        spellcheck="false"
                        placeholder=words::WHICH_PLACEHOLDER
                        aria-describedby="another-hint"
                        prop:value=move || name.get()
                        on:input=move |event| name.set(event_target_value(&event))
                    />
                </div>
                // If the page must be reloaded to contact a Hub, it would lose a token that was
                // typed here. It asks for one after the Hub has refused access.
                <Show when=move || !address.is_narrowed>
                    <div class="field">
                        <label for="another-token">{shell::TOKEN}</label>
                        <input
                            id="another-token"
                            type="password"
                            autocomplete="off"
                            aria-describedby="another-token-use"
                            prop:value=move || token.get()
                            on:input=move |event| token.set(event_target_value(&event))
                        />
                        <p class="caption" id="another-token-use">{shell::TOKEN_USE}</p>
                    </div>
                </Show>
                <div class="another__buttons">
                    <button class="button button--main" id="load-another" type="submit">{words::LOAD}</button>
                    <Show when=is_another>
                        <button class="button" id="load-own" type="button" on:click=own>{words::OWN}</button>
                    </Show>
                    <p class="caption another__hint" id="another-hint" role="status">{move || hint.get()}</p>
                </div>
            </form>
            <DropZone/>
        </section>
    }
}
