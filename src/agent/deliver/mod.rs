//! Handing a credential on: its files are written, then whoever is to know is told.

mod call;
pub mod folder;
mod hook;
mod pgbouncer;

use std::sync::Arc;
use std::time::Duration;

use leasehold_client::{Credentials, Held};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::acks::{Acks, Speaker};
use super::config::{CredentialConfig, FileConfig, FileContent, Withheld};
use super::forms::{self, template};
use super::state::State;
use super::supply::Supply;
use folder::{Content, Folder};

/// First pause after a delivery that failed; doubled each time.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest such pause: a disk may become free at any time.
const RETRY_MAX: Duration = Duration::from_secs(15);

/// One credential on its way to its consumers.
pub struct Delivery {
    pub name: String,
    pub config: Arc<CredentialConfig>,
    pub credentials: Arc<Credentials>,
    pub acks: Arc<Acks>,
    /// Where it is kept over the agent's end.
    pub state: Option<Arc<State>>,
    /// Rung when a new generation was delivered.
    pub news: watch::Sender<u64>,
    withheld: Withheld,
    folders: Vec<(Arc<Folder>, Vec<FileConfig>)>,
}

impl Delivery {
    /// Takes the directories of its files.
    ///
    /// # Errors
    /// As [`Folder::claim`].
    pub fn new(
        name: &str,
        supply: &Supply,
        state: Option<Arc<State>>,
        news: watch::Sender<u64>,
        withheld: Withheld,
    ) -> anyhow::Result<Self> {
        let Supply { config, credentials, acks } = supply;
        let claim = |(dir, files): (&std::path::PathBuf, &Vec<FileConfig>)| {
            Folder::claim(dir).map(|folder| (Arc::new(folder), files.clone()))
        };
        let folders = config.folders.iter().map(claim).collect::<anyhow::Result<_>>()?;
        let (config, credentials, acks) = (config.clone(), credentials.clone(), acks.clone());
        Ok(Self { name: name.to_owned(), config, credentials, acks, state, news, withheld, folders })
    }

    /// Delivers every change, until it is dropped. What cannot be delivered is tried again, for ever, unless something newer
    /// comes.
    pub async fn run(self) {
        let mut changes = self.credentials.subscribe();
        let mut told = 0;
        let mut pause = RETRY_MIN;
        loop {
            let (held, told_before) = (changes.borrow_and_update().clone(), told);
            let delivered = match &held {
                Some(held) => self.deliver(held, &mut told).await,
                None => Ok(()),
            };
            self.acks.note_delivery(&delivered, held.as_deref().map_or(0, |held| held.generation));
            if told != told_before {
                // After it is noted: whoever hears of it looks there.
                self.news.send_modify(|count| *count += 1);
            }
            match delivered {
                Ok(()) => {
                    pause = RETRY_MIN;
                    if changes.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(credential = %self.name, error = format!("{error:#}"), again_in = ?pause, "the credential cannot be delivered");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_MAX),
                        _ = changes.changed() => pause = RETRY_MIN,
                    }
                }
            }
        }
    }

    /// `told`: the generation of which all hooks have heard.
    async fn deliver(&self, held: &Held, told: &mut u64) -> anyhow::Result<()> {
        self.keep(held).await;
        for (folder, files) in &self.folders {
            let contents = self.contents(held, files)?;
            let folder = folder.clone();
            spawn_blocking(move || folder.put(&contents)).await??;
        }
        if *told == held.generation {
            return Ok(());
        }
        for hook in &self.config.on_change {
            hook::call(&hook.deed, &self.withheld, &self.name, held.generation).await?;
            if let Some(who) = &hook.acks {
                self.acks.take(who, Speaker::Hook, held.generation, &self.credentials)?;
            }
        }
        *told = held.generation;
        tracing::info!(credential = %self.name, generation = held.generation, "the credential is delivered");
        Ok(())
    }

    /// A state that cannot be written keeps nobody from working: it is only needed by the next agent.
    async fn keep(&self, held: &Held) {
        let Some(state) = self.state.clone() else { return };
        let (name, wanted, held) = (self.name.clone(), self.config.wanted.clone(), held.clone());
        let kept = spawn_blocking(move || state.keep(&name, &wanted, &held)).await;
        if let Err(error) = kept.map_err(anyhow::Error::from).flatten() {
            tracing::error!(credential = %self.name, error = format!("{error:#}"), "the credential is not kept over the agent's end");
        }
    }

    fn contents(&self, held: &Held, files: &[FileConfig]) -> anyhow::Result<Vec<Content>> {
        let opened = forms::open(&held.credential)?;
        let content = |file: &FileConfig| {
            let text = match &file.content {
                FileContent::Form(form) => forms::formed(*form, &self.name, held.lease.as_ref(), &opened)?,
                FileContent::Template(path) => {
                    let known =
                        template::Known::default().and(&self.name, held.generation, held.lease.as_ref(), &opened);
                    template::fill(&path.display().to_string(), &template::read(path)?, &known)?
                }
            };
            Ok(Content { name: file.name.clone(), text, mode: file.mode, owner: file.owner })
        };
        files.iter().map(content).collect()
    }
}
