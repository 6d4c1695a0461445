//! The certificate of a proxy's client, as the proxy forwards it.

use axum::http::HeaderMap;
use leasehold_identity::single_from_pem;

/// Envoy's header, which has a form of its own.
const ENVOYS: &str = "x-forwarded-client-cert";

/// Longest value, in bytes: a certificate in PEM, percent-encoded, may be three times as long as it is.
const BYTES_MAX: usize = 32 * 1024;

/// The certificate in the header of this name, in DER; `None`: the client has shown none.
///
/// # Errors
/// Why it cannot be told which it is: then nobody's is taken.
pub(super) fn forwarded(headers: &HeaderMap, name: &str) -> Result<Option<Vec<u8>>, &'static str> {
    let mut all = headers.get_all(name).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() || value.len() > BYTES_MAX {
        return Err("the proxy must forward one certificate, in one header");
    }
    let value = value.to_str().map_err(|_| "the forwarded certificate is not percent-encoded")?;
    let encoded = if name == ENVOYS { envoys(value)? } else { Some(value).filter(|value| !value.is_empty()) };
    let Some(encoded) = encoded else { return Ok(None) };
    let pem = decoded(encoded).ok_or("the forwarded certificate is not percent-encoded")?;
    single_from_pem(&pem).map(Some).map_err(|_| "the forwarded certificate is not one certificate in PEM")
}

/// The member `Cert` of the one element. With several elements the first ones are what somebody before the proxy has said.
fn envoys(value: &str) -> Result<Option<&str>, &'static str> {
    let unclear = "x-forwarded-client-cert has quotes that do not end";
    let [element] = split(value, ',').ok_or(unclear)?[..] else {
        return Err("x-forwarded-client-cert has several elements: let Envoy set it anew (SANITIZE_SET)");
    };
    let members = split(element, ';').ok_or(unclear)?;
    let members = members.iter().filter_map(|member| member.trim().split_once('='));
    let mut certs = members.filter(|(name, _)| name.eq_ignore_ascii_case("cert")).map(|(_, cert)| cert);
    match (certs.next(), certs.next()) {
        (None, _) => Ok(None),
        (Some(cert), None) => Ok(Some(cert.strip_prefix('"').and_then(|cert| cert.strip_suffix('"')).unwrap_or(cert))),
        (Some(_), Some(_)) => Err("x-forwarded-client-cert has several certificates"),
    }
}

/// The parts between separators that stand outside quotes: what stands inside is text of the client's certificate. `None`:
/// quotes do not end.
fn split(value: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut begins) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in value.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            c if c == separator && !is_quoted => {
                parts.push(&value[begins..at]);
                begins = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&value[begins..]);
    (!is_quoted && !is_escaped).then_some(parts)
}

/// RFC 3986 section 2.1. A plus is a plus: it is a character of base64.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(if byte == b'%' { hex(rest.next()?)? << 4 | hex(rest.next()?)? } else { byte });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use leasehold_identity::TrustDomain;
    use leasehold_identity::dev::DevCa;

    use super::*;

    fn pem() -> String {
        DevCa::create(&TrustDomain::parse("dev.local").unwrap()).unwrap().bundle_pem()
    }

    /// As nginx and Envoy encode it.
    fn encoded(pem: &str) -> String {
        let one = |c: char| match c {
            '\n' => "%0A".to_owned(),
            ' ' => "%20".to_owned(),
            '+' => "%2B".to_owned(),
            '/' => "%2f".to_owned(),
            '=' => "%3D".to_owned(),
            c => c.to_string(),
        };
        pem.replace("\r\n", "\n").chars().map(one).collect()
    }

    fn read(name: &'static str, values: &[String]) -> Result<Option<Vec<u8>>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        forwarded(&headers, name)
    }

    #[test]
    fn one_certificate_is_read_in_either_form() {
        let pem = pem();
        let der = single_from_pem(pem.as_bytes()).unwrap();
        let text = encoded(&pem);
        assert_eq!(read("x-client-cert", std::slice::from_ref(&text)), Ok(Some(der.clone())));
        let element = format!("By=spiffe://d/edge;Hash=ab;Cert=\"{text}\";Subject=\"CN=a,O=b\";URI=spiffe://d/billing");
        assert_eq!(read(ENVOYS, &[element]), Ok(Some(der)));
        assert_eq!(read("x-client-cert", &[]), Ok(None));
        assert_eq!(read("x-client-cert", &[String::new()]), Ok(None));
        assert_eq!(read(ENVOYS, &["By=spiffe://d/edge;Hash=ab".to_owned()]), Ok(None));
        // A client's own text is not the proxy's word.
        let injected = format!("Hash=ab;Subject=\"CN=a;Cert={text},Cert={text}\\\";Cert={text}\"");
        assert_eq!(read(ENVOYS, &[injected]), Ok(None));
    }

    #[test]
    fn what_could_be_another_than_the_proxy_has_seen_is_refused() {
        let text = encoded(&pem());
        let envoys = format!("Cert=\"{text}\"");
        for (name, values) in [
            ("x-client-cert", vec![text.clone(), text.clone()]),
            ("x-client-cert", vec![format!("{text}{text}")]),
            ("x-client-cert", vec!["nonsense".to_owned()]),
            ("x-client-cert", vec!["%".to_owned()]),
            ("x-client-cert", vec!["%zz".to_owned()]),
            ("x-client-cert", vec!["A".repeat(BYTES_MAX + 1)]),
            (ENVOYS, vec![format!("{envoys},{envoys}")]),
            (ENVOYS, vec![format!("{envoys};{envoys}")]),
            (ENVOYS, vec![format!("Subject=\"a;{envoys}")]),
            (ENVOYS, vec![format!("Subject=\"a\\\",b\";Hash=x,{envoys}")]),
        ] {
            assert!(read(name, &values).is_err(), "{name} {values:?}");
        }
    }
}
