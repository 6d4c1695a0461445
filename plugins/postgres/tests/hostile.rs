//! The hostile account: whatever it did, it ends dead, nothing it left gains rights, and none of its code ran with ours.

use std::time::Duration;

use leasehold_testkit::Installation;
use serde_json::json;

use crate::bed::{Bed, Kind};

leasehold_testkit::each_version! {
    temp_tables_and_locks,
    objects_of_every_kind,
    objects_of_every_kind_are_dropped_when_told,
    what_cannot_be_dropped_goes_to_the_estate,
    a_database_with_hostile_defaults,
    a_session_under_another_role,
    grants_made_by_it_and_of_it,
    prepared_transactions,
    planted_names_never_run_as_us,
    a_login_in_the_middle,
    its_own_password_and_settings,
    what_acts_for_its_owner_never_gets_a_stronger_one,
    a_closed_database_of_its_own,
}

const ALL: [Kind; 3] = [Kind::Superuser, Kind::Createrole, Kind::Functions];
/// With functions, our login has no right on a database that an account closed: its README says so.
const WITH_RIGHTS: [Kind; 2] = [Kind::Superuser, Kind::Createrole];
const DYING: Duration = Duration::from_secs(5);

async fn temp_tables_and_locks(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        let account = bed.mint(&bed.writing_role(json!({}))).await;
        let mut a = bed.login(&account).await;
        a.execute("CREATE TEMP TABLE t (i int); INSERT INTO t VALUES (1); SELECT pg_advisory_lock(1)").await.unwrap();
        let mut b = bed.login(&account).await;
        b.execute("CREATE TABLE public.held (i int)").await.unwrap();
        b.execute("BEGIN; LOCK TABLE public.held; LOCK TABLE public.orders IN ACCESS SHARE MODE").await.unwrap();
        bed.assert_ends(&account).await;
        a.wait_until_dead(DYING).await;
        b.wait_until_dead(DYING).await;
        let owner = bed.ask("SELECT tableowner FROM pg_tables WHERE tablename = 'held'").await;
        assert_eq!(owner.unwrap(), bed.estate(), "nothing is lost");
    }
}

/// Makes one object of every kind that an ordinary account may own.
async fn make_objects(bed: &Bed, account: &crate::bed::Account) {
    let mut s = bed.login(account).await;
    s.execute(
        "CREATE SCHEMA own; CREATE TABLE own.t (i serial PRIMARY KEY, x text); CREATE VIEW own.v AS SELECT * FROM own.t;\
         CREATE TABLE public.pub (i int REFERENCES own.t); CREATE TYPE public.mood AS ENUM ('sad');\
         CREATE FUNCTION public.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';\
         CREATE FUNCTION own.trg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';\
         CREATE TRIGGER trg BEFORE INSERT ON public.pub FOR EACH ROW EXECUTE FUNCTION own.trg();\
         CREATE POLICY p ON public.pub TO CURRENT_USER USING (true);\
         CREATE INDEX ix ON own.t (lower(x)); CREATE STATISTICS own.st ON i, x FROM own.t;\
         CREATE AGGREGATE own.agg (int) (SFUNC = int4pl, STYPE = int); CREATE DOMAIN own.d AS int CHECK (VALUE > 0);\
         CREATE OPERATOR own.@+@ (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int);\
         CREATE COLLATION own.c FROM \"C\"; CREATE TEXT SEARCH CONFIGURATION own.ts (COPY = pg_catalog.simple);\
         CREATE MATERIALIZED VIEW own.mv AS SELECT 1 AS one; CREATE RULE r AS ON DELETE TO own.t DO INSTEAD NOTHING;\
         SELECT lo_create(0); ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;\
         COMMENT ON TABLE own.t IS 'mine'; GRANT SELECT ON own.t TO PUBLIC; GRANT USAGE ON SCHEMA own TO PUBLIC;\
         ALTER DEFAULT PRIVILEGES IN SCHEMA own GRANT SELECT ON TABLES TO PUBLIC;\
         CREATE PROCEDURE own.pr(x int) LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; CREATE PUBLICATION pub FOR TABLE own.t;\
         CREATE TABLE own.parts (i int GENERATED ALWAYS AS IDENTITY) PARTITION BY RANGE (i);\
         CREATE TABLE own.part PARTITION OF own.parts FOR VALUES FROM (1) TO (9); CREATE SEQUENCE own.seq;\
         CREATE TYPE own.span AS RANGE (subtype = int4); CREATE TEXT SEARCH DICTIONARY own.dict (TEMPLATE = pg_catalog.simple)",
    )
    .await
    .unwrap();
    // A trusted extension belongs to whoever created it, though its parts do not.
    let trusted = "SELECT name::text FROM pg_available_extension_versions WHERE trusted AND name = 'hstore'";
    if s.text(trusted).await.unwrap().is_some() {
        s.execute("CREATE EXTENSION hstore WITH SCHEMA own").await.unwrap();
    }
}

