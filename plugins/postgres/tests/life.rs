//! From mint to dead.

use std::time::Duration;

use leasehold_sdk::Listing;
use leasehold_testkit::Installation;
use serde_json::json;
use tokio::join;
use tokio::time::sleep;

use crate::bed::{Bed, Kind};

leasehold_testkit::each_version! {
    an_account_lives_and_dies_with_a_superuser,
    an_account_lives_and_dies_without_a_superuser,
    another_that_joins_the_estate_at_the_same_moment_is_no_obstacle,
}

async fn an_account_lives_and_dies_with_a_superuser(postgres: Installation) {
    lives_and_dies(Bed::new(postgres, Kind::Superuser).await).await;
}

async fn an_account_lives_and_dies_without_a_superuser(postgres: Installation) {
    lives_and_dies(Bed::new(postgres, Kind::Createrole).await).await;
}

/// The first mint of a cluster makes its group and its estate role. Each lane of each broker may be the first, and one that is a
/// moment slower than another must not fail by it.
async fn another_that_joins_the_estate_at_the_same_moment_is_no_obstacle(postgres: Installation) {
    let new_rules = postgres.major() >= 16;
    let bed = Bed::new(postgres, Kind::Createrole).await;
    let (cluster, admin) = (&bed.mark.cluster, &bed.admin);
    let mut other = bed.pg.session(&admin.name, &admin.password).await;
    let roles = format!("CREATE ROLE \"lh_{cluster}\" NOLOGIN; CREATE ROLE \"lh_{cluster}_estate\" NOLOGIN");
    other.execute(&roles).await.unwrap();
    let options = if new_rules { "WITH INHERIT TRUE, SET TRUE" } else { "" };
    other.execute("BEGIN").await.unwrap();
    other.execute(&format!("GRANT \"lh_{cluster}_estate\" TO {} {options}", admin.name)).await.unwrap();
    let role = bed.role(json!({}));
    let finish = async {
        let mut superuser = bed.pg.superuser().await;
        let waiting = format!(
            "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = '{}'",
            admin.name
        );
        for _ in 0..1000 {
            if superuser.text(&waiting).await.unwrap().as_deref() == Some("1") {
                other.execute("COMMIT").await.unwrap();
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("nobody waits for the other");
    };
    let (account, ()) = join!(bed.mint(&role), finish);
    bed.revoke(&account).await.unwrap();
}

async fn lives_and_dies(bed: Bed) {
    let role = bed.role(json!({"search_path": ["app", "public"], "settings": {"work_mem": "5MB"}}));
    let account = bed.mint(&role).await;
    let mut session = bed.login(&account).await;
    assert_eq!(session.text("SELECT count(*)::text FROM public.orders").await.unwrap().unwrap(), "3");
    assert_eq!(session.text("SHOW search_path").await.unwrap().unwrap(), "app, public");
    assert_eq!(session.text("SHOW work_mem").await.unwrap().unwrap(), "5MB");
    assert!(bed.pg.server().psql_as(&account.url, "SELECT 1").await.is_ok(), "libpq takes the URL");

    let Listing::Page { accounts, next } = bed.engine.list(&bed.mark, None, 10).await.unwrap() else { panic!() };
    let names: Vec<String> = accounts.iter().map(|a| a.account.to_string()).collect();
    assert_eq!(names.join(","), account.name);
    assert_eq!(next, None);

    bed.assert_ends(&account).await;
    session.wait_until_dead(Duration::from_secs(5)).await;
    bed.revoke(&account).await.unwrap();
}
