//! What an honest server sends, and how much of it.

/// Most bytes of one row. The largest that an honest server gives is one object's name in all its parts, some 30 kB.
const ROW_BYTES_MAX: u64 = 8 << 20;
/// Most bytes of any other message.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
/// Most bytes of a message before the login is done.
const LOGIN_BYTES_MAX: u64 = 64 << 10;
/// Most messages before the login is done: some twenty settings, and the steps of SCRAM.
const LOGIN_MESSAGES_MAX: u64 = 200;
/// Most messages of one answer. What rows of it are kept is bounded where they are kept.
const ANSWER_MESSAGES_MAX: u64 = 500_000;
/// Most bytes of one answer, what is not kept included.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Most bytes of settings told in one session. The driver keeps each that it hears of.
const SETTINGS_BYTES_MAX: u64 = 256 << 10;
/// Iterations of SCRAM. Fewer make what the server learns about the password cheap to guess from (RFC 7677 section 4 names
/// 4096 as the least); more only cost time, which the driver spends in a thread that others share.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=100_000;

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// The driver gets it.
    On,
    /// The driver has no use for it.
    Drop,
    /// It belongs to the login: its body is looked at first.
    Look,
}

/// The rules of one session, and how far it has come.
pub(super) struct Rules {
    has_password: bool,
    /// The server has shown that it knows the password's verifier. The driver checks the proof before it reads on.
    proven: bool,
    logged_in: bool,
    messages: u64,
    bytes: u64,
    settings: u64,
}

impl Rules {
    pub(super) fn new(has_password: bool) -> Self {
        Self { has_password, proven: false, logged_in: false, messages: 0, bytes: 0, settings: 0 }
    }

    /// What becomes of a message of this kind and length (which counts itself), and how many bytes its body has.
    ///
    /// # Errors
    /// Which rule it breaks.
    pub(super) fn message(&mut self, kind: u8, length: u32) -> Result<(Pass, u64), String> {
        let body = u64::from(length).checked_sub(4).ok_or("the server states a message of less than no length")?;
        self.messages += 1;
        self.bytes += body;
        let (messages_max, bytes_max) = match (self.logged_in, kind) {
            (false, _) => (LOGIN_MESSAGES_MAX, LOGIN_BYTES_MAX),
            (true, b'D') => (ANSWER_MESSAGES_MAX, ROW_BYTES_MAX),
            (true, _) => (ANSWER_MESSAGES_MAX, MESSAGE_BYTES_MAX),
        };
        if body > bytes_max {
            return Err(format!("the server states a message of {body} bytes; at most {bytes_max} are taken here"));
        }
        if self.messages > messages_max || self.bytes > ANSWER_BYTES_MAX {
            return Err(format!(
                "the server does not come to an end: {} messages, {} bytes",
                self.messages, self.bytes
            ));
        }
        let pass = match kind {
            // Notices and notifications. The driver would log the former in the server's own words.
            b'N' | b'A' => Pass::Drop,
            b'R' if !self.logged_in => Pass::Look,
            b'S' => {
                self.settings += body;
                if self.settings > SETTINGS_BYTES_MAX {
                    return Err("the server tells its settings without end".into());
                }
                Pass::On
            }
            b'Z' => {
                if !self.logged_in && self.has_password && !self.proven {
                    return Err("the server is ready before it has shown that it knows our password".into());
                }
                (self.logged_in, self.messages, self.bytes) = (true, 0, 0);
                Pass::On
            }
            b'E' | b'K' => Pass::On,
            // Rows and their descriptions, the ends of statements, and what belongs to prepared ones.
            b'T' | b'D' | b'C' | b'I' | b'1' | b'2' | b'3' | b'n' | b's' | b't' if self.logged_in => Pass::On,
            _ => {
                return Err(format!(
                    "the server sends a message that we did not ask for (kind {})",
                    kind.escape_ascii()
                ));
            }
        };
        Ok((pass, body))
    }

