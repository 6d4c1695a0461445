//! Which key signs, and which are published: a function of when each was made.

use std::time::Duration;

use leasehold_sdk::Timestamp;

/// One generation of a key, as far as time is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// Counts up.
    pub number: u64,
    /// When it was made.
    pub made_at: Timestamp,
}

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long a key is published before it signs.
    pub publish_before: Duration,
    /// How long after its last signature a key is published: as long as the longest token lives, and a little for clocks.
    pub keep_after: Duration,
    /// How often another takes over.
    pub rotate_every: Duration,
}

/// What holds now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Now {
    /// The generation that signs.
    pub signs: Option<u64>,
    /// Those that verifiers are told of, oldest first.
    pub published: Vec<u64>,
    /// Those that nobody needs any more.
    pub over: Vec<u64>,
    /// Whether another is to be made.
    pub is_due: bool,
}

/// What holds at `now`. `all`: by number, without those that were withdrawn.
pub fn at(all: &[Generation], rules: &Rules, now: Timestamp) -> Now {
    let signs_from = |index: usize| match index {
        // Nobody was told of an earlier one: there is nothing to wait for.
        0 => all[index].made_at,
        _ => all[index].made_at.plus(rules.publish_before),
    };
    let mut found = Now { is_due: true, ..Now::default() };
    for (index, one) in all.iter().enumerate() {
        let successor = (index + 1 < all.len()).then(|| signs_from(index + 1));
        let is_over = successor.is_some_and(|from| from.plus(rules.keep_after) <= now);
        if signs_from(index) <= now {
            found.signs = Some(one.number);
        }
        if is_over {
            found.over.push(one.number)
        } else {
            found.published.push(one.number)
        }
        found.is_due = one.made_at.plus(rules.rotate_every) <= now;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        publish_before: Duration::from_secs(60),
        keep_after: Duration::from_secs(600),
        rotate_every: Duration::from_secs(3600),
    };

    fn second(n: i64) -> Timestamp {
        Timestamp::from_unix_ms(n * 1000)
    }

    fn seen(all: &[(u64, i64)], now: i64) -> (Option<u64>, Vec<u64>, Vec<u64>, bool) {
        let all: Vec<_> = all.iter().map(|(number, at)| Generation { number: *number, made_at: second(*at) }).collect();
        let now = at(&all, &RULES, second(now));
        (now.signs, now.published, now.over, now.is_due)
    }

    #[test]
    fn a_key_is_published_before_it_signs_and_long_enough_after() {
        assert_eq!(seen(&[], 0), (None, vec![], vec![], true));
        assert_eq!(seen(&[(1, 0)], 0), (Some(1), vec![1], vec![], false), "the first signs at once");
        assert_eq!(seen(&[(1, 0)], 3600), (Some(1), vec![1], vec![], true));
        let two = [(1, 0), (2, 3600)];
        assert_eq!(seen(&two, 3600), (Some(1), vec![1, 2], vec![], false));
        assert_eq!(seen(&two, 3659).0, Some(1));
        assert_eq!(seen(&two, 3660), (Some(2), vec![1, 2], vec![], false));
        assert_eq!(seen(&two, 4259), (Some(2), vec![1, 2], vec![], false));
        assert_eq!(seen(&two, 4260), (Some(2), vec![2], vec![1], false));
    }

    #[test]
    fn one_that_is_withdrawn_leaves_the_next_to_sign_at_once() {
        // The first is not among them any more.
        assert_eq!(seen(&[(2, 3600)], 3600), (Some(2), vec![2], vec![], false));
    }
}
