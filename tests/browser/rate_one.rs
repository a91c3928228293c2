//! One review, as a visitor rates it.

use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::common::{good, trained, unknown, words};
use crate::scene::{Browser, Process, serve};

/// The page of a small model.
async fn page() -> (Browser, String, Process, tempfile::TempDir) {
    let dir = trained();
    good(dir.path(), &words("site --model model --out site"));
    let (server, address) = serve(&dir.path().join("site"));
    let browser = Browser::open().await;
    browser.client.goto(&address).await.expect("the page");
    browser.ready().await;
    (browser, address, server, dir)
}

/// Waits until the rating is that of the typed text, and each word's effect is known.
async fn weighed(browser: &Browser) {
    browser
        .until(
            "the words",
            "return document.querySelector('.pulls').dataset.known === 'true' || null",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guess_is_called_one() {
    let dir = trained();
    unknown(dir.path(), "model", "zxcv");
    good(dir.path(), &words("site --model model --out site"));
    let (_server, address) = serve(&dir.path().join("site"));
    let browser = Browser::open().await;
    browser.client.goto(&address).await.expect("the page");
    browser.ready().await;
    let verdict = |words: &str| {
        format!(
            "const said = document.querySelector('#verdict').innerText; return said.includes('{words}') ? said : null"
        )
    };
    browser.type_into("#review", "zxcv").await;
    browser
        .until("a guess", &verdict("but that is a guess"))
        .await;
    assert!(
        browser
            .text("#guess")
            .await
            .contains("tells the model almost nothing")
    );
    browser
        .type_into("#review", "terrible, crashes all day")
        .await;
    browser
        .until("a rating", &verdict("1 star, almost certain"))
        .await;
    assert_eq!(browser.text("#guess").await, "");
    browser.show("many").await;
    browser
        .type_into("#many", "zxcv\nterrible, crashes all day")
        .await;
    browser.click("#rate-many").await;
    let status = "const said = document.querySelector('#many-status').innerText; return said.startsWith('Rated 2 reviews in ') ? said : null";
    let said = browser.until("a guess among many", status).await;
    assert!(
        said.as_str()
            .expect("text")
            .ends_with(". 1 rating is a guess: its text tells the model almost nothing"),
        "{said}"
    );
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_done_by_keyboard_alone() {
    let (browser, _, _server, _dir) = page().await;
    // Skip the navigation.
    browser.press(Key::Tab).await;
    let skip =
        browser.client.execute("return [document.activeElement.className, document.activeElement.getBoundingClientRect().width > 50]", vec![]).await;
    assert_eq!(skip.expect("a script"), json!(["skip", true]));
    browser.press(Key::Enter).await;
    assert_eq!(
        browser
            .client
            .execute("return document.activeElement.id", vec![])
            .await
            .expect("a script"),
        "content"
    );
    // Type a review; then use an example instead.
    browser.tab_to("#review").await;
    browser.write("terrible, crashes all day 😡").await;
    weighed(&browser).await;
    assert!(
        browser.text("#verdict").await.starts_with("1 star,"),
        "{}",
        browser.text("#verdict").await
    );
    browser.tab_to(".chip").await;
    browser.press(Key::Enter).await;
    let example =
        browser.until("an example", "const text = document.querySelector('#review').value; return text.startsWith('terrible') ? null : text").await;
    assert_eq!(example, json!(browser.text(".chip").await));
    weighed(&browser).await;
    // The other views, forward and back.
    browser
        .client
        .execute("document.querySelector('.skip').focus()", vec![])
        .await
        .expect("a script");
    browser.tab_to("[data-tab=speed]").await;
    browser.press(Key::Enter).await;
    assert_eq!(
        browser.text("main .view:not([hidden]) h2").await,
        "Right now"
    );
    browser.client.back().await.expect("back");
    browser
        .until(
            "the first view",
            "return document.querySelector('main').dataset.view === 'one' || null",
        )
        .await;
    assert_eq!(
        browser
            .client
            .execute("return document.querySelector('#review').value", vec![])
            .await
            .expect("a script"),
        example
    );
    // The focused element has a visible outline.
    for selector in ["[data-tab=many]", "#review", ".chip", "#share"] {
        browser
            .client
            .execute("document.querySelector('.skip').focus()", vec![])
            .await
            .expect("a script");
        browser.tab_to(selector).await;
        let outline = browser
            .client
            .execute(
                "return parseFloat(getComputedStyle(document.activeElement).outlineWidth)",
                vec![],
            )
            .await
            .expect("a script");
        assert!(
            outline.as_f64().is_some_and(|width| width >= 2.0),
            "{selector}: {outline}"
        );
    }
    assert_eq!(browser.errors().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_that_pull_a_rating_are_marked_and_named() {
    let (browser, _, _server, _dir) = page().await;
    // Computes each word's effect with the module, for a text whose words pull in both directions.
    let worked_out = browser
        .call(
            "const { load } = await import('./starsight.js');
            const rater = await load({ workers: 1 });
            let found = null;
            for (const text of args) {
                const words = text.split(' ');
                const without = words.map((_, i) => words.filter((_, j) => j !== i).join(' '));
                const { ratings } = await rater.rate([text, ...without]);
                const pulls = words.map((word, i) => [word, ratings[0].expected - ratings[i + 1].expected]);
                found ??= [1, -1].every((sign) => pulls.some(([, by]) => sign * by > 0.2)) ? [text, pulls] : null;
            }
            rater.free();
            return found",
            json!([
                "great but slow",
                "great app, bad and slow",
                "good but terrible",
                "love it but it crashes",
                "okay but great app",
                "great app, it is okay",
                "good app, terrible"
            ]),
        )
        .await;
    let (text, pulls): (String, Vec<(String, f64)>) =
        serde_json::from_value(worked_out).expect("a text with pulls in both directions");
    browser.type_into("#review", &text).await;
    weighed(&browser).await;
    let marks = browser
        .call(
            "const marks = [...document.querySelectorAll('.pull')];
            const line = (mark) => { const { textDecorationLine, textDecorationStyle } = getComputedStyle(mark); return `${textDecorationLine} ${textDecorationStyle}`; };
            const of = (kind) => marks.filter((mark) => mark.classList.contains(`pull--${kind}`));
            const look = (kind) => [...new Set(of(kind).map((mark) => `${line(mark)} ${getComputedStyle(mark, '::after').content[1]}`))];
            return { text: document.querySelector('.pulls__text').textContent, up: of('up').map((mark) => mark.textContent), down: of('down').map((mark) => mark.textContent),
                looks: [look('up'), look('down')] }",
            Value::Null,
        )
        .await;
    // Each of the five probabilities is shown beside its bar.
    let figures = "return [...document.querySelectorAll('#probabilities .bar')].map((bar) => [bar.querySelector('.bar__figure').innerText, +bar.dataset.value])";
    let figures: Vec<(String, f64)> =
        serde_json::from_value(browser.call(figures, Value::Null).await).expect("figures");
    assert!(
        figures.len() == 5
            && figures
                .iter()
                .all(|(figure, p)| *figure == format!("{:.1}%", p * 100.0)),
        "{figures:?}"
    );
    assert!(
        (figures.iter().map(|(_, p)| p).sum::<f64>() - 1.0).abs() < 1e-4,
        "{figures:?}"
    );
    // The marks differ in more than colour.
    assert_eq!(
        marks["looks"],
        json!([["underline solid +"], ["underline dashed −"]]),
        "{marks}"
    );
    assert_eq!(marks["text"], text);
    for (kind, sign) in [("up", 1.0), ("down", -1.0)] {
        // Words near the threshold may go either way: the variant without the last word has one
        // space fewer.
        let sure: Vec<&String> = pulls
            .iter()
            .filter(|(_, by)| by * sign > 0.11)
            .map(|(word, _)| word)
            .collect();
        let marked: Vec<String> = serde_json::from_value(marks[kind].clone()).expect("words");
        assert!(
            !sure.is_empty() && sure.iter().all(|word| marked.contains(word)),
            "{kind}: {marked:?} of {pulls:?}"
        );
        assert!(
            marked.iter().all(|word| pulls
                .iter()
                .any(|(known, by)| known == word && by * sign > 0.09)),
            "{kind}: {marked:?} of {pulls:?}"
        );
        let named = browser.text(&format!("#pulls-{kind}")).await;
        let (strongest, by) = pulls
            .iter()
            .max_by(|one, other| (one.1 * sign).total_cmp(&(other.1 * sign)))
            .expect("a word");
        let figure = format!(
            "{strongest} {}{:.1}",
            if sign > 0.0 { '+' } else { '−' },
            by.abs()
        );
        assert!(named.starts_with(&figure), "{named} begins with {figure}");
    }
    // A long review is analysed by groups of words, and the page says so.
    browser
        .type_into("#review", &"it is okay but needs work ".repeat(40))
        .await;
    weighed(&browser).await;
    assert!(
        browser
            .text("#pulls-note")
            .await
            .contains("words at a time"),
        "{}",
        browser.text("#pulls-note").await
    );
    assert!(
        browser
            .text(".one__rating .caption")
            .await
            .contains("only the first 24 tokens were read"),
        "{}",
        browser.text(".one__rating .caption").await
    );
    // Right-to-left text; below, a word of 300 letters.
    browser.type_into("#review", "تطبيق رائع جدا").await;
    weighed(&browser).await;
    let direction = "return ['#review', '.pulls__text'].map((name) => getComputedStyle(document.querySelector(name)).direction)";
    assert_eq!(
        browser
            .client
            .execute(direction, vec![])
            .await
            .expect("a script"),
        json!(["rtl", "rtl"])
    );
    // Right-to-left words are isolated, so that figures keep their direction.
    let figures = "return [...document.querySelectorAll('.pulls__named bdi[dir=ltr]')].every((figure) => /^[+−]\\d\\.\\d$/.test(figure.innerText))";
    assert_eq!(
        browser
            .client
            .execute(figures, vec![])
            .await
            .expect("a script"),
        json!(true)
    );
    browser.screen(360, "light").await;
    browser
        .type_into("#review", &format!("{} bad", "A".repeat(300)))
        .await;
    weighed(&browser).await;
    let wide = browser
        .client
        .execute(
            "return Math.max(0, document.documentElement.scrollWidth - innerWidth)",
            vec![],
        )
        .await
        .expect("a script");
    assert_eq!(wide, json!(0));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_answer_never_replaces_a_newer_one() {
    let (browser, address, _server, _dir) = page().await;
    // The worker's answer for the older review comes late, after the answer for the newer one.
    let late = "const Real = Worker;
        window.Worker = class extends Real {
            delay = 0;
            postMessage(message, ...rest) { if (message.type === 'rate') this.delay = message.texts.length === 1 && message.texts[0].startsWith('terrible') ? 1000 : 0; super.postMessage(message, ...rest); }
            set onmessage(hear) { super.onmessage = (event) => { const { delay } = this; setTimeout(() => hear(event), delay); }; }
        }";
    browser.before_each_page(late).await;
    browser.client.goto(&address).await.expect("the page");
    browser.ready().await;
    let watch = "window.shown = [];
        const verdict = document.querySelector('#verdict');
        new MutationObserver(() => verdict.dataset.stars && shown.push([document.querySelector('#review').value, verdict.dataset.stars])).observe(verdict, { attributes: true })";
    browser.call(watch, Value::Null).await;
    browser
        .type_into("#review", "terrible, crashes all day")
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    browser.type_into("#review", "great app, love it").await;
    browser
        .until(
            "the newer answer",
            "return document.querySelector('#verdict').dataset.stars === '5' || null",
        )
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let shown = browser
        .client
        .execute("return shown", vec![])
        .await
        .expect("a script");
    assert_eq!(
        shown.as_array().and_then(|shown| shown.last().cloned()),
        Some(json!(["great app, love it", "5"])),
        "{shown}"
    );
    // An emptied box has no rating, even while one is being computed.
    browser
        .type_into("#review", "terrible, crashes all day")
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    browser.type_into("#review", "").await;
    tokio::time::sleep(std::time::Duration::from_millis(1800)).await;
    let left = browser
        .client
        .execute(
            "return document.querySelector('#verdict').dataset.stars ?? null",
            vec![],
        )
        .await
        .expect("a script");
    assert_eq!(left, Value::Null);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_is_in_an_address_only_when_asked() {
    let (browser, address, _server, _dir) = page().await;
    let review = "great app, love it 😍 #1 & more";
    browser.type_into("#review", review).await;
    weighed(&browser).await;
    let plain = browser.client.current_url().await.expect("an address");
    assert!(!plain.as_str().contains("great"), "{plain}");
    browser
        .devtools("Browser.grantPermissions", json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": address }))
        .await;
    browser.click("#share").await;
    browser.until("the copy", "return document.querySelector('.share [role=status]').innerText.includes('Copied') || null").await;
    let link = browser
        .call("return navigator.clipboard.readText()", Value::Null)
        .await;
    let link = link.as_str().expect("a link");
    assert!(
        link.starts_with(&format!("{address}/#review=great%20app")),
        "{link}"
    );
    assert_eq!(
        browser.client.current_url().await.expect("an address"),
        plain
    );

    // Another visitor opens it.
    browser.client.goto("about:blank").await.expect("a page");
    browser.client.goto(link).await.expect("the page");
    browser.ready().await;
    weighed(&browser).await;
    assert_eq!(
        browser
            .client
            .execute("return document.querySelector('#review').value", vec![])
            .await
            .expect("a script"),
        json!(review)
    );
    // What is typed after that does not appear in the address.
    browser.type_into("#review", "terrible, crashes").await;
    weighed(&browser).await;
    let after = browser.client.current_url().await.expect("an address");
    assert_eq!(after.fragment(), None, "{after}");
    // Without a clipboard the link is shown.
    let denied = "Object.defineProperty(navigator, 'clipboard', { value: undefined })";
    browser.call(denied, Value::Null).await;
    browser.click("#share").await;
    let shown = browser
        .until(
            "the link",
            "return document.querySelector('.share textarea')?.value ?? null",
        )
        .await;
    assert!(
        shown
            .as_str()
            .is_some_and(|link| link.ends_with("#review=terrible%2C%20crashes")),
        "{shown}"
    );
    browser.close().await;
}
