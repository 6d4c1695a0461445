//! The server's messages: a byte for the kind, four for the length, and the body (PostgreSQL documentation, "Message
//! Formats").

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter, copy_buf, sink};

use super::PIECE;
use super::rules::{Pass, Rules};

/// Why no more messages pass.
pub(super) enum Ended {
    /// The connection broke.
    Broken,
    /// The server broke a rule.
    Refused(String),
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

/// Passes the server's messages to the driver as long as they keep the rules.
///
/// # Errors
/// [`Ended`]; what was passed before is whole messages.
pub(super) async fn pass(
    server: impl AsyncRead + Unpin,
    driver: &mut (impl AsyncWrite + Unpin),
    mut rules: Rules,
) -> Result<(), Ended> {
    let mut server = BufReader::with_capacity(PIECE, server);
    let mut driver = BufWriter::with_capacity(PIECE, driver);
    let mut head = [0; 5];
    loop {
        if server.buffer().len() < head.len() {
            // The next read may wait, and the driver shall not.
            driver.flush().await?;
        }
        server.read_exact(&mut head).await?;
        let [kind, length @ ..] = head;
        let done = match rules.message(kind, u32::from_be_bytes(length)) {
            Ok((Pass::On, body)) => {
                driver.write_all(&head).await?;
                copy_buf(&mut (&mut server).take(body), &mut driver).await? == body
            }
            Ok((Pass::Drop, body)) => copy_buf(&mut (&mut server).take(body), &mut sink()).await? == body,
            Ok((Pass::Look, body)) => {
                let mut text = vec![0; usize::try_from(body).unwrap_or(usize::MAX)];
                server.read_exact(&mut text).await?;
                if let Err(why) = rules.authentication(&text) {
                    driver.flush().await?;
                    return Err(Ended::Refused(why));
                }
                driver.write_all(&head).await?;
                driver.write_all(&text).await?;
                true
            }
            Err(why) => {
                driver.flush().await?;
                return Err(Ended::Refused(why));
            }
        };
        if !done {
            return Err(Ended::Broken);
        }
    }
}

/// The refusal as the driver understands it: an error of the server's that ends the session.
pub(super) fn refusal(why: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (field, text) in [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', "08P01"), (b'M', why)] {
        body.push(field);
        body.extend(text.bytes().filter(|b| *b != 0));
        body.push(0);
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [b"E", &length.to_be_bytes()[..], &body].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the driver gets of these bytes.
    fn passed(bytes: &[u8]) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut out = Vec::new();
        let ended = runtime.block_on(pass(bytes, &mut out, Rules::new(true)));
        assert!(ended.is_err(), "bytes come to an end");
        out
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], &length.to_be_bytes()[..], body].concat()
    }

    #[test]
    fn what_breaks_a_rule_ends_it_and_what_came_before_has_passed() {
        let good = [message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"), message(b'S', b"a\0b\0")].concat();
        let clear = message(b'R', b"\0\0\0\x03");
        assert_eq!(passed(&[&good[..], &message(b'N', b"note\0"), &clear, &good].concat()), good);
        assert_eq!(passed(&good[..good.len() - 1]).len(), good.len() - 1, "the driver waits for the rest as we do");
        let text = String::from_utf8(refusal("no\0thing")).unwrap();
        assert!(text.starts_with('E') && text.contains("C08P01\0Mnothing\0\0"), "{text:?}");
    }

    fn kind() -> impl Strategy<Value = u8> {
        prop_oneof![4 => proptest::sample::select(b"RRRSNEKZTDGA".to_vec()), 1 => any::<u8>()]
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_ask_for_the_password(
            messages in proptest::collection::vec((kind(), proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
            rest in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let sent: Vec<u8> = messages.iter().flat_map(|(kind, body)| message(*kind, body)).chain(rest).collect();
            let out = passed(&sent);
            let mut left = &out[..];
            while let [kind, a, b, c, d, body @ ..] = left {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4;
                let asks = *kind == b'R' && matches!(body.get(..4), Some([0, 0, 0, 0 | 2..=9]));
                prop_assert!(b"RSEKZ".contains(kind) && !asks, "kind {}", kind.escape_ascii());
                left = body.get(length..).unwrap_or_default();
            }
        }
    }
}
