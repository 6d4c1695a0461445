//! A status list's content (Token Status List section 4.1): one bit for each token, least significant first; 1 is invalid.

use data_encoding::BASE64URL_NOPAD;
use miniz_oxide::deflate::compress_to_vec_zlib;

/// Lists are mostly zeros: the best level costs little and saves much.
const LEVEL: u8 = 9;

/// The bits of a list of `size` places, of which these are set.
pub(super) fn bits(size: u32, set: impl Iterator<Item = u32>) -> Vec<u8> {
    let mut bytes = vec![0; size.div_ceil(8) as usize];
    for place in set.filter(|place| *place < size) {
        bytes[place as usize / 8] |= 1 << (place % 8);
    }
    bytes
}

/// As it stands in a token (`lst`).
pub(super) fn packed(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(&compress_to_vec_zlib(bytes, LEVEL))
}

#[cfg(test)]
mod tests {
    use miniz_oxide::inflate::decompress_to_vec_zlib;

    use super::*;

    #[test]
    fn the_example_of_the_draft() {
        // Section 4.1: 16 tokens, whose statuses from the first are 1 0 0 1 1 1 0 1  1 1 0 0 0 1 0 1.
        let set = [0, 3, 4, 5, 7, 8, 9, 13, 15];
        assert_eq!(bits(16, set.into_iter()), [0xb9, 0xa3]);
        let unpack = |text: &str| decompress_to_vec_zlib(&BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(unpack("eNrbuRgAAhcBXQ"), [0xb9, 0xa3], "as the draft packs it");
        assert_eq!(unpack(&packed(&[0xb9, 0xa3])), [0xb9, 0xa3]);
        assert_eq!(bits(16, [16, u32::MAX].into_iter()), [0, 0], "there is no such place");
    }
}
