//! Statements of the configuration with `{{placeholders}}`, which the engine quotes by their position.
//!
//! `{{name}}` is the account as an identifier; `{{verifier}}`, `{{expires_at}}` and `{{params.x}}` are text literals. There is
//! none for the password: the target never sees it (law 6). A placeholder inside quotes or a comment is refused, because
//! there our quoting would not protect anything.

use std::collections::BTreeMap;

use crate::quote::{BadText, Ident, quote_literal};

/// Longest statement, in bytes.
const STATEMENT_BYTES_MAX: usize = 16 * 1024;

/// One statement, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Name,
    Verifier,
    ExpiresAt,
    Param(String),
}

/// What the placeholders stand for.
pub(crate) struct Values<'a> {
    pub(crate) name: &'a Ident,
    /// Empty where there is none: at revocation.
    pub(crate) verifier: &'a str,
    /// Likewise.
    pub(crate) expires_at: &'a str,
    pub(crate) params: &'a BTreeMap<String, String>,
}

impl Template {
    /// Checks one statement; `param` says whether a param of that name exists, `minting` whether there is a verifier.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str, minting: bool, param: impl Fn(&str) -> bool) -> Result<Self, String> {
        if text.trim().is_empty() || text.contains('\0') || text.len() > STATEMENT_BYTES_MAX {
            return Err(format!("must be one SQL statement of at most {STATEMENT_BYTES_MAX} bytes, without NUL"));
        }
        let text = text.trim_end().trim_end_matches(';');
        refuse_transaction_control(text)?;
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(next) = rest.find(['\'', '"', '$', '-', '/', ';', '{']) {
            let (before, from) = rest.split_at(next);
            push_text(&mut parts, before);
            rest = if let Some(inner) = from.strip_prefix("{{") {
                let (word, after) = inner.split_once("}}").ok_or("has {{ without }}")?;
                parts.push(placeholder(word.trim(), minting, &param)?);
                after
            } else if from.starts_with(';') {
                return Err("holds two statements: give them as two entries of the list".into());
            } else {
                let opaque = opaque_bytes(from, before)?;
                let (skipped, after) = from.split_at(opaque);
                if skipped.contains("{{") {
                    return Err(format!(
                        "has a placeholder inside quotes or a comment ({skipped:.60}): write it bare, the engine quotes it"
                    ));
                }
                push_text(&mut parts, skipped);
                after
            };
        }
        push_text(&mut parts, rest);
        Ok(Self(parts))
    }

    /// The statement with every placeholder replaced by its quoted value.
    ///
    /// # Errors
    /// When a value cannot be text of PostgreSQL.
    pub(crate) fn render(&self, values: &Values<'_>) -> Result<String, BadText> {
        let mut sql = String::new();
        for part in &self.0 {
            match part {
                Part::Text(t) => sql.push_str(t),
                Part::Name => sql.push_str(&values.name.to_string()),
                Part::Verifier => sql.push_str(&quote_literal(values.verifier)?.to_string()),
                Part::ExpiresAt => sql.push_str(&quote_literal(values.expires_at)?.to_string()),
                Part::Param(p) => {
                    let value = values.params.get(p).map_or("", String::as_str);
                    sql.push_str(&quote_literal(value)?.to_string());
                }
            }
        }
        Ok(sql)
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(t)) => t.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

fn placeholder(word: &str, minting: bool, param: &impl Fn(&str) -> bool) -> Result<Part, String> {
    match word {
        "name" => Ok(Part::Name),
        "verifier" if minting => Ok(Part::Verifier),
        "expires_at" if minting => Ok(Part::ExpiresAt),
        "verifier" | "expires_at" => Err(format!("has {{{{{word}}}}}, which does not exist any more at revocation")),
        "password" => Err("asks for {{password}}: the target never sees the password, use {{verifier}}".into()),
        _ => match word.strip_prefix("params.") {
            Some(p) if param(p) => Ok(Part::Param(p.to_owned())),
            Some(p) => Err(format!("has {{{{params.{p}}}}}, but the role's params have no {p:?}")),
            None => Err(format!(
                "has the unknown placeholder {{{{{word}}}}}; there are {{{{name}}}}, {{{{verifier}}}}, \
                 {{{{expires_at}}}} and {{{{params.x}}}}"
            )),
        },
    }
}

/// A statement list runs inside the one transaction that makes the account: ending that early would undo law 3's guard.
fn refuse_transaction_control(text: &str) -> Result<(), String> {
    let word: String = after_comments(text).chars().take_while(char::is_ascii_alphabetic).collect();
    let word = word.to_ascii_uppercase();
    match word.as_str() {
        "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" | "SAVEPOINT" | "RELEASE" | "PREPARE" | "CALL"
        | "SET" | "RESET" | "DISCARD" | "COPY" => {
            Err(format!("begins with {word}: it would change the session or end the transaction that it runs in"))
        }
        _ => Ok(()),
    }
}

