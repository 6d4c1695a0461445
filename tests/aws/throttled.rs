//! An account that throttles everything harms no other target.

use leasehold_client::ClientError;
use leasehold_client::wire::MintRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::world::{DIRECT, INVOICES, World, mint};
use crate::stage::BILLING;

const BUSY: &str = "busy-bucket";

const THROTTLED: &str = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>Throttling</Code>\
    <Message>Rate exceeded</Message></Error><RequestId>r</RequestId></ErrorResponse>";

/// Answers whatever is asked alike. Ends with its test.
async fn throttles() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = vec![0; 64 * 1024];
                while peer.read(&mut asked).await.is_ok_and(|n| n > 0) {
                    let length = THROTTLED.len();
                    let head = format!(
                        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/xml\r\ncontent-length: {length}\r\n\r\n"
                    );
                    if peer.write_all((head + THROTTLED).as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_throttles_says_so_and_no_other_waits_for_it() {
    let mut world = World::new().await;
    let endpoint = throttles().await;
    let target =
        format!("plugin = \"aws\"\nregion = \"eu-central-1\"\nauth = \"web_identity\"\nendpoint = \"{endpoint}\"");
    let role = format!("target = \"aws-busy\"\nttl = \"15m\"\nrole_arn = \"{}\"", world.role.arn);
    let config = world.stage.config.target("aws-busy", &target).role(BUSY, &role);
    world.stage.config = config.grant("billing is throttled", &["spiffe://dev.local/billing"], &[BUSY], &["mint"]);
    let broker = world.broker().await;
    let client = world.stage.client(&broker, BILLING);
    let asked = MintRequest::default();
    let many = (0..12).map(|_| client.mint(BUSY, &asked));
    let others = async {
        for role in [INVOICES, DIRECT, INVOICES, DIRECT] {
            mint(&client, role).await;
        }
    };
    let (refused, ()) = tokio::join!(futures_util::future::join_all(many), others);
    for refusal in refused {
        let refusal: ClientError = refusal.expect_err("it throttles");
        assert_eq!(refusal.status(), Some(503), "{refusal}");
    }
    let said = client.mint(BUSY, &asked).await.expect_err("still").to_string();
    assert!(said.contains("Throttling") || said.contains("aws-busy"), "{said}");
}
