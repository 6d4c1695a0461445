//! What a key signs.

use leasehold_sdk::JwtAlgorithm;

/// What a line of keys signs. No key has two purposes: whoever is made to sign one kind of thing can never be made to sign the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Tokens of workloads by this algorithm, and with ES256 also status lists.
    Tokens(JwtAlgorithm),
    /// The broker's own word to clouds, by RS256: the one algorithm that all of them take.
    Clouds,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Tokens(JwtAlgorithm::Es256),
        Self::Tokens(JwtAlgorithm::EdDsa),
        Self::Tokens(JwtAlgorithm::Rs256),
        Self::Clouds,
    ];

    /// The name of its keys in the store, which their seal is bound to, and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens(algorithm) => algorithm.as_str(),
            Self::Clouds => "cloud RS256",
        }
    }

    /// The purpose of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }

    /// How its keys sign.
    pub fn algorithm(self) -> JwtAlgorithm {
        match self {
            Self::Tokens(algorithm) => algorithm,
            Self::Clouds => JwtAlgorithm::Rs256,
        }
    }

    /// Whether clouds are told of its keys, and verifiers of tokens are not.
    pub fn is_for_clouds(self) -> bool {
        self == Self::Clouds
    }
}