async fn objects_of_every_kind(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        let account = bed.mint(&bed.writing_role(json!({}))).await;
        make_objects(&bed, &account).await;
        bed.login(&account).await.execute(CAST).await.unwrap();
        bed.assert_ends(&account).await;
        let owners = "SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ',') FROM pg_class \
                      WHERE relnamespace = 'own'::regnamespace OR relname = 'pub'";
        assert_eq!(bed.ask(owners).await.unwrap(), bed.estate());
    }
}

/// A cast has no owner, so that it stands in the way of dropping what it is made of.
const CAST: &str = "CREATE TYPE public.pair AS (a int, b int);\
    CREATE FUNCTION public.cast_it(public.pair) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT ''x''::text';\
    CREATE CAST (public.pair AS text) WITH FUNCTION public.cast_it(public.pair) AS ASSIGNMENT";

async fn what_cannot_be_dropped_goes_to_the_estate(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        let account = bed.mint(&bed.writing_role(json!({"owned": "drop"}))).await;
        bed.login(&account).await.execute(CAST).await.unwrap();
        bed.assert_ends(&account).await;
        let owner = "SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname = 'cast_it'";
        assert_eq!(bed.ask(owner).await.unwrap(), bed.estate());
    }
}

async fn objects_of_every_kind_are_dropped_when_told(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        let account = bed.mint(&bed.writing_role(json!({"owned": "drop"}))).await;
        make_objects(&bed, &account).await;
        bed.assert_ends(&account).await;
        assert_eq!(bed.ask("SELECT count(*)::text FROM pg_namespace WHERE nspname = 'own'").await.unwrap(), "0");
    }
}

