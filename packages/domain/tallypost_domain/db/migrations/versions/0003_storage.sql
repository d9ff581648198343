-- How rows lie on disk.

-- Each email and recipient is updated once or twice soon after it came: with room on its page the
-- new version needs no new index entries.
CREATE OR REPLACE FUNCTION create_partitions(weeks_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '5s'
AS $$
DECLARE
    parent text;
    week timestamptz;
    partition_name text;
    created integer := 0;
BEGIN
    IF weeks_ahead NOT BETWEEN 0 AND 52 THEN
        RAISE EXCEPTION 'weeks_ahead must be 0 to 52, not %', weeks_ahead;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('tallypost.create_partitions'));
    FOR n IN -1..weeks_ahead LOOP
        week := date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
            + make_interval(days => 7 * n);
        FOREACH parent IN ARRAY ARRAY[
            'emails', 'recipients', 'email_contents', 'attempts', 'events'
        ] LOOP
            partition_name := parent || '_w' || to_char(week AT TIME ZONE 'UTC', 'YYYYMMDD');
            IF to_regclass('public.' || partition_name) IS NULL THEN
                EXECUTE format(
                    'CREATE TABLE public.%I PARTITION OF public.%I FOR VALUES FROM (%L) TO (%L)
                        WITH (fillfactor = %s)',
                    partition_name, parent, uuid_from_time(week),
                    uuid_from_time(week + interval '7 days'),
                    CASE WHEN parent IN ('emails', 'recipients') THEN 75 ELSE 100 END
                );
                created := created + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN created;
END
$$;

DO $$
DECLARE
    partition_name regclass;
BEGIN
    FOR partition_name IN
        SELECT inhrelid FROM pg_inherits
        WHERE inhparent IN ('emails'::regclass, 'recipients'::regclass)
    LOOP
        EXECUTE format('ALTER TABLE %s SET (fillfactor = 75)', partition_name);
    END LOOP;
END
$$;

-- LZ4 packs a body of 10 kB in a tenth of the time that the default takes. Servers may be built
-- without it; those keep the default.
DO $$
DECLARE
    partition_name regclass;
BEGIN
    FOR partition_name IN
        SELECT 'email_contents'::regclass
        UNION ALL
        SELECT inhrelid FROM pg_inherits WHERE inhparent = 'email_contents'::regclass
    LOOP
        EXECUTE format(
            'ALTER TABLE %s ALTER COLUMN html SET COMPRESSION lz4,
                ALTER COLUMN text SET COMPRESSION lz4,
                ALTER COLUMN attachments SET COMPRESSION lz4',
            partition_name
        );
    END LOOP;
    ALTER TABLE inbox_messages ALTER COLUMN message SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    RAISE NOTICE 'this server has no LZ4; bodies are packed with pglz';
END
$$;
