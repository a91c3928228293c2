//! Texts without meaning: random letters, digits, signs, and scripts that no review is written in.

use starsight_model::rng;

/// Seed of all draws.
pub const SEED: u64 = 0x6e6f_7468;

/// First character and length of alphabets: Greek, Armenian, Hebrew, Devanagari, Bengali, Tamil,
/// Telugu, Sinhala, Georgian, Ethiopic, Khmer, Hiragana, Katakana.
const SCRIPTS: [(u32, u32); 13] = [
    (0x3b1, 24),
    (0x561, 38),
    (0x5d0, 27),
    (0x905, 53),
    (0x985, 40),
    (0xb85, 50),
    (0xc05, 60),
    (0xd85, 60),
    (0x10d0, 33),
    (0x1200, 200),
    (0x1780, 51),
    (0x3041, 83),
    (0x30a1, 83),
];

/// Text number `i`.
pub fn text(i: u64) -> String {
    let key = rng::stream(SEED, i);
    let mut drawn = 0;
    let mut below = |n: u32| {
        drawn += 1;
        (rng::bits(key, drawn) % u64::from(n)) as u32
    };
    let (start, length) = match below(10) {
        0..4 => ('a' as u32, 26),
        4 => ('0' as u32, 10),
        5 => ('!' as u32, 15),
        _ => SCRIPTS[below(SCRIPTS.len() as u32) as usize],
    };
    let words = 1 + below(6);
    let mut text = String::new();
    for word in 0..words {
        if word > 0 {
            text.push(' ');
        }
        let letters = 1 + below(8);
        (0..letters).for_each(|_| text.extend(char::from_u32(start + below(length))));
    }
    text
}
