//! From mint to dead.

use std::time::Duration;

use leasehold_sdk::Listing;
use leasehold_testkit::Installation;
use serde_json::json;

use crate::bed::{Bed, Kind};

leasehold_testkit::each_version! {
    an_account_lives_and_dies_with_a_superuser,
    an_account_lives_and_dies_without_a_superuser,
}

async fn an_account_lives_and_dies_with_a_superuser(postgres: Installation) {
    lives_and_dies(Bed::new(postgres, Kind::Superuser).await).await;
}

async fn an_account_lives_and_dies_without_a_superuser(postgres: Installation) {
    lives_and_dies(Bed::new(postgres, Kind::Createrole).await).await;
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
