//! The Deny by which sessions of a role are ended: one inline policy of that role, ours alone, with the sessions that are to end.
//!
//! The document is made from the store's word each time, never from what AWS says is there: IAM's answers may be minutes old,
//! and an end that is read away is a session that lives again.

use std::collections::BTreeMap;

use leasehold_sdk::{AccountName, Timestamp};
use serde_json::{Value, json};

/// Most sessions in one policy: all inline policies of a role are 10,240 characters together, and others may have some.
pub(crate) const ENTRIES_MAX: usize = 240;

/// How a session is known in its role's policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KnownBy {
    /// It says whose it is, to the end of every chain.
    SourceIdentity,
    /// Its name, which no other session has.
    SessionName,
}

/// What a role's Deny is to say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Denials {
    /// The accounts whose sessions are to end, with the moment by which they have ended by themselves.
    listed: BTreeMap<String, Timestamp>,
    /// All sessions of before are to end.
    cut: Option<Timestamp>,
}

impl Denials {
    /// Adds one that is to end; false: there is no place left.
    pub(crate) fn add(&mut self, account: &AccountName, until: Timestamp, cut: Option<Timestamp>) -> bool {
        if cut.is_some() {
            self.cut = self.cut.max(cut);
            return true;
        }
        let name = account.lease().to_string();
        if self.listed.len() >= ENTRIES_MAX && !self.listed.contains_key(&name) {
            return false;
        }
        self.listed.insert(name, until);
        true
    }

    /// The document; `None`: nothing is denied, and the policy is to go.
    pub(crate) fn document(&self, known_by: KnownBy) -> Option<String> {
        let mut statements = Vec::new();
        if !self.listed.is_empty() {
            statements.push(statement("LeaseholdEnded", listed(self.listed.keys(), known_by)));
        }
        if let Some(cut) = self.cut {
            let before = json!({ "DateLessThan": { "aws:TokenIssueTime": whole_seconds(cut) } });
            statements.push(statement("LeaseholdCut", before));
        }
        let document = json!({ "Version": "2012-10-17", "Statement": statements });
        (!statements.is_empty()).then(|| document.to_string())
    }
}

fn statement(sid: &str, condition: Value) -> Value {
    json!({ "Sid": sid, "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition })
}

fn listed<'a>(leases: impl Iterator<Item = &'a String>, known_by: KnownBy) -> Value {
    match known_by {
        KnownBy::SourceIdentity => json!({ "StringEquals": { "aws:SourceIdentity": leases.collect::<Vec<_>>() } }),
        // `aws:userid` of a session is `<id of the role>:<name of the session>`.
        KnownBy::SessionName => {
            json!({ "StringLike": { "aws:userid": leases.map(|lease| format!("*:{lease}")).collect::<Vec<_>>() } })
        }
    }
}

/// The moment as AWS compares it. Sessions tell the second in which they were made: the one that has begun is over first, so that none
/// of before is missed.
fn whole_seconds(time: Timestamp) -> String {
    let next = Timestamp::from_unix_ms((time.unix_ms().div_euclid(1000) + 1) * 1000);
    next.to_string().replace(".000Z", "Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_sdk::{LeaseId, StoreTag};

    fn account() -> AccountName {
        AccountName::new("abcdefghijklmnop".parse().unwrap(), StoreTag::new(), LeaseId::new())
    }

    #[test]
    fn a_full_policy_fits_where_ten_thousand_characters_are() {
        let (mut denials, until) = (Denials::default(), Timestamp::from_unix_ms(0));
        let first = account();
        assert!(denials.add(&first, until, None));
        while denials.listed.len() < ENTRIES_MAX {
            assert!(denials.add(&account(), until, None));
        }
        assert!(!denials.add(&account(), until, None), "there is no place left");
        assert!(denials.add(&first, until, None), "what has a place keeps it");
        assert!(denials.add(&account(), until, Some(until)), "a cut needs none");
        for known_by in [KnownBy::SourceIdentity, KnownBy::SessionName] {
            let length = denials.document(known_by).unwrap().len();
            assert!(length < 9_000, "{length}");
        }
    }

    #[test]
    fn nothing_to_deny_is_no_policy() {
        assert_eq!(Denials::default().document(KnownBy::SourceIdentity), None);
    }

    #[test]
    fn a_cut_meets_the_whole_second() {
        assert_eq!(whole_seconds("2026-01-02T03:04:05.678Z".parse().unwrap()), "2026-01-02T03:04:06Z");
        assert_eq!(whole_seconds("2026-01-02T03:04:59.000Z".parse().unwrap()), "2026-01-02T03:05:00Z");
    }
}
