//! What WebDriver does not offer: Chromium's DevTools, and its console messages.

use std::str::FromStr;

use axum::http::Method;
use fantoccini::Locator;
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::key::Key;
use fantoccini::wd::WebDriverCompatibleCommand;
use reqwest::Url;
use serde_json::{Value, json};

use crate::scene::Browser;

/// The axe-core that `cargo xtask setup --browser` installs; see xtask/src/axe.rs.
const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/axe.min.js");

/// A command that only chromedriver knows.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as FromStr>::Err> {
        base.join(&format!(
            "session/{}/{}",
            session.unwrap_or_default(),
            self.path
        ))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

impl Browser {
    async fn extension(&self, path: &'static str, body: Value) -> Value {
        self.client
            .issue_cmd(Extension { path, body })
            .await
            .expect("an answer")
    }

    /// A command of the DevTools protocol.
    pub async fn devtools(&self, method: &str, params: Value) -> Value {
        self.extension(
            "goog/cdp/execute",
            json!({ "cmd": method, "params": params }),
        )
        .await
    }

    /// Sets the screen's width in CSS pixels and the system's colour scheme, `light` or `dark`.
    pub async fn screen(&self, width: u32, scheme: &str) {
        let phone = width < 600;
        let metrics = json!({ "width": width, "height": if phone { 780 } else { 900 }, "deviceScaleFactor": 1, "mobile": phone });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await;
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        )
        .await;
    }

    /// Runs a script in each page before any of its own.
    pub async fn before_each_page(&self, script: &str) {
        self.devtools(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": script }),
        )
        .await;
    }

    /// The errors on the console since the last call.
    pub async fn errors(&self) -> Vec<String> {
        let log = self.extension("se/log", json!({ "type": "browser" })).await;
        let entries = log
            .as_array()
            .expect("a list")
            .iter()
            .filter(|entry| entry["level"] == "SEVERE");
        entries
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Presses a key; it goes to the focused element.
    pub async fn press(&self, key: Key) {
        // Not sent to the element: a file input would take the key for a file name.
        let value = char::from(key);
        let keys = KeyActions::new("keys".to_owned())
            .then(KeyAction::Down { value })
            .then(KeyAction::Up { value });
        self.client.perform_actions(keys).await.expect("a key");
    }

    /// Presses Tab until the focus is on `selector`.
    pub async fn tab_to(&self, selector: &str) {
        for _ in 0..60 {
            self.press(Key::Tab).await;
            let script = "return document.activeElement.matches(arguments[0])";
            if self
                .client
                .execute(script, vec![json!(selector)])
                .await
                .expect("a script")
                == json!(true)
            {
                return;
            }
        }
        panic!("the tab key never comes to {selector}");
    }

    /// Inserts a text at the focus, emoji included.
    pub async fn write(&self, text: &str) {
        self.devtools("Input.insertText", json!({ "text": text }))
            .await;
    }

    /// Clicks as a visitor does.
    pub async fn click(&self, selector: &str) {
        self.client
            .find(Locator::Css(selector))
            .await
            .unwrap_or_else(|e| panic!("{selector}: {e}"))
            .click()
            .await
            .expect("a click");
    }

    /// The text that an element shows.
    pub async fn text(&self, selector: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.innerText ?? null";
        let text = self
            .client
            .execute(script, vec![json!(selector)])
            .await
            .expect("a script");
        text.as_str()
            .unwrap_or_else(|| panic!("no {selector}"))
            .to_owned()
    }

    /// Accessibility violations by axe-core's rules, one line each.
    pub async fn hindrances(&self) -> Vec<String> {
        let axe = std::fs::read_to_string(AXE)
            .unwrap_or_else(|e| panic!("{AXE}: {e}; `cargo xtask setup --browser` gets it"));
        if self
            .client
            .execute("return Boolean(window.axe)", vec![])
            .await
            .expect("a script")
            == json!(false)
        {
            self.client.execute(&axe, vec![]).await.expect("a script");
        }
        let found = self
            .call(
                "const { violations } = await axe.run({ resultTypes: ['violations'] });
                return violations.flatMap(({ id, help, nodes }) => nodes.map(({ target, failureSummary }) => `${id} (${help}): ${target}: ${failureSummary}`))",
                Value::Null,
            )
            .await;
        found
            .as_array()
            .expect("a list")
            .iter()
            .map(|line| line.as_str().unwrap_or_default().to_owned())
            .collect()
    }
}
