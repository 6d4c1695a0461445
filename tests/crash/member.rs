//! One broker that is killed again and again, and started again each time.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold_testkit::{Broker, BrokerOptions, ConfigFile, wait_until};
use tempfile::TempDir;

use crate::ground::{self, SOON};

/// How long it may take to be up again, with a store that is just starting.
const UP_WITHIN: Duration = Duration::from_secs(120);

/// How long a step at which it is to die may be waited for.
const STEP_WITHIN: Duration = Duration::from_secs(45);

/// Where a broker is reached now; `None` while it is not.
#[derive(Clone, Default)]
pub struct Door(Arc<Mutex<Option<String>>>);

impl Door {
    pub fn url(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, url: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = url;
    }
}

/// A broker, its directory and its clock.
pub struct Member {
    pub config: ConfigFile,
    pub door: Door,
    options: BrokerOptions,
    broker: Option<Broker>,
    clock: Option<PathBuf>,
    _dir: Option<TempDir>,
}

impl Member {
    /// Not started yet. `clock`: whether its wall clock can be set.
    pub fn new(config: ConfigFile, dir: Option<TempDir>, clock: bool) -> Self {
        let mut options = BrokerOptions { timeout: UP_WITHIN, ..ground::options(&config) };
        options.binary = not_killed_by_a_full_disk(&config);
        let clock = clock.then(|| config.dir().join("clock"));
        if let Some(file) = &clock {
            std::fs::write(file, "+0").expect("write the clock's file");
            options = options
                .env("LD_PRELOAD", libfaketime())
                .env("FAKETIME_TIMESTAMP_FILE", file.to_str().expect("a path in UTF-8"))
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("DONT_FAKE_MONOTONIC", "1");
        }
        Self { config, door: Door::default(), options, broker: None, clock, _dir: dir }
    }

    pub fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("it runs")
    }

    pub async fn start(&mut self) {
        let broker = Broker::start(self.options.clone()).await.unwrap_or_else(|e| panic!("it does not come up: {e:#}"));
        self.door.set(Some(broker.url()));
        self.broker = Some(broker);
    }

    pub async fn kill(&mut self) {
        self.door.set(None);
        let mut broker = self.broker.take().expect("it runs");
        broker.kill().await.expect("kill it");
    }

    /// Starts it so that it is gone when it passes this step, and waits for that. Whether it was. It is down then.
    pub async fn die_at(&mut self, step: &str) -> bool {
        self.kill().await;
        let options = self.options.clone().env("LEASEHOLD_FAIL_POINT", step);
        let Ok(mut broker) = Broker::start(BrokerOptions { timeout: STEP_WITHIN, ..options }).await else {
            // It passes the step while it starts.
            return true;
        };
        self.door.set(Some(broker.url()));
        let died = broker.wait_for_exit().await.is_ok();
        self.door.set(None);
        if !died {
            broker.kill().await.expect("kill it");
        }
        died
    }

    /// Waits until it says that this part of it keeps it from working: so the fault has struck.
    pub async fn wait_until_unready(&self, part: &str) {
        let says_so = |(status, said): (u16, String)| status == 503 && said.contains(&format!("\"{part}\""));
        let what = format!("it to be stopped by its {part}");
        wait_until(SOON, &what, || async { self.broker().ops("/readyz").await.is_ok_and(says_so) }).await;
    }

    /// Sets its wall clock off by this many seconds.
    pub fn set_clock(&self, off: i64) {
        let file = self.clock.as_ref().expect("a clock that can be set");
        let next = file.with_extension("next");
        std::fs::write(&next, format!("{off:+}")).expect("write the clock's file");
        std::fs::rename(&next, file).expect("put it in its place");
    }

    /// No file of it may grow beyond what the largest has now; or any may again.
    pub fn fill_disk(&self, full: bool) {
        let largest = || {
            let files = std::fs::read_dir(self.config.dir()).expect("list its files").flatten();
            files.filter_map(|file| Some(file.metadata().ok()?.len())).max().unwrap_or(0)
        };
        let size = if full { (largest() + 100).to_string() } else { "unlimited".to_owned() };
        let pid = self.broker().pid().expect("it runs").to_string();
        let done = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={size}:unlimited")]).status();
        assert!(done.expect("run prlimit (util-linux)").success());
    }
}

/// Writing beyond a limit is then an error and no deadly signal.
fn not_killed_by_a_full_disk(config: &ConfigFile) -> PathBuf {
    let wrapper = config.dir().join("wrapper.sh");
    std::fs::write(&wrapper, format!("#!/bin/sh\ntrap '' XFSZ\nexec '{}' \"$@\"\n", ground::PROGRAM))
        .expect("write it");
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).expect("make it a program");
    wrapper
}

fn libfaketime() -> String {
    let machines = std::fs::read_dir("/usr/lib").expect("list /usr/lib").flatten();
    let library = machines.map(|machine| machine.path().join("faketime/libfaketime.so.1")).find(|file| file.exists());
    library.expect("libfaketime is not installed: run scripts/setup --tests").to_str().expect("UTF-8").to_owned()
}
