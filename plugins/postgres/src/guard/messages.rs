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
