//! The Hub's access token.

use std::{fmt, path::Path};

use anyhow::{Context, Result, ensure};

/// An access token. It is hidden in `Debug`, and sent only in a header, never in an address.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Takes a token from a file or a variable; `origin` names it in errors.
    ///
    /// # Errors
    /// When the text cannot be a token.
    pub fn new(text: &str, origin: &str) -> Result<Token> {
        let token = text.trim();
        ensure!(!token.is_empty(), "{origin}: no token");
        ensure!(
            token.bytes().all(|b| b.is_ascii_graphic()),
            "{origin}: more than a token; expected one line such as hf_..."
        );
        Ok(Token(token.to_owned()))
    }

    /// Reads the token in the file at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, or contains no token.
    pub fn from_file(path: &Path) -> Result<Token> {
        let origin = format!("token file {}", path.display());
        Token::new(
            &std::fs::read_to_string(path).with_context(|| origin.clone())?,
            &origin,
        )
    }

    /// Finds the token: in `file` (`--token-file`), in `HF_TOKEN`, or in the file that `hf auth
    /// login` writes (`HF_TOKEN_PATH`, or `token` in `HF_HOME`). With
    /// `HF_HUB_DISABLE_IMPLICIT_TOKEN` only `file` is used.
    ///
    /// # Errors
    /// When the first place with a value contains something that cannot be a token.
    pub fn find(file: Option<&Path>) -> Result<Option<Token>> {
        Token::find_in(
            file,
            |name| {
                std::env::var(name)
                    .ok()
                    .filter(|value| !value.trim().is_empty())
            },
            &hf_hub::hf_home(),
        )
    }

    fn find_in(
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<String>,
        home: &Path,
    ) -> Result<Option<Token>> {
        if let Some(file) = file {
            return Token::from_file(file).map(Some);
        }
        if variable("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some() {
            return Ok(None);
        }
        if let Some(token) = variable("HF_TOKEN") {
            return Token::new(&token, "HF_TOKEN").map(Some);
        }
        let file = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), Into::into);
        // Logging out may leave an empty file.
        match std::fs::read_to_string(&file) {
            Ok(text) if !text.trim().is_empty() => {
                Token::new(&text, &format!("token file {}", file.display())).map(Some)
            }
            _ => Ok(None),
        }
    }

    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_that_holds_a_token_counts() {
        let home = tempfile::tempdir().unwrap();
        let find = |file: Option<&Path>, variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                variables
                    .iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            Token::find_in(file, variable, home.path())
                .unwrap()
                .map(|token| token.0)
        };
        assert_eq!(find(None, &[]), None);
        std::fs::write(home.path().join("token"), "of-home\n").unwrap();
        assert_eq!(find(None, &[]).as_deref(), Some("of-home"));
        std::fs::write(home.path().join("other"), "of-path").unwrap();
        let path = home.path().join("other").display().to_string();
        assert_eq!(
            find(None, &[("HF_TOKEN_PATH", &path)]).as_deref(),
            Some("of-path")
        );
        assert_eq!(
            find(
                None,
                &[("HF_TOKEN_PATH", &path), ("HF_TOKEN", "of-variable")]
            )
            .as_deref(),
            Some("of-variable")
        );
        std::fs::write(home.path().join("mine"), "  of-file\n").unwrap();
        let mine = home.path().join("mine");
        assert_eq!(
            find(Some(&mine), &[("HF_TOKEN", "of-variable")]).as_deref(),
            Some("of-file")
        );
        assert_eq!(
            find(
                None,
                &[
                    ("HF_TOKEN", "of-variable"),
                    ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
                ]
            ),
            None
        );
    }

    #[test]
    fn a_token_never_shows() {
        assert_eq!(
            format!("{:?}", Token::new("hf_secret", "test").unwrap()),
            "Token(hidden)"
        );
        let error = Token::new("hf_secret hf_other", "HF_TOKEN")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("HF_TOKEN") && !error.contains("secret"),
            "{error}"
        );
        assert!(Token::new(" \n", "HF_TOKEN").is_err());
    }
}