async fn a_database_with_hostile_defaults(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        let account = bed.mint(&bed.writing_role(json!({}))).await;
        let db = bed.pg.database();
        bed.run(&format!("ALTER DATABASE {db} OWNER TO \"{}\"", account.name)).await;
        let mut s = bed.login(&account).await;
        s.execute("CREATE SCHEMA evil; CREATE TABLE evil.t (i int)").await.unwrap();
        let mut settings = vec![
            ("default_transaction_read_only", "on"),
            ("default_transaction_isolation", "serializable"),
            ("search_path", "evil, public, pg_catalog"),
            ("statement_timeout", "1"),
            ("lock_timeout", "1"),
            ("standard_conforming_strings", "off"),
            ("client_min_messages", "debug1"),
            ("quote_all_identifiers", "on"),
            ("transform_null_equals", "on"),
            ("idle_in_transaction_session_timeout", "1"),
            ("default_transaction_deferrable", "on"),
        ];
        if bed.version() >= 14 {
            settings.push(("idle_session_timeout", "1"));
        }
        if bed.version() >= 17 {
            settings.push(("transaction_timeout", "1"));
        }
        // Only the engine is to meet them, not the test's own superuser.
        for (name, _) in settings.iter().chain(&[("role", ""), ("session_authorization", "")]) {
            let calm = match *name {
                "role" => "none".to_owned(),
                "session_authorization" => "postgres".to_owned(),
                _ => bed.ask(&format!("SELECT reset_val FROM pg_settings WHERE name = '{name}'")).await.unwrap(),
            };
            let calm = if *name == "search_path" { "public".to_owned() } else { format!("'{calm}'") };
            bed.pg.server().psql(&format!("ALTER ROLE postgres IN DATABASE {db} SET {name} = {calm}")).await.ok();
        }
        for (name, value) in settings {
            s.execute(&format!("ALTER DATABASE {db} SET {name} = {value}")).await.unwrap();
        }
        s.execute(&format!("ALTER DATABASE {db} SET role = '{}'", account.name)).await.unwrap();
        s.execute(&format!("ALTER DATABASE {db} SET session_authorization = '{}'", account.name)).await.ok();
        // A second engine has no session from before.
        let fresh = bed.again().await;
        let another = fresh.mint(&fresh.role(json!({}))).await;
        fresh.assert_ends(&another).await;
        fresh.assert_ends(&account).await;
    }
}

async fn a_session_under_another_role(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        let writer = bed.writer.clone();
        let account = bed.mint(&bed.writing_role(json!({"set_role": writer}))).await;
        let mut s = bed.login(&account).await;
        assert_eq!(s.text("SELECT current_user::text").await.unwrap().unwrap(), bed.writer);
        s.execute("CREATE TABLE public.standing (i int)").await.unwrap();
        let mut t = bed.login(&account).await;
        t.execute(&format!("RESET ROLE; SET ROLE {}", bed.reader)).await.unwrap();
        bed.assert_ends(&account).await;
        s.wait_until_dead(DYING).await;
        t.wait_until_dead(DYING).await;
        let owner = bed.ask("SELECT tableowner FROM pg_tables WHERE tablename = 'standing'").await;
        assert_eq!(owner.unwrap(), bed.writer, "objects belong to the standing role");
    }
}

async fn grants_made_by_it_and_of_it(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        let account = bed.mint(&bed.writing_role(json!({}))).await;
        let friend = bed.pg.login("friend", "").await;
        // What a careless administrator might have given it: the right to hand its group and itself on.
        bed.run(&format!("GRANT {} TO \"{}\" WITH ADMIN OPTION", bed.reader, account.name)).await;
        let mut s = bed.login(&account).await;
        s.execute(&format!("GRANT {} TO {}", bed.reader, friend.name)).await.unwrap();
        s.execute("CREATE TABLE public.shared (i int)").await.unwrap();
        s.execute(&format!("GRANT ALL ON public.shared TO {} WITH GRANT OPTION", friend.name)).await.unwrap();
        let own = s.execute(&format!("GRANT \"{}\" TO {}", account.name, friend.name)).await;
        assert_eq!(own.is_ok(), bed.version() < 15, "a role has no ADMIN on itself since 15");
        bed.run(&format!("GRANT \"{}\" TO {}", account.name, friend.name)).await;
        let mut f = bed.pg.session(&friend.name, &friend.password).await;
        f.execute(&format!("SET ROLE \"{}\"; CREATE TEMP TABLE as_another (i int)", account.name)).await.unwrap();
        bed.assert_ends(&account).await;
        assert!(f.execute("SELECT * FROM public.orders").await.is_err(), "the friend acts for nobody now");
    }
}

async fn prepared_transactions(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::own(postgres.clone(), kind).await;
        let account = bed.mint(&bed.writing_role(json!({}))).await;
        let mut s = bed.login(&account).await;
        s.execute("CREATE TABLE public.mine (i int)").await.unwrap();
        s.execute(
            "BEGIN; LOCK TABLE public.mine; CREATE TABLE public.late (i int); PREPARE TRANSACTION 'o''dd \\ gid'",
        )
        .await
        .unwrap();
        bed.assert_ends(&account).await;
        assert_eq!(bed.ask("SELECT count(*)::text FROM pg_prepared_xacts").await.unwrap(), "0");
    }
}

