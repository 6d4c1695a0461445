//! The only place that reads randomness: the operating system's, through aws-lc-rs.

use data_encoding::BASE32HEX_NOPAD;
use secrecy::SecretString;
use zeroize::Zeroizing;

/// Fills `buf` with random bytes fit for keys.
///
/// # Panics
/// When the operating system has no randomness to give: nothing the broker does is safe without it.
pub fn fill(buf: &mut [u8]) {
    aws_lc_rs::rand::fill(buf).expect("the operating system must have randomness");
}

/// `N` random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut buf = [0; N];
    fill(&mut buf);
    buf
}

/// A random fraction in `0.0..1.0`, for jitter.
pub fn fraction() -> f64 {
    (u64::from_le_bytes(bytes()) >> 11) as f64 / (1u64 << 53) as f64
}

/// A password of 200 random bits as 40 characters `[0-9a-v]`: no character needs quoting in a URL, a shell, SQL or TOML.
pub fn password() -> SecretString {
    let mut raw = Zeroizing::new([0u8; 25]);
    fill(raw.as_mut());
    // One allocation of the final size: no copy of the secret is left behind by growth.
    let mut text = Zeroizing::new([0u8; 40]);
    BASE32HEX_NOPAD.encode_mut(raw.as_ref(), text.as_mut());
    text.make_ascii_lowercase();
    let text = std::str::from_utf8(text.as_ref()).expect("base32 is ASCII");
    SecretString::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn passwords_differ_and_are_plain() {
        let (a, b) = (password(), password());
        assert_ne!(a.expose_secret(), b.expose_secret());
        assert_eq!(a.expose_secret().len(), 40);
        assert!(a.expose_secret().bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'v').contains(&c)));
    }

    #[test]
    fn fractions_stay_below_one() {
        assert!((0..1000).map(|_| fraction()).all(|f| (0.0..1.0).contains(&f)));
    }
}
