//! When a credential is to be renewed, when to be replaced, and when it is gone.

use std::time::{Duration, SystemTime};

use super::keeper::own_share;
use crate::wire::{Lease, Said};

/// The times of one lease by our boot-time clock. The broker's clock need not agree with ours: only differences between its
/// own times are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Life {
    /// Since when it has had the life that it has: it was issued, or renewed.
    since: Duration,
    ends: Duration,
    rotates: Duration,
    expires_at: SystemTime,
    max_expires_at: SystemTime,
    renewable: bool,
}

/// What is to be done next, and at which boot time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Its end is to be moved.
    Renew(Duration),
    /// Another is to take its place.
    Rotate(Duration),
    /// Nothing: no other takes its place, and its end moves no further.
    End(Duration),
}

impl Due {
    pub(crate) fn at(self) -> Duration {
        let (Self::Renew(at) | Self::Rotate(at) | Self::End(at)) = self;
        at
    }
}

impl Life {
    /// Of a lease that was issued to a request of `asked_at` (boot time): what it took on its way counts as used up.
    /// `None`: its times cannot be read.
    pub(crate) fn issued(lease: &Lease, asked_at: Duration) -> Option<Self> {
        let issued = time(&lease.issued_at)?;
        Self::at(lease, |time| asked_at + time.duration_since(issued).unwrap_or_default(), asked_at)
    }

    /// Of a lease that an earlier process has held: its times are taken as those of our wall clock, `wall`, for lack of better.
    pub(crate) fn resumed(lease: &Lease, now: Duration, wall: SystemTime) -> Option<Self> {
        let issued = time(&lease.issued_at)?;
        let since = now.saturating_sub(wall.duration_since(issued).unwrap_or_default());
        Self::at(lease, |time| now + time.duration_since(wall).unwrap_or_default(), since)
    }

    /// Of a token without a lease, which was asked for at `asked_at`.
    pub(crate) fn of_token(said: &Said, asked_at: Duration) -> Option<Self> {
        let (issued, ends) = said.life?;
        Self::unleased(said, asked_at, asked_at.checked_add(Duration::from_secs(ends.saturating_sub(issued)))?)
    }

    /// The same for one that an earlier process has held.
    pub(crate) fn of_resumed_token(said: &Said, now: Duration, wall: SystemTime) -> Option<Self> {
        let (issued, ends) = said.life?;
        let wall = wall.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let since = now.saturating_sub(wall.saturating_sub(Duration::from_secs(issued)));
        Self::unleased(said, since, now.checked_add(Duration::from_secs(ends).saturating_sub(wall))?)
    }

    /// Nobody says when it is to be replaced: at two thirds of its life, or up to a twelfth earlier, for those who began together
    /// need not go on together.
    fn unleased(said: &Said, since: Duration, ends: Duration) -> Option<Self> {
        let (_, expires) = said.life?;
        let expires_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(expires))?;
        let early = own_share(said.name.as_deref().unwrap_or_default()) / 12.0;
        let rotates = since + ends.saturating_sub(since).mul_f64(2.0 / 3.0 - early);
        Some(Self { since, ends, rotates, expires_at, max_expires_at: expires_at, renewable: false })
    }

    fn at(lease: &Lease, boot_of: impl Fn(SystemTime) -> Duration, since: Duration) -> Option<Self> {
        let expires_at = time(&lease.expires_at)?;
        Some(Self {
            since,
            ends: boot_of(expires_at),
            rotates: boot_of(time(&lease.rotate_at)?),
            expires_at,
            max_expires_at: time(&lease.max_expires_at)?,
            renewable: lease.renewable,
        })
    }

    /// The same lease after a renewal that was asked for at `asked_at`.
    pub(crate) fn renewed(&self, lease: &Lease, asked_at: Duration) -> Option<Self> {
        let expires_at = time(&lease.expires_at)?;
        let moved = expires_at.duration_since(self.expires_at).unwrap_or_default();
        Some(Self { since: asked_at, ends: self.ends + moved, expires_at, renewable: lease.renewable, ..self.clone() })
    }

    /// Renewed at two thirds of the life it has, as long as that moves its end; replaced at its time to rotate, whatever became
    /// of the renewals before.
    pub(crate) fn due(&self, now: Duration) -> Due {
        let renew = self.renews();
        // At the end of a life that moves no further it is late to rotate, but not too late.
        let rotate = self.rotates.min(self.ends);
        if self.moves() && renew < rotate && now < rotate { Due::Renew(renew) } else { Due::Rotate(rotate) }
    }

    /// The same for one whose place no other takes: it is renewed for as long as that moves its end.
    pub(crate) fn due_alone(&self, now: Duration) -> Due {
        if self.moves() && now < self.ends { Due::Renew(self.renews()) } else { Due::End(self.ends) }
    }

    fn renews(&self) -> Duration {
        self.since + self.whole() * 2 / 3
    }

    fn moves(&self) -> bool {
        self.renewable && self.expires_at < self.max_expires_at
    }

    /// When it ends, by the boot-time clock.
    pub(crate) fn ends(&self) -> Duration {
        self.ends
    }

    /// How long the life is that it has.
    pub(crate) fn whole(&self) -> Duration {
        self.ends.saturating_sub(self.since)
    }

    /// How much of the life it has is over, from 0 to 1.
    pub(crate) fn share_over(&self, now: Duration) -> f64 {
        let whole = self.whole().as_secs_f64();
        if whole <= 0.0 { 1.0 } else { (now.saturating_sub(self.since).as_secs_f64() / whole).min(1.0) }
    }
}

