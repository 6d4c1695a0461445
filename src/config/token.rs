//! `[token]`: the issuer of tokens.

use std::time::Duration;

use super::section::Section;
use super::server::https_url;
use crate::token::TokenConfig;

/// As long as the slowest of the known consumers keeps the keys that it has read.
const PUBLISH_BEFORE_DEFAULT: Duration = Duration::from_secs(3600);

/// A month.
const ROTATE_EVERY_DEFAULT: Duration = Duration::from_secs(30 * 86_400);

/// Keys are looked at every second.
const PUBLISH_BEFORE_MIN: Duration = Duration::from_secs(5);

/// `Some(None)`: there is none.
pub(super) fn token(root: &Section<'_>, sealed: bool) -> Option<Option<TokenConfig>> {
    if !root.has("token") {
        return Some(None);
    }
    let section = root.section("token")?;
    section.require("issuer", "where verifiers reach the public listener, such as \"https://leasehold.example.org\"");
    let issuer = section.string("issuer").and_then(|field| field.read(|url| https_url(url)));
    let publish_before = time(&section, "publish_before", PUBLISH_BEFORE_DEFAULT);
    let rotate_every = time(&section, "rotate_every", ROTATE_EVERY_DEFAULT);
    if publish_before.is_some_and(|time| time < PUBLISH_BEFORE_MIN) {
        section.wrong("publish_before", "must be at least 5s");
    }
    if rotate_every.zip(publish_before).is_some_and(|(every, before)| every < before * 2) {
        section.wrong("rotate_every", "must be at least twice publish_before: one key after the other");
    }
    if !sealed {
        section.wrong("", "needs [seal] with a key: signing keys are kept sealed");
    }
    section.finish();
    Some(Some(TokenConfig { issuer: issuer?, publish_before: publish_before?, rotate_every: rotate_every? }))
}

fn time(section: &Section<'_>, key: &'static str, default: Duration) -> Option<Duration> {
    if section.has(key) { section.duration(key) } else { Some(default) }
}
