//! Paths and queries from texts that may hold anything (RFC 3986).

/// `segment` with everything but unreserved characters percent-encoded: whatever is in it, it stays one segment.
pub(crate) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// `?a=1&b=2` of what is given; nothing of nothing.
pub(crate) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<String>)>) -> String {
    let given = pairs.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", segment(&value?))));
    let joined = given.collect::<Vec<_>>().join("&");
    if joined.is_empty() { joined } else { format!("?{joined}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_place() {
        assert_eq!(segment("orders-read"), "orders-read");
        assert_eq!(segment("a/../b?c#d\"é"), "a%2F..%2Fb%3Fc%23d%22%C3%A9");
        let pairs = [("identity", Some("spiffe://x/y".to_owned())), ("role", None), ("limit", Some("5".into()))];
        assert_eq!(query(pairs), "?identity=spiffe%3A%2F%2Fx%2Fy&limit=5");
        assert_eq!(query([("role", None)]), "");
    }
}