async fn planted_names_never_run_as_us(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        let account = bed.mint(&bed.writing_role(json!({}))).await;
        let mut s = bed.login(&account).await;
        s.execute(
            "CREATE TABLE public.ran (who text); GRANT ALL ON public.ran TO PUBLIC;\
             CREATE FUNCTION public.note() RETURNS bool LANGUAGE plpgsql AS \
             $$BEGIN INSERT INTO public.ran VALUES (current_user); RETURN true; END$$;\
             CREATE FUNCTION public.name_eq(name, name) RETURNS bool LANGUAGE sql AS 'SELECT public.note()';\
             CREATE FUNCTION public.oid_eq(oid, oid) RETURNS bool LANGUAGE sql AS 'SELECT public.note()';\
             CREATE OPERATOR public.= (FUNCTION = public.name_eq, LEFTARG = name, RIGHTARG = name);\
             CREATE OPERATOR public.= (FUNCTION = public.oid_eq, LEFTARG = oid, RIGHTARG = oid);\
             CREATE FUNCTION public.pg_terminate_backend(int) RETURNS bool LANGUAGE sql AS 'SELECT public.note()';\
             CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS \
             'SELECT public.note(); SELECT ''-infinity''::timestamptz';\
             CREATE VIEW public.pg_roles AS SELECT 'x'::name AS rolname, 1::oid AS oid WHERE public.note();\
             CREATE VIEW public.pg_stat_activity AS SELECT 1::oid AS usesysid, 1 AS pid WHERE public.note();\
             CREATE DOMAIN public.text AS pg_catalog.text CHECK (public.note());\
             CREATE TABLE public.ix (i int); CREATE FUNCTION public.im(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \
             $$BEGIN INSERT INTO public.ran VALUES (current_user); RETURN $1; EXCEPTION WHEN OTHERS THEN RETURN $1; END$$;\
             CREATE INDEX ON public.ix (public.im(i))",
        )
        .await
        .unwrap();
        let before = bed.ask("SELECT count(*)::text FROM public.ran").await;
        let fresh = bed.again().await;
        let another = fresh.mint(&fresh.role(json!({}))).await;
        fresh.assert_ends(&another).await;
        fresh.assert_ends(&account).await;
        assert_eq!(bed.ask("SELECT count(*)::text FROM public.ran").await, before, "something of it ran");
    }
}

async fn a_login_in_the_middle(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        for _ in 0..4 {
            let account = bed.mint(&bed.role(json!({"connection_limit": 50}))).await;
            let oid = bed.ask(&format!("SELECT '{}'::regrole::oid::text", account.name)).await.unwrap();
            let options = bed.pg.options(&account.name, &account.password);
            let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
            let hammers: Vec<_> = (0..4)
                .map(|_| {
                    let (options, stop) = (options.clone(), std::sync::Arc::clone(&stop));
                    tokio::spawn(async move {
                        let mut held = Vec::new();
                        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                            if let Ok(s) = leasehold_testkit::Session::open(&options).await {
                                held.push(s);
                                held.truncate(5);
                            }
                        }
                        held
                    })
                })
                .collect();
            let sessions = format!("SELECT count(*)::text FROM pg_stat_activity WHERE usesysid = {oid}");
            leasehold_testkit::wait_until(DYING, "logins", || async { bed.ask(&sessions).await.unwrap() != "0" }).await;
            bed.assert_ends(&account).await;
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            for h in hammers {
                drop(h.await.unwrap());
            }
            assert_eq!(bed.ask(&sessions).await.unwrap(), "0", "a session survived");
        }
    }
}

