//! Templates: a credential in whatever form its reader wants. In `{{ orders.username }}`, `orders` is the credential's name.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use leasehold_client::wire::Lease;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};
use zeroize::Zeroizing;

use super::{Opened, ROOM};

/// Largest template, in bytes.
const TEMPLATE_BYTES_MAX: u64 = 256 * 1024;

/// What templates know of credentials, by their names. The texts in it live as long as it does, and are not wiped: it is
/// made for one rendering.
#[derive(Default)]
pub struct Known(BTreeMap<String, Value>);

impl Known {
    /// And of this one.
    #[must_use]
    pub fn and(mut self, name: &str, generation: u64, lease: Option<&Lease>, credential: &Opened) -> Self {
        let text = |text: &str| Value::from(text);
        let mut members = vec![("generation", Value::from(generation))];
        match credential {
            Opened::Login(login) => members.extend([
                ("kind", text("database")),
                ("username", text(&login.username)),
                ("password", text(&login.password)),
                ("host", text(&login.host)),
                ("port", Value::from(login.port)),
                ("database", text(&login.database)),
                ("url", text(&login.url)),
            ]),
            Opened::Token(token) => members.extend([
                ("kind", text("token")),
                ("access_token", text(&token.access_token)),
                ("token_type", text(&token.token_type)),
                ("scope", text(&token.scope)),
                ("expires_at", text(&token.expires_at)),
            ]),
            Opened::Aws(keys) => {
                members.extend([
                    ("kind", text("aws")),
                    ("access_key_id", text(&keys.access_key_id)),
                    ("secret_access_key", text(&keys.secret_access_key)),
                    ("region", text(&keys.region)),
                ]);
                // Not there rather than empty: a template that needs one is to fail with the key of a user.
                members.extend(keys.session_token.as_ref().map(|token| ("session_token", text(token))));
            }
        }
        if let Some(lease) = lease {
            members.push(("lease_id", text(&lease.id)));
            if !credential.says_its_end() {
                members.push(("expires_at", text(&lease.expires_at)));
            }
        }
        self.0.insert(name.to_owned(), Value::from_pairs(members));
        self
    }
}

/// Reads a template's file.
///
/// # Errors
/// When it cannot be read, is too large or no UTF-8.
pub fn read(file: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(file).with_context(|| format!("the template {}", file.display()))?.len();
    if size > TEMPLATE_BYTES_MAX {
        bail!("the template {} is larger than {TEMPLATE_BYTES_MAX} bytes", file.display());
    }
    std::fs::read_to_string(file).with_context(|| format!("the template {}", file.display()))
}

/// Fills in a template. What it names and nobody knows is an error, never an empty text.
///
/// # Errors
/// With the template's name and line. Never with what was to be filled in.
pub fn fill(name: &str, template: &str, known: &Known) -> anyhow::Result<Zeroizing<String>> {
    // The language drops it, as in Jinja; a file is to end as its template does.
    let last = if template.ends_with('\n') { "\n" } else { "" };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    let compiled = environment.template_from_named_str(name, template).map_err(|e| told(name, &e))?;
    let mut filled = Zeroizing::new(Vec::with_capacity(ROOM));
    let known = Value::from_pairs(known.0.iter().map(|(name, value)| (name.as_str(), value.clone())));
    compiled.render_captured_to(known, &mut *filled).map_err(|e| told(name, &e))?;
    let text = std::str::from_utf8(&filled).context("a template gave no UTF-8")?;
    let mut whole = Zeroizing::new(String::with_capacity(text.len() + 1));
    whole.push_str(text);
    whole.push_str(last);
    Ok(whole)
}

/// The library's words may hold values.
fn told(name: &str, error: &minijinja::Error) -> anyhow::Error {
    let line = error.line().map_or_else(String::new, |line| format!(":{line}"));
    anyhow::anyhow!("{name}{line}: {:?}", error.kind())
}

#[cfg(test)]
mod tests {
    use super::super::tests::lease;
    use super::super::{Aws, Login};
    use super::*;

    fn filled(template: &str) -> Result<String, String> {
        let known = Known::default().and("orders", 3, Some(&lease()), &Opened::odd()).and(
            "payments",
            4,
            None,
            &Opened::token(),
        );
        fill("x.tpl", template, &known).map(|text| text.to_string()).map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn members_are_filled_in_as_they_are() {
        let text = filled("user={{ orders.username }} {{ orders.port }} {{ orders.generation }}\n").unwrap();
        assert_eq!(text, "user=lh_a_b_c 5432 3\n");
        assert_eq!(filled("{{ orders.password }}").unwrap(), *Login::odd().password, "nothing is escaped");
    }

    #[test]
    fn a_token_has_members_of_its_own() {
        let text = filled(
            "{{ payments.token_type }} {{ payments.access_token }}|{{ payments.scope }}|{{ payments.expires_at }}",
        );
        assert_eq!(text.unwrap(), "Bearer e30.e30.c2ln|payments:read payments:write|2026-01-02T03:14:05.678Z");
        assert!(filled("{{ payments.lease_id }}").is_err(), "it has no lease");
    }

    #[test]
    fn a_key_of_a_user_has_no_session_and_a_template_can_ask() {
        let line = "{{ s3.access_key_id }}{% if s3.session_token is defined %} {{ s3.session_token }}{% endif %}";
        let filled = |keys, text| {
            let known = Known::default().and("s3", 1, Some(&lease()), &Opened::Aws(keys));
            fill("x.tpl", text, &known).map(|text| text.to_string())
        };
        let of_user = || Aws { session_token: None, ..Aws::session() };
        assert_eq!(filled(Aws::session(), line).unwrap(), "ASIAEXAMPLE IQoJb3JpZ2lu//8=");
        assert_eq!(filled(of_user(), line).unwrap(), "ASIAEXAMPLE");
        assert!(filled(of_user(), "{{ s3.session_token }}").is_err());
        assert_eq!(
            filled(of_user(), "{{ s3.region }} {{ s3.expires_at }}").unwrap(),
            "eu-central-1 2026-01-02T03:04:05.678Z"
        );
    }

    #[test]
    fn what_nobody_knows_is_an_error_with_its_line_and_without_a_secret() {
        for wrong in [
            "a\n{{ orders.pasword }}",
            "a\n{{ other.url }}",
            "a\n{{ orders.url",
            "a\n{{ payments.password }}",
            "a\n{% include 'x' %}",
        ] {
            let error = filled(wrong).unwrap_err();
            assert!(error.starts_with("x.tpl:2: "), "{wrong}: {error}");
            assert!(!error.contains(Login::odd().password.as_str()), "{error}");
        }
    }
}
