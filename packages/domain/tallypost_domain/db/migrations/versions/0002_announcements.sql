-- Processes keep keys, tenants, domains and streams in memory. Every change of those is announced
-- at its commit, on channel tenant_changes as `<table> <tenant id>`; as triggers, because a
-- revoked key must die whoever revokes it.

CREATE FUNCTION announce_tenant_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    row_before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    row_after jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
BEGIN
    -- Of equal announcements in one transaction Postgres sends one.
    IF row_before IS NOT NULL THEN
        PERFORM pg_notify('tenant_changes', TG_TABLE_NAME || ' ' || (row_before ->> TG_ARGV[0]));
    END IF;
    IF row_after IS NOT NULL THEN
        PERFORM pg_notify('tenant_changes', TG_TABLE_NAME || ' ' || (row_after ->> TG_ARGV[0]));
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON tenants
    FOR EACH ROW EXECUTE FUNCTION announce_tenant_change('id');
CREATE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION announce_tenant_change('tenant_id');
CREATE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON domains
    FOR EACH ROW EXECUTE FUNCTION announce_tenant_change('tenant_id');
CREATE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON streams
    FOR EACH ROW EXECUTE FUNCTION announce_tenant_change('tenant_id');
