-- Leasehold, version {{version}} of its functions, for the broker's login {{login_shown}} and the cluster {{cluster}}.
--
-- Run it as a superuser, as often as you like, in
{{databases}}
-- and in every other database where an account may come to own something.
--
-- The login needs no CREATEROLE and no membership of anything: it can make and end accounts whose name begins with
-- {{prefix}}, with the groups and settings named below, and nothing else, even in a thief's hands.
BEGIN;

DO ${{tag}}$
BEGIN
  IF NOT (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) CURRENT_USER) THEN
    RAISE EXCEPTION 'leasehold: run this as a superuser';
  END IF;
  IF (SELECT r.rolsuper OR r.rolcreaterole FROM pg_catalog.pg_roles r
      WHERE r.rolname OPERATOR(pg_catalog.=) {{login_text}}) THEN
    RAISE WARNING 'leasehold: the broker''s login % holds SUPERUSER or CREATEROLE, which it does not need', {{login_text}};
  END IF;
  -- A parameter that only a superuser may set would be set for the account with a superuser's word.
  IF EXISTS (SELECT FROM pg_catalog.pg_settings s
             WHERE s.name OPERATOR(pg_catalog.=) ANY ({{settings}}) AND s.context OPERATOR(pg_catalog.<>) 'user') THEN
    RAISE EXCEPTION 'leasehold: not every one of these settings may be set by an ordinary login: %', {{settings}};
  END IF;
  -- Other sessions may run the same text at the same time.
  PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended({{mark_text}}, 0));
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) {{mark_text}}) THEN
    CREATE ROLE {{mark}} NOLOGIN;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) {{estate_text}}) THEN
    CREATE ROLE {{estate}} NOLOGIN;
  END IF;
  -- Whoever owns the schema, or may create in it, could put something else under these names.
  IF EXISTS (SELECT FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
             WHERE n.nspname OPERATOR(pg_catalog.=) {{schema_text}} AND NOT r.rolsuper) THEN
    RAISE EXCEPTION 'leasehold: the schema % belongs to a role that is no superuser', {{schema_text}};
  END IF;
  IF EXISTS (SELECT FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
             WHERE n.nspname OPERATOR(pg_catalog.=) {{schema_text}} AND a.privilege_type OPERATOR(pg_catalog.=) 'CREATE'
               AND a.grantee OPERATOR(pg_catalog.<>) n.nspowner) THEN
    RAISE EXCEPTION 'leasehold: others than its owner may create in the schema %', {{schema_text}};
  END IF;
END ${{tag}}$;

CREATE SCHEMA IF NOT EXISTS {{schema}};
REVOKE ALL ON SCHEMA {{schema}} FROM PUBLIC;
GRANT USAGE ON SCHEMA {{schema}} TO {{login}};

-- Which text is installed here, and what it allows: for `leasehold check`.
CREATE OR REPLACE FUNCTION {{schema}}.version() RETURNS pg_catalog.int4 LANGUAGE sql IMMUTABLE AS
  ${{tag}}$ SELECT {{version}} ${{tag}}$;
CREATE OR REPLACE FUNCTION {{schema}}.allowed(what pg_catalog.text) RETURNS pg_catalog.text[] LANGUAGE sql IMMUTABLE AS ${{tag}}$
  SELECT CASE what
    WHEN 'prefix' THEN ARRAY[{{prefix_text}}]::pg_catalog.text[]
    WHEN 'group' THEN {{groups}}
    WHEN 'setting' THEN {{settings}}
    WHEN 'receiver' THEN {{receivers}}
  END
${{tag}}$;

-- Refuses every name that is not an account of this cluster.
CREATE OR REPLACE FUNCTION {{schema}}.must_be_ours(account pg_catalog.text) RETURNS pg_catalog.text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS ${{tag}}$
BEGIN
  IF (account COLLATE pg_catalog."C" OPERATOR(pg_catalog.~) {{pattern}}) IS NOT TRUE THEN
    RAISE EXCEPTION 'leasehold: % is no account of this cluster', pg_catalog.quote_nullable(account) USING ERRCODE = 'LH002';
  END IF;
  RETURN account;
