//! Rooms: finite spaces of a target in which ends are told, such as the policies of one role of a cloud. A place is taken in the store
//! before it is written there, so that whoever writes next writes it too.

use std::collections::BTreeMap;

use leasehold_sdk::{Ending, Place, RevokeOrder, Standing, Timestamp};

use super::Broker;
use crate::domain::lease::{EndedBy, Lease};
use crate::store::{RoomPlace, StoreError};

impl Broker {
    /// Gives each order what it may take of its room, and takes that.
    pub(super) async fn furnish(
        &self,
        orders: &mut [RevokeOrder],
        leases: &[Lease],
        share: u64,
    ) -> Result<(), StoreError> {
        let mut rooms: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, order) in orders.iter().enumerate() {
            if let Some(room) = &order.plan.room {
                rooms.entry(room.clone()).or_default().push(at);
            }
        }
        for (room, members) in rooms {
            let (places, cut) = (self.store.places(&room).await?, self.store.room_cut(&room).await?);
            let mut standing = places;
            let mut taken = Vec::new();
            for at in &members {
                let (order, lease) = (&mut orders[*at], &leases[*at]);
                let (place, new) = claim(order, lease, &room, &standing, cut, share);
                order.room.place = place;
                order.room.cut = new.as_ref().and_then(|new| new.cut).or_else(|| cut_of(&standing, lease));
                if let Some(new) = new {
                    standing.retain(|old| old.lease != new.lease);
                    standing.push(new.clone());
                    taken.push(new);
                }
            }
            if !taken.is_empty() {
                self.store.take_places(&taken).await?;
            }
            let told: Vec<Standing> = standing.into_iter().map(told).collect();
            members.iter().for_each(|at| orders[*at].room.standing.clone_from(&told));
        }
        Ok(())
    }

    /// Gives back the places of what has ended, or is told nowhere.
    pub(super) async fn leave_rooms(&self, endings: &[(&Lease, bool, &Ending)]) -> Result<(), StoreError> {
        let no_place = |ending: &Ending| !matches!(ending, Ending::Told { placed: true, .. });
        let gone = endings.iter().filter(|(_, of_room, ending)| *of_room && no_place(ending));
        let gone: Vec<_> = gone.map(|(lease, ..)| lease.id).collect();
        if gone.is_empty() { Ok(()) } else { self.store.leave_places(&gone).await }
    }
}

/// What one lease may take, and the place that it takes now.
fn claim(
    order: &RevokeOrder,
    lease: &Lease,
    room: &str,
    standing: &[RoomPlace],
    cut: Option<Timestamp>,
    share: u64,
) -> (Place, Option<RoomPlace>) {
    let stands = standing.iter().find(|place| place.lease == lease.id);
    // A cut ends what was made before it, and only what an operator ended with it.
    let cut = cut.filter(|cut| lease.ended_by == Some(EndedBy::Operator) && lease.issued_at < *cut);
    if stands.is_some_and(|place| place.cut.is_some() || cut.is_none()) {
        return (Place::Free, None);
    }
    let of_share = match lease.ended_by {
        None | Some(EndedBy::Expiry) => return (Place::NotAsked, None),
        // Whoever hangs up on its mints ends them as much as whoever says so.
        Some(EndedBy::Caller | EndedBy::Failed) => true,
        Some(EndedBy::Operator | EndedBy::Policy | EndedBy::Vanished) => false,
    };
    let used = standing.iter().filter(|place| place.of_share && place.identity == lease.identity.as_str()).count();
    if of_share && used as u64 >= share {
        return (Place::ShareUsed(share), None);
    }
    let until = lease.worst_case_until.unwrap_or(lease.max_expires_at);
    let place = RoomPlace {
        lease: lease.id,
        room: room.to_owned(),
        identity: lease.identity.to_string(),
        account: order.plan.account.clone(),
        of_share,
        until,
        cut,
    };
    (Place::Free, Some(place))
}

fn cut_of(standing: &[RoomPlace], lease: &Lease) -> Option<Timestamp> {
    standing.iter().find(|place| place.lease == lease.id).and_then(|place| place.cut)
}

fn told(place: RoomPlace) -> Standing {
    Standing { account: place.account, until: place.until, cut: place.cut }
}
