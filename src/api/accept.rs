//! The accept loop: it only accepts. Handshakes and requests happen in a task per connection, bounded in time and number.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use leasehold_identity::{Acceptor, HandshakeError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection;
use super::front::Front;
use crate::lease::Broker;

/// How long the loop rests when the system has no socket to give: it is out of file descriptors, and trying harder helps nobody.
const REST: Duration = Duration::from_millis(50);

/// Accepts until told to stop, then waits until every connection has finished what it was at, `drain_max` at most.
pub(super) async fn run(
    listener: TcpListener,
    front: Arc<Front>,
    mut stop: watch::Receiver<bool>,
    drain_max: Duration,
) {
    let acceptor = front.identity.acceptor();
    let mut connections = JoinSet::new();
    while !*stop.borrow() {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, from)) => {
                    let Ok(permit) = front.connections.clone().try_acquire_owned() else {
                        front.metrics.hit("connections_at_once_max");
                        continue;
                    };
                    let (front, acceptor, stop) = (front.clone(), acceptor.clone(), stop.clone());
                    connections.spawn(async move {
                        serve(front, acceptor, tcp, from, stop).await;
                        drop(permit);
                    });
                }
                Err(e) => {
                    tracing::warn!(error = %e, "no connection can be accepted");
                    tokio::time::sleep(REST).await;
                }
            },
            // Finished ones are collected as they end, so that the set holds only what lives.
            Some(_) = connections.join_next() => {}
            _ = stop.changed() => {}
        }
    }
    drop(listener);
    let all_done = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(drain_max, all_done).await;
}

async fn serve(front: Arc<Front>, acceptor: Acceptor, tcp: TcpStream, from: SocketAddr, stop: watch::Receiver<bool>) {
    let Ok(handshake) = front.handshakes.clone().try_acquire_owned() else {
        front.metrics.hit("handshakes_at_once_max");
        return;
    };
    // Small answers go out at once.
    let _ = tcp.set_nodelay(true);
    let outcome = tokio::time::timeout(front.handshake_max, acceptor.accept(tcp)).await;
    drop(handshake);
    match outcome {
        Ok(Ok((tls, peer))) => {
            front.metrics.handshake(None);
            let Some(_held) = front.of_identity.take(&peer.spiffe_id) else {
                return front.metrics.hit(front.of_identity.limit);
            };
            connection::serve(front, tls, peer, stop).await;
        }
        Ok(Err(refused)) => note_refusal(&front.broker, from, &refused),
        Err(_) => front.broker.handshake_refused(from, "timeout", None),
    }
}

fn note_refusal(broker: &Broker, from: SocketAddr, refused: &HandshakeError) {
    let claimed = refused.claimed_spiffe_id_unverified().map(ToString::to_string);
    tracing::debug!(peer = %from, reason = refused.reason(), error = %refused, "a TLS handshake was refused");
    broker.handshake_refused(from, refused.reason(), claimed);
}