END ${{tag}}$;

-- Those of `accounts` that exist, quoted, after each was found to be ours.
CREATE OR REPLACE FUNCTION {{schema}}.present(accounts pg_catalog.text[]) RETURNS pg_catalog.text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS ${{tag}}$
  SELECT pg_catalog.string_agg(pg_catalog.quote_ident(r.rolname), ', ')
  FROM pg_catalog.unnest(accounts) a
  JOIN pg_catalog.pg_roles r ON r.rolname OPERATOR(pg_catalog.=) {{schema}}.must_be_ours(a)
${{tag}}$;

-- `SET name TO value` for ALTER ROLE, from `name=value`. A list of names is the one kind of value that is several literals.
CREATE OR REPLACE FUNCTION {{schema}}.setting(entry pg_catalog.text) RETURNS pg_catalog.text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS ${{tag}}$
DECLARE
  what CONSTANT pg_catalog.text := pg_catalog.split_part(entry, '=', 1);
  val CONSTANT pg_catalog.text := pg_catalog.substr(entry, pg_catalog.length(what) OPERATOR(pg_catalog.+) 2);
  literals pg_catalog.text;
BEGIN
  IF (what OPERATOR(pg_catalog.=) ANY ({{settings}})) IS NOT TRUE THEN
    RAISE EXCEPTION 'leasehold: the setting % is not on the list', pg_catalog.quote_nullable(what) USING ERRCODE = 'LH002';
  END IF;
  IF what OPERATOR(pg_catalog.=) 'role' AND (val OPERATOR(pg_catalog.=) ANY ({{groups}})) IS NOT TRUE THEN
    RAISE EXCEPTION 'leasehold: the group % is not on the list', pg_catalog.quote_nullable(val) USING ERRCODE = 'LH002';
  END IF;
  IF what OPERATOR(pg_catalog.=) ANY (ARRAY['search_path', 'temp_tablespaces']) THEN
    SELECT pg_catalog.string_agg(pg_catalog.quote_literal(CASE
        WHEN pg_catalog.starts_with(part, '"')
        THEN pg_catalog.replace(pg_catalog.substr(part, 2, pg_catalog.length(part) OPERATOR(pg_catalog.-) 2), '""', '"')
        ELSE part END), ', ')
      INTO literals
      FROM (SELECT pg_catalog.btrim(p) AS part FROM pg_catalog.unnest(pg_catalog.string_to_array(val, ',')) p) parts;
  END IF;
  RETURN pg_catalog.format('SET %I TO %s', what, COALESCE(literals, pg_catalog.quote_literal(val)));
END ${{tag}}$;

-- Makes one account and answers its OID. It takes the lock and looks at this server's clock first, so that whoever holds
-- the lock after the deadline knows that the account can never come to be.
CREATE OR REPLACE FUNCTION {{schema}}.mint(account pg_catalog.text, lock_key pg_catalog.int8, deadline pg_catalog.timestamptz,
  verifier pg_catalog.text, valid_until pg_catalog.timestamptz, connection_limit pg_catalog.int4,
  groups pg_catalog.text[], settings pg_catalog.text[]) RETURNS pg_catalog.oid
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET datestyle = 'ISO, MDY' AS ${{tag}}$
DECLARE
  name CONSTANT pg_catalog.text := pg_catalog.quote_ident({{schema}}.must_be_ours(account));
  members pg_catalog.text;
  entry pg_catalog.text;
  change pg_catalog.text;
  path pg_catalog.text;
  role_entry pg_catalog.text;
  made pg_catalog.oid;
