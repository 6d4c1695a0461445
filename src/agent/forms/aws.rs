//! Keys that requests to AWS are signed with, in the forms that its SDKs and its command line read.

use anyhow::{Context, bail};
use leasehold_client::wire::Lease;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{ROOM, json};

/// Keys as plain texts, wiped when dropped.
pub struct Aws {
    /// Which key; no secret.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: Zeroizing<String>,
    /// Goes with the key of a session; `None`: the key of a user.
    pub session_token: Option<Zeroizing<String>>,
    /// The region that they are for.
    pub region: String,
}

impl Aws {
    fn token(&self) -> Option<&str> {
        self.session_token.as_deref().map(String::as_str)
    }
}

/// What the SDKs take from a program (`credential_process`).
pub(super) fn process(keys: &Aws, lease: Option<&Lease>) -> anyhow::Result<Zeroizing<String>> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Process<'a> {
        version: u8,
        access_key_id: &'a str,
        secret_access_key: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        session_token: Option<&'a str>,
        /// Said of the key of a user, too: without it the SDKs would keep the key for ever.
        expiration: String,
    }
    json(&Process {
        version: 1,
        access_key_id: &keys.access_key_id,
        secret_access_key: &keys.secret_access_key,
        session_token: keys.token(),
        expiration: expiration(lease)?,
    })
}

/// What they take from the agent of a container.
pub(super) fn container(keys: &Aws, lease: Option<&Lease>) -> anyhow::Result<Zeroizing<String>> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Container<'a> {
        access_key_id: &'a str,
        secret_access_key: &'a str,
        /// Several SDKs fail without this member, and take an empty one for none.
        token: &'a str,
        expiration: String,
    }
    json(&Container {
        access_key_id: &keys.access_key_id,
        secret_access_key: &keys.secret_access_key,
        token: keys.token().unwrap_or_default(),
        expiration: expiration(lease)?,
    })
}

/// A section of a shared credentials file.
pub(super) fn profile(name: &str, keys: &Aws) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    // The SDKs differ in what else they take between the brackets.
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
        bail!("its name cannot be the name of a profile of AWS");
    }
    text.push_str(&format!("[{name}]\n"));
    for (setting, value) in [
        ("aws_access_key_id", Some(keys.access_key_id.as_str())),
        ("aws_secret_access_key", Some(&keys.secret_access_key)),
        ("aws_session_token", keys.token()),
        ("region", Some(&keys.region)),
    ] {
        let Some(value) = value else { continue };
        // The file has no quoting: spaces at the ends are cut, and some readers take what follows a space and a # for a comment.
        if value.contains(|c: char| c.is_control() || c.is_whitespace()) {
            bail!("a space or a control character cannot be written into a profile of AWS");
        }
        for part in [setting, " = ", value, "\n"] {
            text.push_str(part);
        }
    }
    Ok(text)
}

/// The end of the lease, in whole seconds: not every SDK reads more, and never a moment too late.
fn expiration(lease: Option<&Lease>) -> anyhow::Result<String> {
    let end = lease.map(|lease| lease.expires_at.as_str());
    let end = end.context("keys of AWS without a lease: nobody says when they end, which this form must")?;
    Ok(end.split_once('.').map_or_else(|| end.to_owned(), |(seconds, _)| format!("{seconds}Z")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::lease;
    use super::super::{Form, Opened, formed};
    use super::*;

    fn of_user() -> Aws {
        Aws { session_token: None, ..Aws::session() }
    }

    fn read(text: anyhow::Result<Zeroizing<String>>) -> Value {
        serde_json::from_str(&text.unwrap()).unwrap()
    }

    #[test]
    fn a_process_says_when_they_end_with_and_without_a_session() {
        let mut wanted = json!({
            "Version": 1, "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "wJalr/XUtnFEMI+K7MDENG=", "SessionToken": "IQoJb3JpZ2lu//8=",
            "Expiration": "2026-01-02T03:04:05Z",
        });
        assert_eq!(read(process(&Aws::session(), Some(&lease()))), wanted);
        wanted.as_object_mut().unwrap().remove("SessionToken");
        assert_eq!(read(process(&of_user(), Some(&lease()))), wanted);
        assert!(process(&of_user(), None).unwrap_err().to_string().contains("nobody says when they end"));
    }

    #[test]
    fn a_container_always_has_a_token() {
        let mut wanted = json!({
            "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "wJalr/XUtnFEMI+K7MDENG=", "Token": "IQoJb3JpZ2lu//8=",
            "Expiration": "2026-01-02T03:04:05Z",
        });
        assert_eq!(read(container(&Aws::session(), Some(&lease()))), wanted);
        wanted["Token"] = "".into();
        assert_eq!(read(container(&of_user(), Some(&lease()))), wanted);
    }

    #[test]
    fn a_profile_is_a_section_and_nothing_can_add_to_it() {
        let text = |name: &str, keys| formed(Form::AwsProfile, name, Some(&lease()), &Opened::Aws(keys));
        let wanted = "[invoices-bucket]\naws_access_key_id = ASIAEXAMPLE\naws_secret_access_key = wJalr/XUtnFEMI+K7MDENG=\n\
                      aws_session_token = IQoJb3JpZ2lu//8=\nregion = eu-central-1\n";
        assert_eq!(text("invoices-bucket", Aws::session()).unwrap().as_str(), wanted);
        assert_eq!(text("default", of_user()).unwrap().lines().count(), 4);
        for name in ["a]\n[default", "a b", "a#b"] {
            assert!(text(name, of_user()).is_err(), "{name:?}");
        }
        for odd in ["eu\ncredential_process = x", "eu #1", " eu"] {
            assert!(text("a", Aws { region: odd.into(), ..of_user() }).is_err(), "{odd:?}");
        }
    }
}
