//! A TCP proxy on loopback that misbehaves on command.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They pass.
    Pass,
    /// They pass, each piece this much later.
    Delay(Duration),
    /// They wait until the flow changes; the connection stays open.
    Stall,
}

/// A proxy in front of one server. Dropping it closes every connection.
///
/// The traps look for bytes, so they need a connection without TLS.
pub struct Proxy {
    address: SocketAddr,
    control: watch::Sender<Control>,
    traps: Arc<Mutex<Vec<Trap>>>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy)]
struct Control {
    accepting: bool,
    to_server: Flow,
    to_client: Flow,
    /// Where the server listens.
    server_port: u16,
    /// The next reply is cut in the middle.
    tears: bool,
    /// Connections made in an earlier generation are cut.
    generation: u64,
    /// Requests that were held in an earlier round go on.
    round: u64,
    sprung: u64,
}

#[derive(Clone)]
struct Trap {
    needle: Vec<u8>,
    kind: TrapKind,
}

#[derive(Clone, Copy, PartialEq)]
enum TrapKind {
    CutBeforeServer,
    CutAfterReply,
    Hold,
}

impl Proxy {
    /// Starts a proxy on a free port of 127.0.0.1 in front of a server on this port of 127.0.0.1.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(server_port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listen on loopback");
        let address = listener.local_addr().expect("the listener's address");
        let pass = Flow::Pass;
        let initial = Control {
            accepting: true,
            to_server: pass,
            to_client: pass,
            server_port,
            tears: false,
            generation: 0,
            round: 0,
            sprung: 0,
        };
        let control = watch::Sender::new(initial);
        let traps = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(accept(listener, control.clone(), Arc::clone(&traps)));
        Self { address, control, traps, task }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port where clients connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Sets what happens to bytes from client to server.
    pub fn to_server(&self, flow: Flow) {
        self.control.send_modify(|control| control.to_server = flow);
    }

    /// Sets what happens to bytes from server to client.
    pub fn to_client(&self, flow: Flow) {
        self.control.send_modify(|control| control.to_client = flow);
    }

    /// Closes every connection; new ones go to the server on this port of 127.0.0.1.
    pub fn point_to(&self, server_port: u16) {
        self.control.send_modify(|control| control.server_port = server_port);
        self.cut();
    }

    /// Once: of the next reply the client gets a part, and then no more.
    pub fn tear_next_reply(&self) {
        self.control.send_modify(|control| control.tears = true);
    }

    /// Closes every connection there is; new ones still pass.
    pub fn cut(&self) {
        self.control.send_modify(|control| control.generation += 1);
    }

    /// Closes every connection, and each new one at once, until [`Proxy::mend`].
    pub fn sever(&self) {
        self.control.send_modify(|control| {
            control.generation += 1;
            control.accepting = false;
        });
    }

    /// Everything passes again, and held requests go on. Traps stay set.
    pub fn mend(&self) {
        self.control.send_modify(|control| {
            control.accepting = true;
            control.to_server = Flow::Pass;
            control.to_client = Flow::Pass;
            control.round += 1;
        });
    }

    /// Once: the request with these bytes never reaches the server; its connection is cut instead.
    pub fn cut_before(&self, request: &str) {
        self.set_trap(request, TrapKind::CutBeforeServer);
    }

    /// Once: the request with these bytes reaches the server, and when the server has begun its reply, the connection is
    /// cut before a byte of it reaches the client. So the client cannot know whether it was done.
    pub fn cut_reply_to(&self, request: &str) {
        self.set_trap(request, TrapKind::CutAfterReply);
    }

    /// Once: the request with these bytes waits in the proxy until [`Proxy::mend`], and then still reaches the server, even
    /// when its client is gone.
    pub fn hold(&self, request: &str) {
        self.set_trap(request, TrapKind::Hold);
    }

    /// How many traps have caught a request so far.
    #[must_use]
    pub fn caught(&self) -> u64 {
        self.control.borrow().sprung
    }

    /// Waits until as many traps have caught a request since the start.
    ///
    /// # Panics
    /// When they have not after `timeout`.
    pub async fn wait_caught(&self, count: u64, timeout: Duration) {
        let mut control = self.control.subscribe();
        let caught = tokio::time::timeout(timeout, control.wait_for(|control| control.sprung >= count)).await;
        assert!(caught.is_ok(), "the proxy caught {} of {count} requests in {timeout:?}", self.caught());
    }

    fn set_trap(&self, request: &str, kind: TrapKind) {
        let trap = Trap { needle: request.as_bytes().to_vec(), kind };
        self.traps.lock().unwrap_or_else(PoisonError::into_inner).push(trap);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, control: watch::Sender<Control>, traps: Arc<Mutex<Vec<Trap>>>) {
    while let Ok((client, _)) = listener.accept().await {
        if !control.borrow().accepting {
            continue;
        }
        let connection = Connection { control: control.clone(), traps: Arc::clone(&traps) };
        let generation = control.borrow().generation;
        tokio::spawn(async move {
            let mut until_cut = connection.control.subscribe();
            tokio::select! {
                () = connection.serve(client) => {}
                _ = until_cut.wait_for(|control| control.generation != generation) => {}
            }
        });
    }
}

struct Connection {
    control: watch::Sender<Control>,
    traps: Arc<Mutex<Vec<Trap>>>,
}

impl Connection {
    async fn serve(&self, mut client: TcpStream) {
        let server_port = self.control.borrow().server_port;
        let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        // Set once the reply that is now to come must not reach the client.
        let cut_reply = watch::Sender::new(false);
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            () = self.pump_requests(from_client, to_server, &cut_reply) => {}
            () = self.pump_replies(from_server, to_client, &cut_reply) => {}
        }
    }

    async fn pump_requests(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, cut_reply: &watch::Sender<bool>) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
            match self.spring_trap(&buffer[..count]) {
                Some(TrapKind::CutBeforeServer) => return,
                Some(TrapKind::CutAfterReply) => drop(cut_reply.send_replace(true)),
                Some(TrapKind::Hold) => self.wait_for_mending().await,
                None => {}
            }
            self.obey(|control| control.to_server).await;
            if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    }

    async fn pump_replies(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, cut_reply: &watch::Sender<bool>) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
            if *cut_reply.borrow() {
                return;
            }
            self.obey(|control| control.to_client).await;
            if self.control.send_if_modified(|control| std::mem::take(&mut control.tears)) {
                let _ = to.write_all(&buffer[..count.div_ceil(2)]).await;
                return;
            }
            if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    }

    /// Waits as long as the flow of this direction says.
    async fn obey(&self, flow: impl Fn(&Control) -> Flow) {
        let now = flow(&self.control.borrow());
        match now {
            Flow::Pass => {}
            Flow::Delay(delay) => sleep(delay).await,
            Flow::Stall => {
                let _ = self.control.subscribe().wait_for(|control| flow(control) != Flow::Stall).await;
            }
        }
    }

    async fn wait_for_mending(&self) {
        let round = self.control.borrow().round;
        let _ = self.control.subscribe().wait_for(|control| control.round != round).await;
    }

    fn spring_trap(&self, request: &[u8]) -> Option<TrapKind> {
        let mut traps = self.traps.lock().unwrap_or_else(PoisonError::into_inner);
        let index = traps.iter().position(|trap| request.windows(trap.needle.len()).any(|part| part == trap.needle))?;
        let kind = traps.remove(index).kind;
        self.control.send_modify(|control| control.sprung += 1);
        Some(kind)
    }
}