BEGIN
  IF (groups OPERATOR(pg_catalog.<@) {{groups}}) IS NOT TRUE THEN
    RAISE EXCEPTION 'leasehold: not every group of % is on the list', groups USING ERRCODE = 'LH002';
  END IF;
  IF (verifier COLLATE pg_catalog."C" OPERATOR(pg_catalog.~) '^SCRAM-SHA-256[$][0-9]+:[A-Za-z0-9+/=]+[$][A-Za-z0-9+/=]{44}:[A-Za-z0-9+/=]{44}$') IS NOT TRUE THEN
    RAISE EXCEPTION 'leasehold: the password must come as a SCRAM-SHA-256 verifier' USING ERRCODE = 'LH002';
  END IF;
  IF pg_catalog.isfinite(valid_until) IS NOT TRUE OR connection_limit IS NULL THEN
    RAISE EXCEPTION 'leasehold: an account must have an end and a connection limit' USING ERRCODE = 'LH002';
  END IF;
  PERFORM pg_catalog.pg_advisory_xact_lock(lock_key);
  IF (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.<) deadline) IS NOT TRUE THEN
    RAISE EXCEPTION 'leasehold: the deadline of this mint has passed' USING ERRCODE = 'LH001';
  END IF;
  SELECT pg_catalog.string_agg(pg_catalog.quote_ident(g), ', ')
    INTO members FROM pg_catalog.unnest(pg_catalog.array_append(groups, {{mark_text}})) g;
  EXECUTE pg_catalog.format('CREATE ROLE %s LOGIN PASSWORD %L VALID UNTIL %L CONNECTION LIMIT %s IN ROLE %s',
    name, verifier, valid_until, connection_limit, members);
  SELECT r.oid INTO made FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) account;
  FOREACH entry IN ARRAY settings LOOP
    change := {{schema}}.setting(entry);
    IF pg_catalog.starts_with(entry, 'role=') THEN
      role_entry := entry;
    ELSIF pg_catalog.starts_with(entry, 'search_path=') THEN
      -- One entry for each schema, in their order: a name may hold commas and quotes.
      path := pg_catalog.concat_ws(', ', path, pg_catalog.quote_literal(pg_catalog.substr(entry, 13)));
    ELSE
      EXECUTE pg_catalog.format('ALTER ROLE %s %s', name, change);
    END IF;
  END LOOP;
  IF path IS NOT NULL THEN
    EXECUTE pg_catalog.format('ALTER ROLE %s SET search_path TO %s', name, path);
  END IF;
  -- The server refuses `ALTER ROLE … SET role` inside any SECURITY DEFINER function, whoever owns it, so that this one
  -- setting is written where that statement would have put it. DROP ROLE takes it away with the others.
  IF role_entry IS NOT NULL THEN
    UPDATE pg_catalog.pg_db_role_setting s SET setconfig = pg_catalog.array_append(s.setconfig, role_entry)
      WHERE s.setdatabase OPERATOR(pg_catalog.=) 0 AND s.setrole OPERATOR(pg_catalog.=) made;
    IF NOT FOUND THEN
      INSERT INTO pg_catalog.pg_db_role_setting (setdatabase, setrole, setconfig) VALUES (0, made, ARRAY[role_entry]);
    END IF;
  END IF;
  RETURN made;
END ${{tag}}$;

-- Moves an account's own expiry.
CREATE OR REPLACE FUNCTION {{schema}}.renew(account pg_catalog.text, valid_until pg_catalog.timestamptz) RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET datestyle = 'ISO, MDY' AS ${{tag}}$
BEGIN
  IF pg_catalog.isfinite(valid_until) IS NOT TRUE THEN
    RAISE EXCEPTION 'leasehold: an account must have an end' USING ERRCODE = 'LH002';
  END IF;
  EXECUTE pg_catalog.format('ALTER ROLE %I VALID UNTIL %L', {{schema}}.must_be_ours(account), valid_until);
END ${{tag}}$;