async fn its_own_password_and_settings(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        let account = bed.mint(&bed.writing_role(json!({}))).await;
        let mut s = bed.login(&account).await;
        s.execute(&format!(
            "ALTER ROLE \"{0}\" PASSWORD 'of my own'; ALTER ROLE \"{0}\" SET statement_timeout = 1; \
             ALTER ROLE \"{0}\" SET default_transaction_read_only = on",
            account.name
        ))
        .await
        .unwrap();
        bed.assert_ends(&account).await;
        bed.pg.assert_refused(&account.name, "of my own").await;
    }
}

async fn what_acts_for_its_owner_never_gets_a_stronger_one(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        let owner = bed.pg.writer_group().await;
        bed.run(&format!(
            "GRANT {0} TO {1} WITH ADMIN OPTION; GRANT CREATE, USAGE ON SCHEMA public TO {0};\
             CREATE TABLE public.secret AS SELECT 42 AS i; ALTER TABLE public.secret OWNER TO {0}",
            owner, bed.admin.name
        ))
        .await;
        bed.install(json!({"reassign_to": owner})).await;
        let account = bed.mint(&bed.writing_role(json!({"reassign_to": owner}))).await;
        make_objects(&bed, &account).await;
        let mut s = bed.login(&account).await;
        s.execute(
            "CREATE FUNCTION public.steal() RETURNS int SECURITY DEFINER LANGUAGE plpgsql AS \
             $$DECLARE x int; BEGIN EXECUTE 'SELECT i FROM public.secret' INTO x; RETURN x; END$$;\
             CREATE FUNCTION own.im(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';\
             CREATE TABLE own.trap (i int); CREATE INDEX ON own.trap (own.im(i))",
        )
        .await
        .unwrap();
        bed.assert_ends(&account).await;
        for (what, sql, expected) in [
            ("table", "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'pub'", &owner),
            ("schema", "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'own'", &owner),
            ("view", "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'own.v'::regclass", &bed.estate()),
            ("function", "SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname = 'steal'", &bed.estate()),
            ("trap", "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'own.trap'::regclass", &bed.estate()),
        ] {
            assert_eq!(&bed.ask(sql).await.unwrap(), expected, "{what}");
        }
        let member = "SELECT count(*)::text FROM pg_auth_members WHERE roleid = '{}'::regrole AND NOT admin_option";
        assert_eq!(bed.ask(&member.replace("{}", &owner)).await.unwrap(), "0", "what was lent is taken back");
    }
}

async fn a_closed_database_of_its_own(postgres: Installation) {
    for kind in WITH_RIGHTS {
        let bed = Bed::new(postgres.clone(), kind).await;
        let account = bed.mint(&bed.writing_role(json!({}))).await;
        let db = leasehold_testkit::unique("lair \"of\"");
        bed.run(&format!("CREATE DATABASE \"{}\"", db.replace('"', "\"\""))).await;
        let quoted = format!("\"{}\"", db.replace('"', "\"\""));
        bed.run(&format!("ALTER DATABASE {quoted} OWNER TO \"{}\"", account.name)).await;
        let mut s = leasehold_testkit::Session::open(&bed.pg.options(&account.name, &account.password).database(&db))
            .await
            .unwrap();
        s.execute("CREATE SCHEMA deep; CREATE TABLE deep.t (i int)").await.unwrap();
        drop(s);
        let mut s = bed.login(&account).await;
        s.execute(&format!("ALTER DATABASE {quoted} SET role = '{}'", account.name)).await.unwrap();
        s.execute(&format!("REVOKE ALL ON DATABASE {quoted} FROM PUBLIC")).await.unwrap();
        s.execute(&format!("ALTER DATABASE {quoted} ALLOW_CONNECTIONS false CONNECTION LIMIT 0")).await.unwrap();
        bed.assert_ends(&account).await;
        let owner = format!("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{db}'");
        assert_eq!(bed.ask(&owner).await.unwrap(), bed.estate());
    }
}
