//! One status list (Token Status List, draft-ietf-oauth-status-list-17).

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use serde_json::{Map, Value};

use super::super::Refused;
use super::super::claims::seconds;
use crate::limits::{STATUS_FRESH_DEFAULT, STATUS_FRESH_MAX, STATUS_FRESH_MIN, STATUS_LIST_BYTES_MAX};

/// The media type (section 5.1), without `application/`.
pub(super) const TYPE: &str = "statuslist+jwt";

/// A list, with what it says of its own life.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StatusList {
    bits: Vec<u8>,
    pub(super) fresh_for: Duration,
    pub(super) good_for: Duration,
}

impl StatusList {
    /// Reads the claims of a list whose signature is good. `uri`: where it was asked for; `now` in seconds since the epoch.
    ///
    /// # Errors
    /// Why it is none to go by (section 8.3).
    pub(super) fn read(
        claims: &Map<String, Value>,
        issuer: &str,
        uri: &str,
        now: i64,
        leeway: Duration,
    ) -> Result<Self, &'static str> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let time = |name: &str| seconds(claims, name).map_err(|_| "a time in it is no number");
        if text("sub") != Some(uri) {
            return Err("it is another list");
        }
        if claims.contains_key("iss") && text("iss") != Some(issuer) {
            return Err("it is of another issuer");
        }
        let leeway = i64::try_from(leeway.as_secs()).unwrap_or_default();
        if time("iat")?.ok_or("it has no iat")? > now.saturating_add(leeway) {
            return Err("it is from the future: compare the clocks of this host and of the issuer");
        }
        let ends = time("exp")?.map(|exp| exp.saturating_add(leeway).saturating_sub(now));
        if ends.is_some_and(|left| left <= 0) {
            return Err("it has expired");
        }
        let fresh_for = match time("ttl")? {
            None => STATUS_FRESH_DEFAULT,
            Some(ttl) => Duration::from_secs(u64::try_from(ttl).map_err(|_| "its ttl is no time")?),
        };
        let fresh_for = fresh_for.clamp(STATUS_FRESH_MIN, STATUS_FRESH_MAX);
        let good_for = ends.map_or(fresh_for, |left| Duration::from_secs(left.unsigned_abs()));
        Ok(Self { bits: unpack(claims.get("status_list"))?, fresh_for, good_for })
    }

    /// Whether the token of this index was ended; `None`: there is none of this index.
    pub(super) fn is_ended(&self, index: u64) -> Option<bool> {
        // Section 4.1: from the least significant bit of each byte upwards.
        let byte = self.bits.get(usize::try_from(index / 8).ok()?)?;
        Some(byte >> (index % 8) & 1 == 1)
    }
}

fn unpack(list: Option<&Value>) -> Result<Vec<u8>, &'static str> {
    let list = list.ok_or("it has no status_list")?;
    // A Leasehold issuer knows two states.
    if list.get("bits").and_then(Value::as_u64) != Some(1) {
        return Err("it has not one bit for each token");
    }
    let packed = list.get("lst").and_then(Value::as_str).and_then(|lst| BASE64URL_NOPAD.decode(lst.as_bytes()).ok());
    let packed = packed.ok_or("its lst is not base64url")?;
    // What unpacks to more than the limit is given up on the way: some bytes can stand for gigabytes.
    decompress_to_vec_zlib_with_limit(&packed, STATUS_LIST_BYTES_MAX)
        .map_err(|_| "its lst cannot be unpacked, or is too large")
}

/// A list that cannot be judged is told as why nothing is known.
pub(super) fn why(refused: &Refused) -> String {
    match refused {
        Refused::KeysNotAvailable { why } => why.clone(),
        Refused::Malformed(why) => (*why).to_owned(),
        Refused::WrongType => "it is no status list".to_owned(),
        Refused::HeaderNotAllowed(_) | Refused::AlgorithmNotAllowed => "it is not signed as tokens are".to_owned(),
        Refused::UnknownKey => "it is signed by a key that the issuer does not have".to_owned(),
        _ => "its signature is wrong".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use miniz_oxide::deflate::compress_to_vec_zlib;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const URI: &str = "https://l.example/oauth2/status/1";

    fn read(change: impl FnOnce(&mut Value)) -> Result<StatusList, &'static str> {
        let lst = BASE64URL_NOPAD.encode(&compress_to_vec_zlib(&[0b0000_0010, 0b1000_0000], 9));
        let mut claims = json!({
            "sub": URI, "iat": NOW, "exp": NOW + 600, "ttl": 20, "status_list": {"bits": 1, "lst": lst},
        });
        change(&mut claims);
        StatusList::read(claims.as_object().unwrap(), "https://l.example", URI, NOW, Duration::from_secs(30))
    }

    #[test]
    fn bits_are_read_from_the_least_significant() {
        let list = read(|_| ()).unwrap();
        let ended: Vec<u64> = (0..16).filter(|index| list.is_ended(*index) == Some(true)).collect();
        assert_eq!(ended, [1, 15]);
        assert_eq!(list.is_ended(16), None);
        assert_eq!(list.is_ended(u64::MAX), None);
        assert_eq!((list.fresh_for, list.good_for), (Duration::from_secs(20), Duration::from_secs(630)));
    }

    /// The example of the draft's section 4.1.
    #[test]
    fn the_example_of_the_standard() {
        let list = read(|c| c["status_list"]["lst"] = json!("eNrbuRgAAhcBXQ")).unwrap();
        assert_eq!(list.bits, [0xb9, 0xa3]);
    }

    #[test]
    fn what_is_no_list_to_go_by_is_told() {
        for (path, value, why) in [
            ("sub", json!("https://l.example/oauth2/status/2"), "another list"),
            ("iss", json!("https://m.example"), "another issuer"),
            ("iat", json!(NOW + 31), "future"),
            ("exp", json!(NOW - 30), "expired"),
            ("exp", json!("never"), "no number"),
            ("ttl", json!(-1), "no time"),
            ("status_list", json!({"bits": 2, "lst": "eNrbuRgAAhcBXQ"}), "one bit"),
            ("status_list", json!({"bits": 1, "lst": "eNrbuRgAAhcBXQ=="}), "not base64url"),
            ("status_list", json!({"bits": 1, "lst": "AAAA"}), "unpacked"),
            ("status_list", Value::Null, "one bit"),
        ] {
            let said = read(|c| c[path] = value.clone()).unwrap_err();
            assert!(said.contains(why), "{path} {value}: {said}");
        }
    }

    #[test]
    fn a_bomb_is_given_up() {
        let bomb = compress_to_vec_zlib(&vec![0; 16 * STATUS_LIST_BYTES_MAX], 9);
        assert!(bomb.len() < 64 * 1024);
        let lst = BASE64URL_NOPAD.encode(&bomb);
        assert!(read(|c| c["status_list"]["lst"] = json!(lst)).unwrap_err().contains("too large"));
    }
}
