//! A streaming standby of a server of ours.

use std::sync::Mutex;

use anyhow::Result;

use crate::PgServer;
use crate::account::RunAs;
use crate::backup::copy;
use crate::guardian::Guardian;
use crate::setup::{self, Layout};

impl PgServer {
    /// A hot standby that streams from this server, on a port of its own; with the same roles and passwords. This server is
    /// stopped for the copy and started again: `pg_basebackup` is not part of every installation.
    ///
    /// # Errors
    /// When the copy cannot be made, or one of the two does not start within the deadline.
    pub async fn standby(&self) -> Result<Self> {
        self.stop().await?;
        let copied = tokio::task::block_in_place(|| self.copy());
        self.restart().await?;
        let standby = copied?;
        standby.launch().await?;
        Ok(standby)
    }

    fn copy(&self) -> Result<Self> {
        let user = RunAs::choose()?;
        let layout = Layout::create(user)?;
        let guardian = Guardian::start(&layout.data, &layout.root, user)?;
        copy(self.data_dir(), &layout.data, user)?;
        setup::write_private(&layout.data.join("standby.signal"), b"", user)?;
        let port = setup::free_port()?;
        let own = format!(
            "\nport = {port}\nunix_socket_directories = '{}'\n\
             primary_conninfo = 'host={} port={} user=postgres password={}'\n",
            layout.socket.display(),
            self.host(),
            self.port(),
            self.superuser_password(),
        );
        setup::append_conf(&layout, &own)?;
        Ok(Self {
            installation: self.installation().clone(),
            layout,
            user,
            port,
            password: self.superuser_password().to_owned(),
            start_timeout: self.start_timeout,
            postmaster: Mutex::new(None),
            _guardian: guardian,
        })
    }
}
