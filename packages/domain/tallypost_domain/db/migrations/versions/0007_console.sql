-- What the console finds and counts emails by. No index holds the status of an email or a recipient:
-- with one, each change of a status would need new entries in all indexes of its table.

-- Emails to a mailbox, newest first: an entry for each recipient that is accepted. The hash of
-- address, mode and tenant makes it half as large as the three would, and tells them apart as well.
-- On tables that hold data this takes about a second for a million recipients.
CREATE INDEX ix_recipients_mailbox ON recipients (
    hashtextextended(
        lower(address COLLATE "C"), hashtextextended(mode, uuid_hash_extended(tenant_id, 0))
    ),
    email_id
);

-- Emails to which something befell that befalls few. Events never change, so the index only grows by
-- what happens; the current status is then read from the email.
CREATE INDEX ix_events_rare ON events (tenant_id, mode, type, subject_id) WHERE type IN (
    'email.bounced', 'email.complained', 'email.failed', 'email.suppressed', 'email.canceled'
);

-- Emails of the open tenant to a mailbox, up to max_rows, the newest first or, upward, the oldest.
-- With the rights of its owner, because under row-level security an index on a function that is not
-- leakproof is never used, and lower() and hashtextextended() are not. So it names the tenant itself.
--
-- Without bitmaps and sorts the planner reads the index in its order and stops at max_rows. A
-- connection keeps its plan, and one made for a mailbox with few emails would fetch all of a busy one.
-- The hash stands in the order because under row-level security the planner does not conclude that
-- it is the same in all rows.
CREATE FUNCTION find_emails_to(
    mailbox text,
    wanted_mode text,
    least_id uuid,
    end_id uuid,
    is_upward boolean,
    max_rows integer
) RETURNS TABLE (id uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
DECLARE
    of_tenant uuid := current_tenant_id();
    wanted text := lower(mailbox COLLATE "C");
    wanted_hash bigint := hashtextextended(
        wanted, hashtextextended(wanted_mode, uuid_hash_extended(of_tenant, 0))
    );
BEGIN
    IF is_upward THEN
        RETURN QUERY
        SELECT f.email_id
        FROM (
            SELECT r.tenant_id, r.mode, r.address, r.email_id FROM recipients r
            WHERE hashtextextended(
                    lower(r.address COLLATE "C"),
                    hashtextextended(r.mode, uuid_hash_extended(r.tenant_id, 0))
                ) = wanted_hash
              AND r.email_id >= least_id AND r.email_id < end_id
            ORDER BY hashtextextended(
                    lower(r.address COLLATE "C"),
                    hashtextextended(r.mode, uuid_hash_extended(r.tenant_id, 0))
                ), r.email_id
            LIMIT max_rows
        ) f
        WHERE f.tenant_id = of_tenant AND f.mode = wanted_mode
          AND lower(f.address COLLATE "C") = wanted;
    ELSE
        RETURN QUERY
        SELECT f.email_id
        FROM (
            SELECT r.tenant_id, r.mode, r.address, r.email_id FROM recipients r
            WHERE hashtextextended(
                    lower(r.address COLLATE "C"),
                    hashtextextended(r.mode, uuid_hash_extended(r.tenant_id, 0))
                ) = wanted_hash
              AND r.email_id >= least_id AND r.email_id < end_id
            ORDER BY hashtextextended(
                    lower(r.address COLLATE "C"),
                    hashtextextended(r.mode, uuid_hash_extended(r.tenant_id, 0))
                ) DESC, r.email_id DESC
            LIMIT max_rows
        ) f
        WHERE f.tenant_id = of_tenant AND f.mode = wanted_mode
          AND lower(f.address COLLATE "C") = wanted;
    END IF;
END
$$;

CREATE POLICY lookup ON recipients FOR SELECT TO tp_lookup USING (true);
GRANT SELECT (tenant_id, email_id, mode, address) ON recipients TO tp_lookup;

GRANT CREATE ON SCHEMA public TO tp_lookup;
ALTER FUNCTION find_emails_to OWNER TO tp_lookup;
REVOKE CREATE ON SCHEMA public FROM tp_lookup;
REVOKE ALL ON FUNCTION find_emails_to FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_emails_to TO tp_console;

-- Which emails are still to be sent, and whether a worker had them before.
GRANT SELECT (tenant_id, email_id, fence) ON send_queue TO tp_console;
