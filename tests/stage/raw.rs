//! A client that speaks TLS and bytes, for the rude things that a good client never does.

use leasehold_identity::{Connector, Identity};
use leasehold_testkit::Broker;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ROLE, SOON, Stage};

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One connection. Dropping it resets it (RST), as a machine does whose process died with unread data.
pub struct Raw(Box<dyn Stream>);

impl Raw {
    /// Connects as this workload.
    pub async fn connect(stage: &Stage, broker: &Broker, path: &str) -> Self {
        let svid = stage.svid(path);
        let identity = Identity::from_files(&svid.cert, &svid.key, &svid.bundle).expect("an identity");
        let broker_id = identity.spiffe_id().trust_domain().id("/leasehold").expect("the broker's ID");
        let tcp = TcpStream::connect(broker.addresses().api).await.expect("connect");
        tcp.set_zero_linger().expect("have it reset when dropped");
        let tls = Connector::new(identity, broker_id).connect(tcp).await.expect("a handshake");
        Self(Box::new(tls))
    }

    /// Sends a request for a credential of [`ROLE`], and does not wait for the answer.
    pub async fn ask_for_credential(&mut self) {
        let request = format!("POST /v1/credentials/{ROLE} HTTP/1.1\r\nHost: leasehold\r\nContent-Length: 0\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.expect("send the request");
        self.0.flush().await.expect("send the request");
    }

    /// Reads until this text has come.
    pub async fn read_until(&mut self, text: &str) -> String {
        let mut got = Vec::new();
        let reading = async {
            while !String::from_utf8_lossy(&got).contains(text) {
                let count = self.0.read_buf(&mut got).await.expect("read the answer");
                assert!(count > 0, "the answer ends early: {}", String::from_utf8_lossy(&got));
            }
        };
        tokio::time::timeout(SOON, reading).await.expect("the answer comes");
        String::from_utf8_lossy(&got).into_owned()
    }

    /// Says goodbye in TLS (close_notify), then is gone.
    pub async fn close(mut self) {
        self.0.shutdown().await.expect("say goodbye");
    }
}