-- Stops new logins of those accounts that exist. To be committed before their sessions are looked for.
CREATE OR REPLACE FUNCTION {{schema}}.fence(accounts pg_catalog.text[]) RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS ${{tag}}$
DECLARE
  account pg_catalog.text;
BEGIN
  FOREACH account IN ARRAY accounts LOOP
    PERFORM {{schema}}.must_be_ours(account);
    IF EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) account) THEN
      EXECUTE pg_catalog.format('ALTER ROLE %I NOLOGIN', account);
    END IF;
  END LOOP;
END ${{tag}}$;

-- Ends the sessions of these accounts and, of accounts that were dropped already, those under these OIDs, and answers how
-- many it told to end. The OID of a role that exists is passed over.
DROP FUNCTION IF EXISTS {{schema}}.terminate(pg_catalog.oid[]);
CREATE OR REPLACE FUNCTION {{schema}}.terminate(accounts pg_catalog.text[], gone pg_catalog.oid[]) RETURNS pg_catalog.int4
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS ${{tag}}$
  SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(s.pid))::pg_catalog.int4
  FROM pg_catalog.pg_stat_get_activity(NULL) s
  LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) s.usesysid
  WHERE (r.rolname OPERATOR(pg_catalog.=) ANY (accounts)
      AND r.rolname::pg_catalog.text COLLATE pg_catalog."C" OPERATOR(pg_catalog.~) {{pattern}})
    OR (r.rolname IS NULL AND s.usesysid OPERATOR(pg_catalog.=) ANY (gone))
${{tag}}$;

-- Ends the sessions that hold a lock on this account itself: on its rows, or on the role as an object. With one, a friend
-- of the account could keep it from being ended. Superusers and the broker's own sessions are passed over.
CREATE OR REPLACE FUNCTION {{schema}}.evict(account pg_catalog.text) RETURNS pg_catalog.int4
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS ${{tag}}$
  SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(s.pid))::pg_catalog.int4
  FROM pg_catalog.pg_authid a
  JOIN pg_catalog.pg_locks l ON l.granted AND (
    (l.locktype OPERATOR(pg_catalog.=) 'object' AND l.objid OPERATOR(pg_catalog.=) a.oid
      AND l.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass)
    OR (l.locktype OPERATOR(pg_catalog.=) 'transactionid' AND l.transactionid OPERATOR(pg_catalog.=) ANY (
      ARRAY(SELECT a.xmax
        UNION ALL SELECT d.xmax FROM pg_catalog.pg_db_role_setting d WHERE d.setrole OPERATOR(pg_catalog.=) a.oid
        UNION ALL SELECT m.xmax FROM pg_catalog.pg_auth_members m
          WHERE m.member OPERATOR(pg_catalog.=) a.oid OR m.roleid OPERATOR(pg_catalog.=) a.oid))))
  JOIN pg_catalog.pg_stat_get_activity(NULL) s ON s.pid OPERATOR(pg_catalog.=) l.pid
  JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) s.usesysid
  WHERE a.rolname OPERATOR(pg_catalog.=) {{schema}}.must_be_ours(account)
    AND NOT r.rolsuper AND r.rolname OPERATOR(pg_catalog.<>) SESSION_USER
${{tag}}$;

-- How many sessions of these accounts there still are.
CREATE OR REPLACE FUNCTION {{schema}}.sessions(oids pg_catalog.oid[]) RETURNS pg_catalog.int8
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS ${{tag}}$
  SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_get_activity(NULL) s WHERE s.usesysid OPERATOR(pg_catalog.=) ANY (oids)
${{tag}}$;

