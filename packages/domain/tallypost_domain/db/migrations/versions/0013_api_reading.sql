-- What the API needs to tell what happened to an email, and to send again, or settle, what may have
-- arrived: all of it within the tenant of the key, by the policies that these tables have.
GRANT SELECT ON attempts, events TO tp_api;

-- Whether an email could leave now, and what its stream says about silence.
GRANT SELECT (id, status) ON tenants TO tp_api;
GRANT SELECT (tenant_id, mode, address_hash) ON suppressions TO tp_api;
GRANT EXECUTE ON FUNCTION policy_of_unconfirmed TO tp_api;

-- A parked row that is sent again.
GRANT UPDATE (state, attempt, fence) ON send_queue TO tp_api;
GRANT USAGE ON SEQUENCE requeue_fences TO tp_api;

-- Whoever is settled as sent is billed, and the row goes; a person of the console may settle too.
GRANT INSERT ON usage_ledger TO tp_api, tp_console;
GRANT DELETE ON send_queue TO tp_console;
