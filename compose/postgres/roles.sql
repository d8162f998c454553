-- Two roles and the database, run once by psql as a superuser, before the first `siding migrate`:
--   siding_owner  owns the tables and alone may change them; `siding migrate` uses it, nobody else
--   siding_app    reads and writes rows; all roles of Siding use it
-- The passwords come from files, so that neither this file nor a command line has them.

\set ON_ERROR_STOP on
\set owner_password `cat /run/secrets/postgres_owner_password`
\set app_password `cat /run/secrets/postgres_app_password`

CREATE ROLE siding_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE siding_app LOGIN PASSWORD :'app_password';

-- Byte order, as in SQLite: no cursor and no index depends on the machine's language.
CREATE DATABASE siding OWNER siding_owner TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
REVOKE ALL ON DATABASE siding FROM PUBLIC;
GRANT CONNECT ON DATABASE siding TO siding_app;

\connect siding

-- Postgres before 15 lets everybody make tables here.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER SCHEMA public OWNER TO siding_owner;
GRANT USAGE ON SCHEMA public TO siding_app;

-- What migrations will make: rows yes, tables no.
ALTER DEFAULT PRIVILEGES FOR ROLE siding_owner IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO siding_app;
ALTER DEFAULT PRIVILEGES FOR ROLE siding_owner IN SCHEMA public GRANT USAGE ON SEQUENCES TO siding_app;
