//! A queue in which those who wait take turns by whose they are: a service that asks for a thousand things at once delays one
//! that asks for one by a single turn.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// A bounded queue of things that belong to somebody.
pub(super) struct Turns<T> {
    state: Mutex<State<T>>,
    more: Notify,
    max: usize,
}

struct State<T> {
    waiting: HashMap<String, VecDeque<T>>,
    /// Whose turn is next; each who waits stands here once.
    next: VecDeque<String>,
    count: usize,
    is_closed: bool,
}

/// The end where things are put in. When the last clone is gone, the other end gets what is left and then nothing.
pub(super) struct Entrance<T>(Arc<Gate<T>>);

struct Gate<T>(Arc<Turns<T>>);

/// A queue for `max` things, with its entrance.
pub(super) fn turns<T>(max: usize) -> (Entrance<T>, Arc<Turns<T>>) {
    let state = State { waiting: HashMap::new(), next: VecDeque::new(), count: 0, is_closed: false };
    let turns = Arc::new(Turns { state: Mutex::new(state), more: Notify::new(), max });
    (Entrance(Arc::new(Gate(turns.clone()))), turns)
}

impl<T> Clone for Entrance<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Entrance<T> {
    /// Puts one in.
    ///
    /// # Errors
    /// It is given back: the queue is full.
    pub(super) fn put(&self, whose: &str, thing: T) -> Result<(), T> {
        let turns = &self.0.0;
        let mut state = turns.lock();
        if state.count >= turns.max {
            return Err(thing);
        }
        state.count += 1;
        let State { waiting, next, .. } = &mut *state;
        match waiting.get_mut(whose) {
            Some(queue) => queue.push_back(thing),
            None => {
                waiting.insert(whose.to_owned(), VecDeque::from([thing]));
                next.push_back(whose.to_owned());
            }
        }
        drop(state);
        turns.more.notify_one();
        Ok(())
    }
}

impl<T> Drop for Gate<T> {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.more.notify_waiters();
        self.0.more.notify_one();
    }
}

impl<T> Turns<T> {
    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something, and takes up to `max`: one of each who waits, then one more of each, and so on. None: nothing will
    /// come any more.
    pub(super) async fn take(&self, max: usize) -> Vec<T> {
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            // Listening starts before looking.
            more.as_mut().enable();
            let (taken, is_closed, is_left) = self.take_now(max);
            if is_left || is_closed {
                // Another lane may sleep.
                self.more.notify_one();
            }
            if !taken.is_empty() || is_closed {
                return taken;
            }
            more.await;
        }
    }

    fn take_now(&self, max: usize) -> (Vec<T>, bool, bool) {
        let mut state = self.lock();
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(whose) = state.next.pop_front() else { break };
            let Some(queue) = state.waiting.get_mut(&whose) else { continue };
            taken.extend(queue.pop_front());
            match queue.is_empty() {
                true => drop(state.waiting.remove(&whose)),
                false => state.next.push_back(whose),
            }
        }
        state.count -= taken.len();
        (taken, state.is_closed, state.count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_for_one_waits_for_one_turn() {
        let (entrance, turns) = turns(100);
        for n in 0..50 {
            entrance.put("flood", n).unwrap();
        }
        entrance.put("one", 1000).unwrap();
        entrance.put("two", 2000).unwrap();
        assert_eq!(turns.take(4).await, [0, 1000, 2000, 1]);
        entrance.put("one", 1001).unwrap();
        assert_eq!(turns.take(3).await, [2, 1001, 3]);
    }

    #[tokio::test]
    async fn it_is_bounded_and_ends_with_its_entrance() {
        let (entrance, turns) = turns(2);
        let other = entrance.clone();
        entrance.put("a", 1).unwrap();
        other.put("b", 2).unwrap();
        assert_eq!(entrance.put("c", 3), Err(3));
        drop(entrance);
        assert_eq!(turns.take(1).await, [1]);
        other.put("c", 4).unwrap();
        let waiting = tokio::spawn({
            let turns = turns.clone();
            async move { (turns.take(9).await, turns.take(9).await) }
        });
        drop(other);
        assert_eq!(waiting.await.unwrap(), (vec![2, 4], vec![]));
        assert!(turns.lock().waiting.is_empty(), "nobody who waits for nothing takes room");
    }

    #[tokio::test]
    async fn several_lanes_miss_nothing() {
        let (entrance, turns) = turns(10_000);
        let lanes: Vec<_> = (0..4)
            .map(|_| {
                let turns = turns.clone();
                tokio::spawn(async move {
                    let mut count = 0;
                    loop {
                        match turns.take(3).await.len() {
                            0 => return count,
                            n => count += n,
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for n in 0..5000 {
            entrance.put(&format!("{}", n % 7), n).unwrap();
            if n % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        drop(entrance);
        let mut count = 0;
        for lane in lanes {
            count += lane.await.unwrap();
        }
        assert_eq!(count, 5000);
    }
}
