-- Login roles, one for each process, and two roles without login that own functions.
-- Roles belong to the whole cluster, so another database of it may have made them already.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY[
        'tp_api', 'tp_accept', 'tp_deliver', 'tp_worker', 'tp_billing', 'tp_console',
        'tp_templates', 'tp_bounces', 'tp_inbox', 'tp_cli', 'tp_lookup', 'tp_system'
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format(
                'CREATE ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS', role_name
            );
        END IF;
    END LOOP;
END
$$;

-- The owner must be a member of the function owners to hand functions to them.
GRANT tp_lookup, tp_system TO CURRENT_USER;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- Privileges of PUBLIC on functions would open every SECURITY DEFINER function to every role.
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