-- Ends whoever of our accounts, or of the broker's own other sessions, holds or awaits the lock of a mint: with it an
-- account could keep another lease from being ended.
CREATE OR REPLACE FUNCTION {{schema}}.unlock(lock_key pg_catalog.int8) RETURNS pg_catalog.int4
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS ${{tag}}$
  SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(l.pid))::pg_catalog.int4
  FROM pg_catalog.pg_locks l
  JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) l.database
  JOIN pg_catalog.pg_stat_get_activity(NULL) s ON s.pid OPERATOR(pg_catalog.=) l.pid
  JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) s.usesysid
  WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.objsubid OPERATOR(pg_catalog.=) 1::pg_catalog.int2
    AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
    AND l.classid::pg_catalog.int8 OPERATOR(pg_catalog.=) ((lock_key OPERATOR(pg_catalog.>>) 32) OPERATOR(pg_catalog.&) 4294967295)
    AND l.objid::pg_catalog.int8 OPERATOR(pg_catalog.=) (lock_key OPERATOR(pg_catalog.&) 4294967295)
    AND l.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
    AND (r.rolname OPERATOR(pg_catalog.=) SESSION_USER OR r.rolname::pg_catalog.text COLLATE pg_catalog."C" OPERATOR(pg_catalog.~) {{pattern}})
${{tag}}$;

-- Lets the broker's login become the account, so that it can roll back the account's prepared transactions, which no
-- function can. Only for an account that has some. It lasts until the account is dropped.
CREATE OR REPLACE FUNCTION {{schema}}.borrow(account pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS ${{tag}}$
BEGIN
  PERFORM {{schema}}.must_be_ours(account);
  IF EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts p WHERE p.owner OPERATOR(pg_catalog.=) account) THEN
    EXECUTE pg_catalog.format('GRANT %I TO %I', account, {{login_text}});
  END IF;
END ${{tag}}$;

-- Frees the account of everything in this database: what it owns goes to the receiver (none named: to the estate role) or
-- is dropped, and what was granted to it goes.
CREATE OR REPLACE FUNCTION {{schema}}.disown(account pg_catalog.text, reassign_to pg_catalog.text, drop_owned pg_catalog.bool)
RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS ${{tag}}$
DECLARE
  receiver CONSTANT pg_catalog.text := COALESCE(reassign_to, {{estate_text}});
  kind pg_catalog.text;
  object pg_catalog.text;
BEGIN
  PERFORM {{schema}}.must_be_ours(account);
  IF NOT (receiver OPERATOR(pg_catalog.=) ANY ({{receivers}})) THEN
    RAISE EXCEPTION 'leasehold: the receiver % is not on the list', pg_catalog.quote_nullable(receiver) USING ERRCODE = 'LH002';
  END IF;
  IF drop_owned THEN
    EXECUTE pg_catalog.format('DROP OWNED BY %I', account);
  END IF;
  -- What acts with its owner's rights must never get a stronger owner: it goes to the estate, which has none.
  FOR kind, object IN {{active}} LOOP
    EXECUTE pg_catalog.format('ALTER %s %s OWNER TO %I', kind, object, {{estate_text}});
  END LOOP;
  -- Also after a drop: databases and tablespaces are handed over, never dropped.
  EXECUTE pg_catalog.format('REASSIGN OWNED BY %I TO %I', account, receiver);
  EXECUTE pg_catalog.format('DROP OWNED BY %I', account);
END ${{tag}}$;

-- As `disown`, but only some, and answers how many: for an account with more than one statement can do in time. What acts
-- with its owner's rights goes first, to the estate.
CREATE OR REPLACE FUNCTION {{schema}}.hand_over_some(account pg_catalog.text, reassign_to pg_catalog.text,
  drop_owned pg_catalog.bool, most pg_catalog.int4) RETURNS pg_catalog.int4
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS ${{tag}}$
DECLARE
  receiver CONSTANT pg_catalog.text := CASE WHEN drop_owned THEN {{estate_text}} ELSE COALESCE(reassign_to, {{estate_text}}) END;
  kind pg_catalog.text;
  object pg_catalog.text;
  shared record;
  moved pg_catalog.int4 := 0;