fn time(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(expires: &str, rotate: &str, renewable: bool) -> Lease {
        serde_json::from_value(serde_json::json!({
            "id": "a", "role": "r", "target": "t", "identity": "spiffe://d/x", "state": "active", "ended_by": null,
            "issued_at": "2001-01-01T00:00:00.000Z", "expires_at": format!("2001-01-01T00:{expires}.000Z"),
            "max_expires_at": "2001-01-01T00:10:00.000Z", "rotate_at": format!("2001-01-01T00:{rotate}.000Z"),
            "renewable": renewable, "revocable": "immediate", "worst_case_until": null, "account": "lh"
        }))
        .unwrap()
    }

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn it_is_renewed_until_its_time_to_rotate() {
        let life = Life::issued(&lease("01:30", "08:00", true), seconds(1000)).unwrap();
        assert_eq!(life.due(seconds(0)), Due::Renew(seconds(1060)));
        assert_eq!(life.ends(), seconds(1090));
        let life = life.renewed(&lease("02:30", "08:00", true), seconds(1060)).unwrap();
        assert_eq!((life.ends(), life.due(seconds(0))), (seconds(1150), Due::Renew(seconds(1120))));
        assert_eq!(life.share_over(seconds(1105)), 0.5);
        assert_eq!(
            life.due(seconds(1150)),
            Due::Rotate(seconds(1150)),
            "renewals that fail keep nothing from being replaced"
        );
        // The next renewal would come after the time to rotate.
        let life = life.renewed(&lease("09:30", "08:00", true), seconds(1470)).unwrap();
        assert_eq!(life.due(seconds(0)), Due::Rotate(seconds(1480)));
    }

    #[test]
    fn what_cannot_be_renewed_is_replaced_before_it_ends() {
        let fixed = Life::issued(&lease("01:30", "01:00", false), seconds(0)).unwrap();
        assert_eq!(fixed.due(seconds(0)), Due::Rotate(seconds(60)));
        // A broker's time to rotate after the end is no use.
        let late = Life::issued(&lease("01:30", "08:00", false), seconds(0)).unwrap();
        assert_eq!(late.due(seconds(0)), Due::Rotate(seconds(90)));
        let at_the_end = Life::issued(&lease("10:00", "08:00", true), seconds(0)).unwrap();
        assert_eq!(at_the_end.due(seconds(0)), Due::Rotate(seconds(480)));
    }

    #[test]
    fn what_no_other_replaces_is_renewed_to_its_last_end() {
        let life = Life::issued(&lease("01:30", "01:00", true), seconds(1000)).unwrap();
        assert_eq!(life.due_alone(seconds(0)), Due::Renew(seconds(1060)), "whatever its time to rotate");
        assert_eq!(life.due_alone(seconds(1090)), Due::End(seconds(1090)), "it is too late to renew it");
        let last = life.renewed(&lease("10:00", "01:00", true), seconds(1060)).unwrap();
        assert_eq!(last.due_alone(seconds(1060)), Due::End(seconds(1600)));
        let fixed = Life::issued(&lease("01:30", "01:00", false), seconds(0)).unwrap();
        assert_eq!(fixed.due_alone(seconds(0)), Due::End(seconds(90)));
    }

    #[test]
    fn a_token_without_a_lease_is_replaced_at_two_thirds_of_its_life_or_a_little_before() {
        let said =
            |name: &str| Said { name: Some(name.into()), life: Some((978_307_200, 978_307_320)), certificate: None };
        let life = Life::of_token(&said("a"), seconds(1000)).unwrap();
        assert_eq!((life.ends(), life.due_alone(seconds(0))), (seconds(1120), Due::End(seconds(1120))));
        let rotates = life.due(seconds(0)).at();
        assert!(rotates > seconds(1070) && rotates <= seconds(1080), "{rotates:?}");
        assert_ne!(Life::of_token(&said("b"), seconds(1000)).unwrap().due(seconds(0)).at(), rotates);
        let wall = time("2001-01-01T00:01:00Z").unwrap();
        let resumed = Life::of_resumed_token(&said("a"), seconds(500), wall).unwrap();
        assert_eq!((resumed.ends(), resumed.share_over(seconds(500))), (seconds(560), 0.5));
        assert_eq!(Life::of_token(&Said { life: None, ..said("a") }, seconds(0)), None);
        assert_eq!(Life::of_token(&Said { life: Some((0, u64::MAX)), ..said("a") }, seconds(0)), None);
    }

    #[test]
    fn a_resumed_lease_has_used_up_what_its_times_say() {
        let wall = time("2001-01-01T00:01:00Z").unwrap();
        let life = Life::resumed(&lease("01:30", "01:10", false), seconds(500), wall).unwrap();
        assert_eq!((life.ends(), life.due(seconds(0))), (seconds(530), Due::Rotate(seconds(510))));
        let over = Life::resumed(&lease("00:30", "00:20", false), seconds(500), wall).unwrap();
        assert_eq!((over.ends(), over.share_over(seconds(500))), (seconds(500), 1.0));
    }
}