/// The text from its first word on. Comments may be nested here: the server skips them so.
fn after_comments(text: &str) -> &str {
    let mut rest = text.trim_start();
    loop {
        let after = if rest.starts_with("--") {
            &rest[rest.find(['\n', '\r']).unwrap_or(rest.len())..]
        } else if rest.starts_with("/*") {
            after_block_comment(rest)
        } else {
            return rest;
        };
        // What the server takes for white space and `trim` does not, or the other way round, is no letter either.
        rest = after.trim_start();
    }
}

/// What follows the comment that `text` begins with; nothing when it is not closed.
fn after_block_comment(text: &str) -> &str {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(next) = text[at..].find(['/', '*']) {
        at += next;
        match text.get(at..at + 2) {
            Some("/*") => depth += 1,
            Some("*/") => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return &text[at..];
        }
    }
    ""
}

/// How many bytes of `from` are one quoted text or comment, or the single character that is none.
fn opaque_bytes(from: &str, before: &str) -> Result<usize, String> {
    let end = |open: usize, close: &str| {
        from[open..].find(close).map(|i| open + i + close.len()).ok_or(format!("has an unclosed {}", &from[..open]))
    };
    match from.as_bytes() {
        [b'\'', ..] if is_escape_string(before) => Err("has an E'…' string: write it as '…', without escapes".into()),
        // A doubled quote closes and opens again, which comes to the same.
        [b'\'', ..] => end(1, "'"),
        [b'"', ..] => end(1, "\""),
        [b'-', b'-', ..] => Ok(from.find(['\n', '\r']).unwrap_or(from.len())),
        [b'/', b'*', ..] => {
            let close = end(2, "*/")?;
            if from[2..close].contains("/*") { Err("has nested comments".into()) } else { Ok(close) }
        }
        [b'$', ..] => match dollar_tag(from) {
            Some(tag) => end(tag.len(), tag),
            None => Ok(1),
        },
        _ => Ok(1),
    }
}

fn is_escape_string(before: &str) -> bool {
    let mut last = before.chars().rev();
    matches!(last.next(), Some('e' | 'E')) && !last.next().is_some_and(|c| c.is_alphanumeric() || c == '_')
}

fn dollar_tag(from: &str) -> Option<&str> {
    let close = from[1..].find('$')? + 1;
    let tag = &from[1..close];
    let good = !tag.starts_with(|c: char| c.is_ascii_digit()) && tag.chars().all(|c| c.is_alphanumeric() || c == '_');
    good.then_some(&from[..=close])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quote::quote_ident;

    fn render(text: &str) -> String {
        let params = BTreeMap::from([("t".to_owned(), "'; DROP ROLE x; --\\".to_owned())]);
        let name = quote_ident("lh_a\"b").unwrap();
        let values = Values { name: &name, verifier: "SCRAM", expires_at: "2026", params: &params };
        Template::parse(text, true, |p| p == "t").unwrap().render(&values).unwrap()
    }

    #[test]
    fn values_are_quoted_by_position() {
        assert_eq!(
            render("GRANT a TO {{name}} -- x'y\n; "),
            "GRANT a TO \"lh_a\"\"b\" -- x'y\n",
            "a comment hides its quotes"
        );
        assert_eq!(render("SELECT f({{ params.t }}, $$;'$$)"), "SELECT f(E'''; DROP ROLE x; --\\\\', $$;'$$)");
        assert_eq!(render("SELECT 'it''s;' , {{verifier}}, {{expires_at}}"), "SELECT 'it''s;' , 'SCRAM', '2026'");
    }

    #[test]
    fn what_we_cannot_protect_is_refused() {
        for (text, why) in [
            ("SELECT '{{name}}'", "inside quotes"),
            ("SELECT \"{{name}}\"", "inside quotes"),
            ("SELECT $x$ {{name}} $x$", "inside quotes"),
            ("SELECT 1 /* {{name}} */", "comment"),
            ("SELECT E'a'", "E'"),
            ("SELECT 1; SELECT 2", "two statements"),
            ("SELECT 1 --\r; COMMIT", "two statements"),
            ("COMMIT", "transaction"),
            ("  set role x", "session"),
            ("/* */ COMMIT", "transaction"),
            ("-- x\n /* a /* b */ c */\t-- y\nrollback", "transaction"),
            ("/**/--\n/*/**/*/SET ROLE x", "session"),
            ("\u{b}COMMIT", "transaction"),
            ("SELECT {{password}}", "never sees"),
            ("SELECT {{params.z}}", "no \"z\""),
            ("SELECT {{nam}}", "unknown placeholder"),
            ("SELECT {{name", "without }}"),
            ("SELECT 'a", "unclosed"),
            (" ", "one SQL statement"),
        ] {
            let said = Template::parse(text, true, |p| p == "t").unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
        assert!(Template::parse("SELECT {{verifier}}", false, |_| false).is_err());
    }
}