    /// Judges one step of the login.
    ///
    /// # Errors
    /// Which rule it breaks, and what to do where it may be an honest server's.
    pub(super) fn authentication(&mut self, body: &[u8]) -> Result<(), String> {
        let (code, rest) = body.split_first_chunk::<4>().ok_or("the server sends half a message")?;
        match (u32::from_be_bytes(*code), self.has_password) {
            (0, true) if !self.proven => Err("the server lets us in without our password, so that nothing shows that it \
                is ours; if it knows us by certificate or peer, leave `password` out"
                .into()),
            (0, _) => Ok(()),
            (10..=12, false) => Err("the server asks for a password, and the target has none".into()),
            (10, true) => Ok(()),
            (11, true) => iterations(rest),
            (12, true) => {
                self.proven = true;
                Ok(())
            }
            (3, _) => Err("the server asks for our password in clear text, which it does not get; it must ask by \
                scram-sha-256"
                .into()),
            (5, _) => Err("the server asks for an MD5 hash of our password, which it does not get: it must ask by \
                scram-sha-256. Set password_encryption to that, set the login's password again, and say so in pg_hba.conf"
                .into()),
            (other, _) => Err(format!("the server asks for a kind of login ({other}) that we do not know")),
        }
    }
}

/// The server's first message of SCRAM: `r=nonce,s=salt,i=iterations` (RFC 5802 section 5).
fn iterations(first: &[u8]) -> Result<(), String> {
    let stated = std::str::from_utf8(first).ok().and_then(|t| t.split(',').find_map(|part| part.strip_prefix("i=")));
    let stated = stated.ok_or("the server's SCRAM message states no iterations")?;
    match stated.parse::<u32>() {
        Ok(n) if ITERATIONS.contains(&n) => Ok(()),
        Ok(n) => Err(format!(
            "the server states {n} iterations for our password; {} to {} are taken (scram_iterations when the password was \
             set)",
            ITERATIONS.start(),
            ITERATIONS.end()
        )),
        Err(_) => Err("the server states iterations that are no number".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(code: u32, rest: &str) -> Vec<u8> {
        [&code.to_be_bytes()[..], rest.as_bytes()].concat()
    }

    #[test]
    fn a_password_is_given_by_scram_alone_and_only_to_who_knows_its_verifier() {
        for code in [0, 2, 3, 5, 7, 9, 99] {
            assert!(Rules::new(true).authentication(&step(code, "abcd")).is_err(), "{code}");
        }
        let mut rules = Rules::new(true);
        rules.authentication(&step(10, "SCRAM-SHA-256\0\0")).unwrap();
        rules.authentication(&step(11, "r=x,s=eA==,i=4096")).unwrap();
        assert!(rules.message(b'Z', 5).is_err());
        rules.authentication(&step(12, "v=eA==")).unwrap();
        rules.authentication(&step(0, "")).unwrap();
        assert_eq!(rules.message(b'Z', 5), Ok((Pass::On, 1)));

        let mut without = Rules::new(false);
        assert!(without.authentication(&step(10, "SCRAM-SHA-256\0\0")).is_err());
        assert!(without.authentication(&step(3, "")).is_err());
        without.authentication(&step(0, "")).unwrap();
    }

    #[test]
    fn iterations_are_neither_too_few_nor_too_many() {
        for good in ["r=x,s=eA==,i=4096", "r=x,s=eA==,i=100000"] {
            iterations(good.as_bytes()).unwrap();
        }
        for bad in
            ["r=x,s=eA==,i=1", "r=x,s=eA==,i=4095", "r=x,s=eA==,i=2147483648", "r=x,s=eA==,i=-1", "r=x", "i=", "\u{0}"]
        {
            assert!(iterations(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(iterations(&[b'i', b'=', 0xff]).is_err());
    }

    #[test]
    fn lengths_and_kinds_are_bounded_before_and_after_the_login() {
        assert!(Rules::new(true).message(b'R', 1 << 30).is_err());
        assert!(Rules::new(true).message(b'R', 3).is_err());
        assert!(Rules::new(true).message(b'D', 20).is_err());
        let inside = || Rules { logged_in: true, ..Rules::new(true) };
        assert!(inside().message(b'D', 1 << 30).is_err());
        assert!(inside().message(b'E', 10 << 20).is_err());
        assert!(inside().message(b'G', 20).is_err());
        let mut rules = inside();
        assert_eq!(rules.message(b'D', 4 << 20), Ok((Pass::On, (4 << 20) - 4)));
        assert_eq!(rules.message(b'N', 20), Ok((Pass::Drop, 16)));
        let ends = (0..ANSWER_MESSAGES_MAX + 1).any(|_| rules.message(b'N', 8).is_err());
        assert!(ends, "notices without end are an answer without end");
        let mut rules = inside();
        let ends = (0..1000).any(|_| rules.message(b'S', 1 << 10).is_err());
        assert!(ends, "settings without end are refused");
    }
}