BEGIN
  PERFORM {{schema}}.must_be_ours(account);
  IF NOT (receiver OPERATOR(pg_catalog.=) ANY ({{receivers}})) THEN
    RAISE EXCEPTION 'leasehold: the receiver % is not on the list', pg_catalog.quote_nullable(receiver) USING ERRCODE = 'LH002';
  END IF;
  IF NOT drop_owned THEN
    FOR kind, object IN {{active}} LIMIT most LOOP
      EXECUTE pg_catalog.format('ALTER %s %s OWNER TO %I', kind, object, {{estate_text}});
      moved := moved OPERATOR(pg_catalog.+) 1;
    END LOOP;
    IF moved OPERATOR(pg_catalog.>) 0 THEN RETURN moved; END IF;
  END IF;
  FOR kind, object IN {{owned}} LIMIT most LOOP
    IF drop_owned THEN
      BEGIN
        IF kind OPERATOR(pg_catalog.=) 'large object' THEN
          PERFORM pg_catalog.lo_unlink(object::pg_catalog.oid);
        ELSE
          EXECUTE pg_catalog.format('DROP %s %s', kind, object);
        END IF;
      EXCEPTION WHEN dependent_objects_still_exist THEN
        EXECUTE pg_catalog.format('ALTER %s %s OWNER TO %I', kind, object, receiver);
      END;
    ELSE
      EXECUTE pg_catalog.format('ALTER %s %s OWNER TO %I', kind, object, receiver);
    END IF;
    moved := moved OPERATOR(pg_catalog.+) 1;
  END LOOP;
  IF moved OPERATOR(pg_catalog.>) 0 THEN RETURN moved; END IF;
  FOR shared IN {{granted}} LIMIT most LOOP
    EXECUTE pg_catalog.format('REVOKE ALL ON %s %s FROM %I CASCADE', shared.kind, shared.identity, account);
    moved := moved OPERATOR(pg_catalog.+) 1;
  END LOOP;
  -- A grant that somebody else than the owner made stays, and is for the end.
  IF moved OPERATOR(pg_catalog.>) 0 AND EXISTS (SELECT FROM pg_catalog.pg_shdepend d
      JOIN pg_catalog.pg_database b ON b.oid OPERATOR(pg_catalog.=) d.dbid
      JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) d.refobjid
      WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() AND r.rolname OPERATOR(pg_catalog.=) account
        AND d.classid OPERATOR(pg_catalog.=) shared.class AND d.objid OPERATOR(pg_catalog.=) shared.object
        AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass) THEN
    RETURN 0;
  END IF;
  RETURN moved;
END ${{tag}}$;

-- Drops those accounts that exist.
CREATE OR REPLACE FUNCTION {{schema}}.drop_accounts(accounts pg_catalog.text[]) RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS ${{tag}}$
DECLARE
  names CONSTANT pg_catalog.text := {{schema}}.present(accounts);
BEGIN
  IF names IS NOT NULL THEN
    EXECUTE 'DROP ROLE ' OPERATOR(pg_catalog.||) names;
  END IF;
END ${{tag}}$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {{schema}} FROM PUBLIC;
-- What an earlier run left to others, such as a login that the broker no longer uses.
DO ${{tag}}$
DECLARE
  f pg_catalog.regprocedure;
  other pg_catalog.regrole;
BEGIN
  FOR f, other IN SELECT p.oid, a.grantee FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
    LEFT JOIN LATERAL pg_catalog.aclexplode(p.proacl) a
      ON a.grantee OPERATOR(pg_catalog.<>) 0 AND a.grantee OPERATOR(pg_catalog.<>) p.proowner
    WHERE n.nspname OPERATOR(pg_catalog.=) {{schema_text}}
  LOOP
    EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO CURRENT_USER', f);
    IF other IS NOT NULL THEN
      EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM %s', f, other);
    END IF;
  END LOOP;
END ${{tag}}$;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {{schema}} TO {{login}};

COMMIT;
