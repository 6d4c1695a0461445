//! How many batches of revocations are under way in one target: few while it is in trouble, more as it answers. So what
//! piled up during an outage comes back at the pace that the target takes (law 7).

use tokio::task::JoinSet;

/// What a batch told of its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It answered.
    Answers,
    /// Nothing of the batch was answered.
    Trouble,
}

/// The batches under way.
pub(super) struct Lanes {
    under_way: JoinSet<Told>,
    width: usize,
    width_max: usize,
}

impl Lanes {
    /// Up to `width_max` at once, beginning with one.
    pub(super) fn new(width_max: usize) -> Self {
        Self { under_way: JoinSet::new(), width: 1, width_max: width_max.max(1) }
    }

    /// Starts a batch as soon as there is a lane for it.
    pub(super) async fn start(&mut self, batch: impl Future<Output = Told> + Send + 'static) {
        while self.under_way.len() >= self.width {
            self.one_ends().await;
        }
        // What has ended meanwhile is heard, too.
        while let Some(ended) = self.under_way.try_join_next() {
            self.hear(ended.unwrap_or(Told::Trouble));
        }
        self.under_way.spawn(batch);
    }

    /// Waits for the next batch to end; for ever when none is under way.
    pub(super) async fn one_ends(&mut self) {
        match self.under_way.join_next().await {
            Some(ended) => self.hear(ended.unwrap_or(Told::Trouble)),
            None => std::future::pending().await,
        }
    }

    /// Waits until none is under way.
    pub(super) async fn all_end(&mut self) {
        while self.under_way.join_next().await.is_some() {}
    }

    fn hear(&mut self, told: Told) {
        self.width = match told {
            Told::Answers => (self.width * 2).min(self.width_max),
            Told::Trouble => 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    /// A batch that ends when it is let.
    fn batch(gate: &Arc<Semaphore>, told: Told) -> impl Future<Output = Told> + use<> {
        let gate = gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            told
        }
    }

    async fn told(lanes: &mut Lanes, what: Told) {
        lanes.start(async move { what }).await;
        lanes.one_ends().await;
    }

    #[tokio::test]
    async fn it_widens_as_the_target_answers_and_begins_anew_after_trouble() {
        let mut lanes = Lanes::new(3);
        let widths = [Told::Answers, Told::Answers, Told::Answers, Told::Trouble, Told::Answers];
        let mut seen = vec![lanes.width];
        for what in widths {
            told(&mut lanes, what).await;
            seen.push(lanes.width);
        }
        assert_eq!(seen, [1, 2, 3, 3, 1, 2]);
        assert_eq!(Lanes::new(0).width_max, 1);
    }

    #[tokio::test]
    async fn no_more_are_under_way_than_there_are_lanes() {
        let gate = Arc::new(Semaphore::new(0));
        let mut lanes = Lanes::new(2);
        told(&mut lanes, Told::Answers).await;
        for _ in 0..2 {
            lanes.start(batch(&gate, Told::Answers)).await;
        }
        {
            let third = lanes.start(batch(&gate, Told::Trouble));
            tokio::pin!(third);
            assert!(futures_util::poll!(&mut third).is_pending(), "both lanes are taken");
            gate.add_permits(3);
            third.await;
        }
        lanes.all_end().await;
        assert!(lanes.under_way.is_empty());
    }

    #[tokio::test]
    async fn a_batch_that_panics_is_trouble() {
        let mut lanes = Lanes::new(4);
        told(&mut lanes, Told::Answers).await;
        lanes.start(async { panic!("an engine's fault") }).await;
        lanes.one_ends().await;
        assert_eq!(lanes.width, 1);
    }
}
